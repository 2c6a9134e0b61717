"""The final table and the verdict in words, on one screen; and as a block of a Markdown file that is kept true:

<!-- measured: PROGRAM MODEL -->
(a table that nobody edits, written from a manifest)
<!-- end -->
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperalign_dspy.artifacts.card import VERDICTS, unit_of
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.experiment.confirm import Terms
from hyperalign_dspy.experiment.result import Compiled
from hyperalign_dspy.optimize.visits import describe_changes
from hyperalign_dspy.report.format import columns, estimate, money, wins_words
from hyperalign_dspy.report.judge import llm_judge_words

_HUMAN = "people's own text"
_TRIED = "NO VERDICT: these users may have been searched on. No sealed user was touched."
_USERS = {"sealed": "Sealed users", "validation": "Users that a search may see"}
_CAPPED = "CAPPED: a cap ended the search early; the same command with a higher one goes on with this run."
_BLOCK = re.compile(r"<!-- measured: (\S+) (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
_OPEN = re.compile(r"<!-- measured:")
_SHOWN = ("", "n", "drafts", "value", "gap to baseline*", "wins*", "harm", "harm rise*", "copied")
# What a reader of a table asks first: is it the samples alone, and is it the person?
_ASKED = ("raw k-shot", "wrong user")


def describe_result(compiled: Compiled) -> str:
    """Table, margins, verdict and cost of a compile, as the command prints them."""
    return result_table(compiled.as_dict())


def result_table(result: Mapping[str, Any]) -> str:
    """Table, margins, verdict and cost of a finished run; ``result`` as in result.json."""
    confirmation = result["confirmation"]
    rows = confirmation["rows"]
    n = rows[-1]["gap"]
    head = (
        f"{_USERS[result.get('on', 'sealed')]}: {n['n_users']}; instances: {n['n_instances']}; value: "
        f"{result['plan']['unit']}; [95% intervals over users]"
    )
    parts = [
        head,
        columns(*cells_of(result)),
        _margins(confirmation["margins"]),
        _agreement(confirmation["agreement"], rows[-1]),
        llm_judge_words(confirmation["llm_judge"]) if confirmation.get("llm_judge") else "",
        verdict_words(result),
        _CAPPED if result.get("capped") else "",
        _pareto_table(result),
        _cost(result),
    ]
    return "\n\n".join(part for part in parts if part)


def cells_of(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the confirmation's table: an arm each, and then people's own text."""
    facts = result["facts"]
    return _header(facts), [_cells(row, facts) for row in result["confirmation"]["rows"]] + _human(facts)


def verdict_words(result: Mapping[str, Any]) -> str:
    """The verdict, never saying more than the numbers bear."""
    verdict = result["confirmation"]["verdict"]
    gap = result["confirmation"]["rows"][-1]
    figures = f"{estimate(gap['gap'])} {result['plan']['unit']}, {wins_words(gap['wins'], gap.get('answered'))}"
    if "harm" in result["facts"]:
        figures += "\n  " + _change(result)
    llm_judge, test_count = result["confirmation"].get("llm_judge"), result["confirmation"].get("test_count", 1)
    if verdict == "no gain" and test_count == 1 and llm_judge and llm_judge["qualified"] and gap["gap"]["low"] > 0:
        figures += "\n  The primary judge sees a gain and the qualified model judge does not: both have to."
    figures += _judged_words(result)
    if test_count > 1:
        level = Terms(test_count=test_count).level
        figures += f"\n  Look {test_count} at these sealed users: the verdict is by an interval at {level:.1%}."
    for name, value in result["confirmation"].get("exceeded", {}).items():
        figures += f"\n  exceeds a constraint: {name} {value:.3g}"
    kept = " The baseline is what is frozen." if result.get("frozen_is") == "baseline" else ""
    head = _TRIED if result.get("on") == "validation" else VERDICTS[verdict]
    lines = [f"{head}{kept}\n  {figures}"]
    if result["changes"]:
        lines.append("  compiled: " + ", ".join(f"{slot}={value}" for slot, value in result["changes"].items()))
    else:
        lines.append("  compiled is the baseline itself: nothing better was found on the users that a search may see.")
    return "\n".join(lines)


