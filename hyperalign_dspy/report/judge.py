"""Tables of what judges score on people's own text and judgements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.format import columns, estimate

_HOW = {"pairs": "comparing two texts", "grades": "grading each from 0 to 10"}


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


def power_table(power: Mapping[str, Any]) -> str:
    """One line a verifier: how far it tells generated texts apart."""
    shape = power["replayed"]
    seen = f"{shape['users']} x {shape['requests']}"
    header = ["", "right over none", "t", "wins", "wrong user's wins", seen, "fit", "text"]
    rows = [
        [
            name,
            estimate(found["gap"]),
            f"{found['t']:.2f}",
            estimate(found["wins"], ".2f"),
            estimate(found["wrong"], ".2f"),
            f"{found['found']:.0%}",
            f"{found['fit_seconds']:.1f} s",
            f"{found['text_ms']:.1f} ms",
        ]
        for name, found in power["verifiers"].items()
    ]
    n = next(iter(power["verifiers"].values()))["gap"]
    head = (
        f"Texts by {power['model']} of equal length for {n['n_users']} users that a search may see, {n['n_instances']} "
        "requests: under the right user's samples,\nnone, and another user's. Log-odds; t over users; the share of "
        f"replayed confirmations of {shape['users']} users x {shape['requests']} that find the gain."
    )
    return f"{head}\n\n{columns(header, rows)}"


def qualification_words(found: Mapping[str, Any]) -> str:
    """A judge's agreement with people, its steadiness and what length does, and whether it may gate."""
    tally, n, sure = found["tally"], found["agreement"], found["decided"]
    verdict = "QUALIFIED" if found["qualified"] else "NOT QUALIFIED"
    lines = [
        f"{found['judge']} as judge of {found['purpose']}, {_HOW[found['how']]}: "
        f"{n['n_instances']} pairs of {n['n_users']} users or items",
        f"  agreement with people (ties half)  {estimate(n, '.2f')}",
        f"  agreement where it decided         {estimate(sure, '.2f')} of {sure['n_instances']}",
        f"  changes with the order (flips)     {estimate(tally['flips'], '.2f')}",
        f"  abstains                           {tally['abstained']:.2f} of its votes",
        f"  prefers the longer                 {estimate(tally['longer'], '.2f')}",
        f"  length effect                      {tally['length_effect']:+.2f} log-odds a standard deviation",
        f"{verdict} for {found['purpose']}, {_HOW[found['how']]}: the interval's lower end has to be .65 or more, "
        "over 20 users or items.",
    ]
    return "\n".join(lines)


def llm_judge_words(found: Mapping[str, Any]) -> str:
    """A model's opinion on one system's texts beside another's, and in words whether it counts."""
    tally, agreement = found["tally"], found["agreement"]
    n = tally["wins"]
    lines = [
        f"{found['model']} as judge of {found['purpose']}, both orders, {n['n_instances']} pairs: "
        f"wins {estimate(n, '.2f')}, length-controlled {estimate(tally['length_controlled'], '.2f')}, "
        f"flips {estimate(tally['flips'], '.2f')}, abstains {tally['abstained']:.2f}."
    ]
    if found["grades"]:
        lines.append(f"  its grades, 0 to 10: {estimate(found['grades'], '.1f')}, difference {_gap(found)}")
    if found["qualified"]:
        lines.append(f"  Qualified judge (agreement with people {estimate(agreement, '.2f')}): it gates the verdict.")
    elif agreement:
        lines.append(f"  UNQUALIFIED JUDGE (agreement with people {estimate(agreement, '.2f')}): it decides nothing.")
    else:
        lines.append(
            "  UNQUALIFIED JUDGE (never tried for this purpose): it decides nothing. "
            f"Try it: hyperalign judge qualify --judge {found['model']}"
        )
    if found["same_family"]:
        lines.append("  It is of the same family as what wrote the texts, which judges tend to favour.")
    return "\n".join(lines)


def _gap(found: Mapping[str, Any]) -> str:
    said = estimate(found["grade_gap"])
    return said if found["grader_qualified"] else f"{said} (unqualified grader)"


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
    if found.get("llm_judge"):
        parts.append(llm_judge_words(found["llm_judge"]))
    return "\n\n".join(parts)
