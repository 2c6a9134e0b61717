"""What a run keeps on disk: what it is, what came of every instance, what was shown; and how to take it out again."""
