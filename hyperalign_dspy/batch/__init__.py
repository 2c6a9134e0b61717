"""Many requests at once: lines in, lines out, in the same order, and on from where it was cut off."""
