"""What a score table holds, and how searchers did on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hyperalign_dspy.report.format import columns, estimate
from hyperalign_dspy.report.svg import curves

if TYPE_CHECKING:
    from hyperalign_dspy.experiment.bench.compare import Comparison
    from hyperalign_dspy.experiment.bench.tables import ScoreTable


def table_words(table: Mapping[str, Any]) -> str:
    """Size, origin and split-half reliability of a score table."""
    made, (mean, low, high) = table["made"], (math.nan if part is None else part for part in table["reliability"])
    lines = [
        f"{made['corpus']} by {made['model']['name']}: {table['configurations']} configurations x "
        f"{table['instances']} instances of {table['users']} users; {made['calls']} calls.",
        f"Split-half reliability over users: {mean:.2f} [{low:.2f}, {high:.2f}] over random halves.",
    ]
    if not mean >= 0.5:
        lines.append("Below .5 this table cannot tell searchers apart.")
    return "\n".join(lines)


def describe_comparison(compared: Comparison, table: ScoreTable) -> str:
    """Each searcher's end, its curve on a few points, and how it stands beside MIPROv2."""
    found, about = asdict(compared), table.summary()
    head = (
        f"{found['seeds']} replays, each parting the {found['users']} users anew: half searched, half sealed. Gains "
        f"are on sealed users, in {about['made']['unit']}; the best configuration of the pool has "
        f"{found['best']:+.2f}. A call is paid once, whoever needs it. [95% intervals over seeds and users]"
    )
    header = ["searcher", "calls", "gain at the end", "below the baseline", "gain after 10, 25, 50% of its calls"]
    ends = [
        [name, f"{curve['spent']:.0f}", estimate(curve["end"]), estimate(curve["below"], ".2f"), _path(curve)]
        for name, curve in found["curves"].items()
    ]
    parts = [table_words(about), head, columns(header, ends)]
    if found["against"]:
        beside = "Beside MIPROv2 at its light budget, at equal calls (everything and blind: at their end):"
        parts += [beside, _against(found["against"])]
        if any(row["ratio"] is None for row in found["against"].values()):
            parts.append("MIPROv2's gain does not exclude 0, so there is nothing to reach and nothing to divide by.")
    return "\n\n".join(parts)


def draw_comparison(compared: Comparison, table: ScoreTable) -> str:
    """Mean true gain against calls, a line with its band for each searcher, as SVG."""
    found, made = asdict(compared), table.made
    series = {
        name: [
            (calls, gain["mean"], gain["low"], gain["high"])
            for calls, gain in zip(curve["calls"], curve["gains"], strict=True)
        ]
        for name, curve in found["curves"].items()
    }
    title = f"{made['corpus']}: gain on sealed users against calls, {found['seeds']} replays"
    return curves(series, "calls", f"true gain, {made['unit']}", title)


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
            estimate(row["reaches"], ".2f") if row["reaches"] else "-",
            estimate(row["gap"]),
            estimate(row["ratio"], ".2f") if row["ratio"] else "-",
            estimate(row["below"], ".3f"),
            estimate(row["rival_below"], ".3f"),
        ]
        for name, row in found.items()
    ]
    return columns(header, rows)


def live_words(entries: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Each optimiser's compiled program on the same sealed users, and what it took."""
    done = [entry for entry in entries if not entry["failed"]]
    rows = [
        [
            entry["name"],
            f"{entry['searched']}{', capped' if entry['capped'] else ''}",
            str(entry["calls"]),
            f"{entry['seconds']:.0f}",
            f"{entry['value']['mean']:.2f}",
            estimate(entry["gap"]),
            estimate(entry["wins"], ".2f"),
            estimate(entry["beside"]) if entry["beside"] else "*",
            entry["verdict"],
        ]
        for entry in done
    ]
    header = [
        "optimiser",
        "searched",
        "calls",
        "s",
        "value",
        "gap to baseline",
        "wins",
        "beside our search*",
        "verdict",
    ]
    n = done[0]["gap"] if done else None
    told = f"{n['n_users']} sealed users, {n['n_instances']} instances; {unit}; [95% intervals over users]" if n else ""
    looks = f"These users have judged {len(done)} programs: the best of them looks better than it is." if n else ""
    capped = "capped: a cap ended the search; its best until then is what was confirmed."
    notes = [capped if any(entry["capped"] for entry in done) else "", looks]
    failed = [f"{entry['name']}: {entry['failed']}" for entry in entries if entry["failed"]]
    return "\n\n".join(part for part in (told, columns(header, rows) if rows else "", *notes, *failed) if part)
