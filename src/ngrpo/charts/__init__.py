"""The charts of this project, and the files that they are written to."""
