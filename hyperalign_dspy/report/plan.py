"""What a compile will do and can show, in words, before its first call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.report.format import estimate, money


def describe_plan(compiler: Compiler) -> str:
    """What a compile will do, may cost and can show, before its first call."""
    return plan_words(asdict(compiler.plan()), compiler.task_data.facts, compiler.limits)


def plan_words(plan: Mapping[str, Any], facts: Mapping[str, Any], limits: Limits) -> str:
    """A few lines: corpus and judges on human text, the size of the search and what it may cost, the smallest gain."""
    users = ", ".join(f"{count} {part}" for part, count in facts["users"].items())
    if plan.get("optimizer"):
        by = f"by {plan['optimizer']}"
        own = "How many calls the optimiser makes is its own affair: a cap bounds the run."
        whole = f"{own} Estimates for the confirmation: {_estimates(plan)}."
    else:
        by = f"{plan['visits']} visits among {plan['configurations']:,} configurations"
        whole = f"At most {plan['calls']} calls in all. Estimates for these: {_estimates(plan)}."
    lines = [
        f"Run {plan['run_id']}: {facts['corpus']} ({users}).",
        f"Search: {by}, on {plan['validation_instances']} instances.",
        f"Confirmation, reserved first: {plan['users']} sealed users, {plan['instances']} instances, "
        f"at most {plan['confirm_calls']} calls.",
        whole,
        _caps(plan, limits),
        _power_words(plan),
    ]
    if plan.get("propose_calls"):
        lines.insert(2, f"Before it, candidates are made: at most {plan['propose_calls']} calls of the prompt model.")
    if "judge" in facts:
        lines.append(_judge(facts["judge"], "Primary judge"))
    return "\n".join(lines + [_judge(judge, "Beside it") for judge in facts.get("panel", {}).values()])


def _estimates(plan: Mapping[str, Any]) -> str:
    tokens = f"{plan['input_tokens']:,} tokens in, {plan['output_tokens']:,} out"
    known = "at no cost" if plan["money"] == 0 else money(plan["money"])
    pace = "time unknown before the pilot" if plan["time"] is None else f"{_duration(plan['time'])} by earlier calls"
    return f"{tokens}, {known}, {pace}"


def _caps(plan: Mapping[str, Any], limits: Limits) -> str:
    """Which caps are set, and how many visits they buy, or calls of an optimiser."""
    caps = [
        f"{limits.max_calls:,} calls" if limits.max_calls else "",
        f"{limits.max_tokens:,} tokens" if limits.max_tokens else "",
        f"${limits.max_cost:g}" if limits.max_cost else "",
        _duration(limits.max_seconds) if limits.max_seconds else "",
    ]
    if not any(caps):
        return "No cap is set."
    if plan.get("optimizer"):
        left = plan["optimizer_calls"]
        then = "" if left is None else f" After the pilot, {left:,} calls are the optimiser's beside the confirmation."
        return f"Caps: {', '.join(filter(None, caps))}.{then}"
    bought = f"{plan['paid_visits']} of {plan['visits']} visits at least"
    timed = ", as far as can be told before it is known how long a call takes" if limits.max_seconds else ""
    return f"Caps: {', '.join(filter(None, caps))}. They buy {bought}{timed}."


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _power_words(plan: Mapping[str, Any]) -> str:
    """The smallest gain that so many users and instances can show."""
    told = (
        f"The smallest gain that it can show, with {plan['users']} users and {plan['instances']} instances: "
        f"a win rate of {plan['smallest_win']:.2f} over the baseline (found in 80% of runs)."
    )
    if not plan.get("replayed"):
        return told
    share, users = plan["replayed"]
    return f"{told} Replayed on recorded scores of {users} users, it finds what samples gain in {share:.0%} of runs."


def _judge(judge: Mapping[str, Any], role: str) -> str:
    return (
        f"{role} ({judge['name']}) on people's own text, {judge['candidates']} candidates: "
        f"accuracy {estimate(judge['accuracy'], '.2f')}, reciprocal rank {judge['mrr']['mean']:.2f}, "
        f"AUC {judge['auc']:.2f}."
    )
