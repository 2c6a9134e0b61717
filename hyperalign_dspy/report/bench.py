"""What a score table holds, and how searchers did on it."""

from __future__ import annotations

from typing import Any


def table_words(table: Any, reliability: tuple[float, float, float]) -> str:
    """Size, origin and split-half reliability of a score table."""
    made, (mean, low, high) = table.made, reliability
    n = len(set(table.users))
    lines = [
        f"{made['corpus']} by {made['model']['name']}: {len(table.choices)} configurations x {len(table.users)} "
        f"instances of {n} users; {made['calls']} calls.",
        f"Split-half reliability over users: {mean:.2f} [{low:.2f}, {high:.2f}] over random halves.",
    ]
    if mean < 0.5:
        lines.append("Below .5 this table cannot tell searchers apart.")
    return "\n".join(lines)