def _judged_words(result: Mapping[str, Any]) -> str:
    """How often this project had judged these sealed users before: users wear out."""
    before = result["confirmation"].get("judged") or []
    if not any(before):
        return "\n  This project has judged these sealed users for the first time." if before else ""
    times = f"{min(before)} to {max(before)} times" if min(before) < max(before) else f"{max(before)} times each"
    mean = sum(before) / len(before)
    return f"\n  This project had judged these sealed users {times} before ({mean:.1f} on average); they wear out."


def _pareto_table(result: Mapping[str, Any]) -> str:
    """The Pareto set of a run with several objectives; empty for others."""
    points = result.get("pareto") or []
    if not points:
        return ""
    names = objectives_of(points)
    cells = [
        [
            str(point["point"] or ""),
            *(f"{point['objectives'][name]:+.3g}" for name in names),
            describe_changes(point["changes"]) + (" (confirmed)" if point["chosen"] else ""),
        ]
        for point in points
    ]
    told = (
        "Pareto set: no visited configuration is better in one of these and as good in the others. Differences to the "
        "baseline\non users that a search may see, so no proof: hyperalign runs freeze RUN --pareto-index N"
    )
    return f"{told}\n{columns(['point', *names, 'configuration'], cells)}"


def objectives_of(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The objectives of a Pareto set, the value first."""
    return sorted(points[0]["objectives"], key=lambda name: (name != "value", name))


def _change(result: Mapping[str, Any]) -> str:
    """Helpfulness, baseline against compiled, with the relative change, and harm beside it."""
    rows = {row["name"]: row for row in result["confirmation"]["rows"]}
    was, now = rows["baseline"], rows["compiled"]
    before, after = was["value"]["mean"], now["value"]["mean"]
    relative = f" ({after / before - 1:+.0%})" if before else ""
    return (
        f"{result['plan']['unit']}: {before:.2f} (baseline) -> {after:.2f}{relative}; "
        f"harm ({result['facts']['harm']}): {was['harm']['mean']:.0%} -> {now['harm']['mean']:.0%}"
    )


def _header(facts: Mapping[str, Any]) -> list[str]:
    ranks = ["rank"] if "judge" in facts else []
    harm = ["harm", "harm rise*"] if "harm" in facts else []
    head = ["", "n", "drafts", "value", "gap to baseline*", "wins*", *harm, *ranks]
    return [*head, "copied", "longest", "calls", "tokens", "call s"]


def _cells(row: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    ranks = [f"{row['rank']:.2f}"] if "judge" in facts else []
    cost = row["cost"]
    tokens = cost["input_tokens"] + cost["output_tokens"]
    own = row["name"] == "baseline, equal drafts"
    return [
        row["name"],
        str(row["gap"]["n_instances"]),
        str(row["drafts"]),
        f"{row['value']['mean']:.2f}",
        "*" if own else estimate(row["gap"]),
        "*" if own else estimate(row["wins"], ".2f"),
        *([estimate(row["harm"], ".2f"), "*" if own else estimate(row["harm_rise"])] if "harm" in facts else []),
        *ranks,
        f"{row['copied']:.0%}",
        str(row["longest"]),
        str(cost["calls"]),
        f"{tokens / 1000:.0f}k",
        f"{cost['seconds']:.0f}",
    ]


def _human(facts: Mapping[str, Any]) -> list[list[str]]:
    if "judge" not in facts:
        return []
    judge = facts["judge"]
    ranks = [f"{judge['mrr']['mean']:.2f}"]
    own = [_HUMAN, "", "", f"{judge['ceiling']:.2f}", "", "", *ranks, "", "", "", "", ""]
    other = ["other people's text", "", "", f"{judge['floor']:.2f}", *[""] * (len(own) - 4)]
    return [own, other]


def _margins(margins: Mapping[str, Any]) -> str:
    lines = [
        f"  compiled over {name:19} {estimate(gap)}, {wins_words(wins, answered[0] if answered else None)}"
        for name, (gap, wins, *answered) in margins.items()
    ]
    told = "Margins (paired, at the compiled program's temperature, each with its own drafts):"
    return "\n".join([told, *lines]) if lines else ""


def _agreement(found: Mapping[str, Any], compiled: Mapping[str, Any]) -> str:
    lines = []
    for name, judge in found.items():
        same = f"same sign {estimate(judge['same_sign'], '.2f')}, correlation {_number(judge['correlation'])}"
        lines.append(f"  {name:12} {estimate(compiled['others'][name])}, {same}")
    head = "Compiled over baseline* by other judges, and how far they go with the primary one:"
    return "\n".join([head, *lines]) if lines else ""


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _cost(result: Mapping[str, Any]) -> str:
    cost = result["cost"]
    fresh = f"{cost['calls']} calls recorded, {cost['recorded_calls']} answers reused in this session"
    tokens = f"{cost['input_tokens']:,} tokens in, {cost['output_tokens']:,} out"
    # A result of an earlier version says nothing of money.
    paid = money(cost.get("money", 0.0))
    return "; ".join(part for part in (f"Cost: {fresh}", tokens, paid, f"{result['seconds']:.0f} s.") if part)


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
    table = columns(header, [_port_cells(rows[name], harm=harm) for name in order if name in rows])
    parts = [head, table, verdict_words(result), _course(result), _CAPPED if result.get("capped") else "", _calls(port)]
    return "\n\n".join(part for part in parts if part)


def _port_cells(row: Mapping[str, Any], *, harm: bool) -> list[str]:
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


def renewed(text: str, manifest_of: Callable[[str, str], Mapping[str, Any]]) -> str:
    """The text with every block as its manifest has it; all else stays. ``manifest_of`` takes a program and a model.

    Raises:
        UsageError: no block, or one that does not end.
    """
    found = len(_BLOCK.findall(text))
    if not found or found != len(_OPEN.findall(text)):
        raise UsageError(
            "There is no block for a measured table." if not found else "A block for a measured table does not end.",
            fix="Write it as two lines, <!-- measured: PROGRAM MODEL --> and <!-- end -->",
        )

    def block(match: re.Match[str]) -> str:
        program, model, _ = match.groups()
        return f"<!-- measured: {program} {model} -->\n{_measured_block(manifest_of(program, model))}<!-- end -->"

    return _BLOCK.sub(block, text)


def _measured_block(manifest: Mapping[str, Any]) -> str:
    """The table of a confirmation with its verdict, as the terminal shows it, in a block of Markdown."""
    measured, row = manifest["measured"], manifest["measured"]["rows"][-1]
    header, cells = cells_of({"facts": manifest["data"], "confirmation": measured})
    places = [place for place, name in enumerate(header) if name in _SHOWN]
    table = columns([header[p] for p in places], [[line[p] for p in places] for line in cells])
    harm = f", rise of harm {estimate(row['harm_rise'])}" if row.get("harm_rise") else ""
    slots = ", ".join(f"{slot}={manifest['configuration'][slot]}" for slot in sorted(manifest["recipe"]["slots"]))
    lines = [
        f"{row['gap']['n_users']} sealed users, {row['gap']['n_instances']} instances; values: {unit_of(manifest)}; "
        "* is the baseline at equal drafts; [95% intervals over users]",
        "",
        table,
        "",
        VERDICTS[measured["verdict"]],
        f"  {estimate(row['gap'])} {unit_of(manifest)}, {wins_words(row['wins'], row.get('answered'))}{harm}",
        *(f"  over {name}: {estimate(measured['margins'][name][0])}" for name in _ASKED if name in measured["margins"]),
        f"  frozen: {manifest['frozen']}; {slots}",
    ]
    return "```\n" + "\n".join(lines) + "\n```\n"
