"""The comparison of two systems' outputs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.format import columns, estimate
from hyperalign_dspy.report.judge import opinion_words

_VERDICTS = {
    "gain": "OURS are more like their users' own texts.",
    "no gain": "NO DIFFERENCE could be shown.",
    "loss": "THEIRS are more like their users' own texts.",
}


def outputs_words(found: Mapping[str, Any]) -> str:
    """Gaps by every verifier, the win rate, what was copied, and the verdict of the primary one."""
    n = found["wins"]
    rows = [
        [
            name,
            estimate(gap),
            "" if name not in found["agreement"] else estimate(found["agreement"][name]["same_sign"], ".2f"),
        ]
        for name, gap in found["gaps"].items()
    ]
    parts = [
        f"{n['n_instances']} pairs of {n['n_users']} users; gaps: ours minus theirs, log-odds of being the user's; "
        "[95% intervals over users]",
        columns(["", "gap", "same sign as the primary"], rows),
        f"Wins of ours: {estimate(n, '.2f')}. Longest run of words taken from a user's text: "
        f"ours {found['longest_run']['ours']}, theirs {found['longest_run']['theirs']}.",
        _VERDICTS[found["verdict"]],
    ]
    if found.get("opinion"):
        parts.append(opinion_words(found["opinion"]))
    return "\n\n".join(parts)
