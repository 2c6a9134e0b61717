"""The comparison of two systems' outputs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.table import columns, estimate

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
    if found.get("judge"):
        parts.append(_judge(found["judge"]))
    return "\n\n".join(parts)


def _judge(found: Mapping[str, Any]) -> str:
    tally = found["tally"]
    lines = [
        f"By {found['model']} as judge, in both orders: wins of ours {estimate(tally['wins'], '.2f')}, "
        f"length-controlled {estimate(tally['length_controlled'], '.2f')}, flips {estimate(tally['flips'], '.2f')}, "
        f"abstains {tally['abstained']:.2f}.",
        "It gates nothing: see whether it qualifies with `hyperalign judge qualify`.",
    ]
    if found["family"]:
        lines.append("It is of the same family as what made the outputs, which judges tend to favour.")
    return "\n".join(lines)
