"""Measuring instruments: how people write, who wrote what, what was copied, and what the numbers bear."""
