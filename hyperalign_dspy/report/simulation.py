"""Tables of simulated runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hyperalign_dspy.report.words import columns


def coverage_table(rows: Sequence[Mapping[str, Any]], requests: int) -> str:
    """One line a number of users and true win rate."""
    lines = [[str(row["users"]), f"{row['true_win']:.2f}", _rate(row), str(row["runs"])] for row in rows]
    head = f"Share of 95% intervals that hold the truth ({requests} requests a user), with its own 95% interval\n\n"
    return head + columns(["users", "true win rate", "coverage", "replications"], lines)


def gains_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a true win rate; bias in percentage points of win rate."""
    lines = [
        [
            f"{row['true_win']:.3f}",
            _rate(row["gains"]),
            _points(row["reported"]),
            _points(row["validation"]),
            _points(row["declared"]),
        ]
        for row in rows
    ]
    header = ["true win rate", "gains declared", "bias as reported", "bias of the best seen", "bias where a gain"]
    head = (
        f"{rows[0]['gains']['runs']} searches among 50 equal configurations, 24 sealed users x 3; "
        "bias in percentage points of win rate; [95% intervals of the simulation]\n\n"
    )
    return head + columns(header, lines)


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['share']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _points(bias: Mapping[str, Any]) -> str:
    if not bias["runs"]:
        return "-"
    return f"{100 * bias['mean']:+.2f} [{100 * bias['low']:+.2f}, {100 * bias['high']:+.2f}]"
