"""The rules and the parser of this project's own grader of mathematics."""
