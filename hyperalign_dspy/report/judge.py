"""Tables of what judges score on people's own text and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.table import columns, estimate


def panel_table(panel: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a verifier."""
    header = ["", "users", "texts", "accuracy", "reciprocal rank", "AUC", "c@1", "F0.5u", "Brier"]
    rows = [
        [
            name,
            str(found["accuracy"]["n_users"]),
            str(found["accuracy"]["n_instances"]),
            estimate(found["accuracy"], ".2f"),
            estimate(found["mrr"], ".2f"),
            *(f"{found[measure]:.2f}" for measure in ("auc", "c_at_1", "f05u", "brier")),
        ]
        for name, found in panel.items()
    ]
    return columns(header, rows)


def qualification_words(found: Mapping[str, Any], judge: str) -> str:
    """A judge's agreement with people, its steadiness and what length does, and whether it may gate."""
    tally, n, sure = found["tally"], found["agreement"], found["decided"]
    verdict = "QUALIFIED" if found["qualified"] else "NOT QUALIFIED"
    lines = [
        f"{judge} as judge of {found['purpose']}: {n['n_instances']} pairs of {n['n_users']} users or items",
        f"  agreement with people (ties half)  {estimate(n, '.2f')}",
        f"  agreement where it decided         {estimate(sure, '.2f')} of {sure['n_instances']}",
        f"  changes with the order (flips)     {estimate(tally['flips'], '.2f')}",
        f"  abstains                           {tally['abstained']:.2f} of its votes",
        f"  prefers the longer                 {estimate(tally['longer'], '.2f')}",
        f"  length effect                      {tally['length_effect']:+.2f} log-odds a standard deviation",
        f"{verdict} for {found['purpose']}: the interval's lower end has to be .65 or more.",
    ]
    return "\n".join(lines)
