"""Kinds of jobs: what an instance is, how a program answers it, and how the answer is scored."""
