"""Where programs, recipes and frozen programs lie, and what they say."""
