"""The command line: one command per file; `main` turns errors into one line and an exit status."""
