"""What a compile will do and can show, in words, before its first call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.words import estimate


def plan_words(plan: Mapping[str, Any], facts: Mapping[str, Any], cap: int) -> str:
    """A few lines: corpus and judges on human text, the size of the search, the smallest gain."""
    users = ", ".join(f"{count} {part}" for part, count in facts["users"].items())
    lines = [
        f"Run {plan['run_id']}: {facts['corpus']} ({users}).",
        f"Search: {plan['visits']} visits among {plan['configurations']:,} configurations, "
        f"on {plan['validation_instances']} instances.",
        f"Confirmation, reserved first: {plan['users']} sealed users, {plan['instances']} instances, "
        f"at most {plan['confirm_calls']} calls.",
        f"At most {plan['calls']} calls in all" + (f" (cap {cap})." if cap else "; no cap is set."),
        power_words(plan),
    ]
    if plan.get("propose_calls"):
        lines.insert(2, f"Before it, candidates are made: at most {plan['propose_calls']} calls of the prompt model.")
    if "judge" in facts:
        lines.append(_judge(facts["judge"], "Primary judge"))
    return "\n".join(lines + [_judge(judge, "Beside it") for judge in facts.get("panel", {}).values()])


def power_words(plan: Mapping[str, Any]) -> str:
    """The smallest gain that so many users and instances can show."""
    return (
        f"The smallest gain that it can show, with {plan['users']} users and {plan['instances']} instances: "
        f"a win rate of {plan['smallest_win']:.2f} over the baseline (found in 80% of runs)."
    )


def _judge(judge: Mapping[str, Any], role: str) -> str:
    return (
        f"{role} ({judge['name']}) on people's own text, {judge['candidates']} candidates: "
        f"accuracy {estimate(judge['accuracy'], '.2f')}, reciprocal rank {judge['mrr']['mean']:.2f}, "
        f"AUC {judge['auc']:.2f}."
    )
