"""The search: ask, visit, tell; then confirm on sealed users and freeze."""
