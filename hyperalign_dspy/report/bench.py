"""What a score table holds, and how searchers did on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.words import columns, estimate


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


def comparison_words(found: Mapping[str, Any], table: Any, reliability: tuple[float, float, float]) -> str:
    """Each searcher's end, its curve on a few points, and how it stands beside MIPROv2."""
    head = (
        f"{found['seeds']} replays, each parting the {found['users']} users anew: half searched, half sealed. Gains "
        f"are on sealed users, in {table.made['unit']}; the best configuration of the pool has {found['best']:+.2f}. "
        "[95% intervals over seeds and users]"
    )
    ends = [
        [name, f"{curve['spent']:.0f}", estimate(curve["end"]), estimate(curve["below"], ".2f"), _path(curve)]
        for name, curve in found["curves"].items()
    ]
    parts = [
        table_words(table, reliability),
        head,
        columns(
            ["searcher", "calls", "gain at the end", "below the baseline", "gain after 10, 25, 50% of its calls"], ends
        ),
    ]
    if found["against"]:
        parts += ["Beside MIPROv2 at its light budget, at equal calls:", _against(found["against"])]
    return "\n\n".join(parts)


def _path(curve: Mapping[str, Any]) -> str:
    points = list(zip(curve["calls"], curve["gains"], strict=True))
    found = []
    for share in (0.1, 0.25, 0.5):
        before = [gain["mean"] for calls, gain in points if calls <= share * curve["spent"]]
        found.append(f"{before[-1]:+.2f}" if before else "-")
    return "  ".join(found)


def _against(found: Mapping[str, Any]) -> str:
    header = [
        "searcher",
        "calls to its gain",
        "gain minus its",
        "gain over its",
        "below the baseline",
        "its runs below",
    ]
    rows = [
        [
            name,
            estimate(row["reaches"], ".2f"),
            estimate(row["gap"]),
            estimate(row["ratio"], ".2f"),
            estimate(row["below"], ".3f"),
            estimate(row["rival_below"], ".3f"),
        ]
        for name, row in found.items()
    ]
    return columns(header, rows)


def overhead_words(found: Mapping[str, Mapping[str, float]]) -> str:
    """What the machinery costs, in three lines."""
    busy, each, back = found["dispatch"], found["overhead"], found["resumed"]
    lines = [
        f"Places: {busy['instances']:,} instances, exponential latency, {busy['places']} in flight: "
        f"{busy['busy']:.2f} of greedy dispatch ({busy['share_of_sum']:.2f} of the latencies' sum over places), "
        f"{busy['seconds']:.0f} s.",
        f"An instance: {each['ours']:.2f} ms, of which dspy.Predict alone takes {each['predict']:.2f}; our own "
        f"{each['own']:.2f} ms ({each['instances']:,} instances, an engine that answers at once, the record on disk).",
        f"Resuming: {back['calls']:,} recorded calls open in {back['seconds']:.1f} s and take "
        f"{back['bytes_a_call'] / 1000:.2f} KB of memory each.",
    ]
    return "\n".join(lines)
