"""Frozen programs in the formats of other tools; one small file a format."""
