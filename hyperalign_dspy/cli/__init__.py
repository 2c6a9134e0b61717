"""The command line: thin commands over plain functions. Answers go to stdout, everything else to stderr."""
