"""Whether it is better: the one confirmation on sealed users, and what a model thinks of it."""
