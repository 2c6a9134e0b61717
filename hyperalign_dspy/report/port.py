"""A port in words: the baseline, the old program and the re-tuned one side by side on the new model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.format import columns, estimate
from hyperalign_dspy.report.table import capped_words, verdict_words

# As the confirmation calls them, and as a port does.
_LINES = {
    "baseline, old settings": "baseline at old settings",
    "old program": "old program as it is",
    "baseline, equal drafts": "baseline",
    "compiled": "re-tuned",
}
_RIVALS = ("baseline, equal drafts", "baseline, old settings")


def port_table(result: Mapping[str, Any]) -> str:
    """Three lines, the verdict, and what it took; ``result`` as in result.json."""
    port, rows = result["port"], {row["name"]: row for row in result["confirmation"]["rows"]}
    n = rows["compiled"]["gap"]
    head = (
        f"From {port['parent']} to {port['model']}. Sealed users: {n['n_users']}; instances: {n['n_instances']}; "
        f"value: {result['plan']['unit']};\n[95% intervals over users]; * to the baseline at equal drafts, temperature"
    )
    order = ["baseline, equal drafts", "baseline, old settings", "old program", "compiled"]
    harm = "harm" in result["facts"]
    header = ["", "drafts", "value", "gap*", "wins*", *(["harm", "harm rise*"] if harm else []), "calls"]
    table = columns(header, [_cells(rows[name], harm=harm) for name in order if name in rows])
    parts = [head, table, verdict_words(result), _course(result), capped_words(result), _calls(port)]
    return "\n\n".join(part for part in parts if part)


def _cells(row: Mapping[str, Any], *, harm: bool) -> list[str]:
    own = row["name"] in _RIVALS
    harms = [estimate(row["harm"], ".2f"), "*" if own else estimate(row["harm_rise"])] if harm else []
    gaps = ["*", "*"] if own else [estimate(row["gap"]), estimate(row["wins"], ".2f")]
    value = estimate(row["value"], ".2f")
    return [_LINES[row["name"]], str(row["drafts"]), value, *gaps, *harms, str(row["cost"]["calls"])]


def _course(result: Mapping[str, Any]) -> str:
    """What became of the old program in the pilot, and what was searched beside it."""
    port = result["port"]
    if port["failed"]:
        return f"The old program does not answer on {port['model']}: {port['failed']}"
    if port["seen"] is None:
        return f"What is frozen for {port['parent']} is the baseline itself: nothing could be taken over as it is."
    figures = f"{port['seen']:+.2f} in the pilot, {port['gained']:+.2f} on {port['parent']}"
    kept = "held" if port["held"] else "fell short"
    then = "the search went on from the old ranking" if port["retuned"] else "nothing else was searched"
    return f"The old program {kept} ({figures}): {then}."


def _calls(port: Mapping[str, Any]) -> str:
    search, confirm = port["search_calls"], port["confirm_calls"]
    return (
        f"Calls: {search} to search, {confirm} to confirm, {search + confirm} in all; the program for {port['parent']} "
        f"took {port['parent_calls']}, its controls among them. What two lines share is paid once."
    )
