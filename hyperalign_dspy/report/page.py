"""A run on one page: verdict, confirmation, search, cost and texts side by side; in one file that loads nothing."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from hyperalign_dspy.experiment.confirm import COMPILED, EQUAL
from hyperalign_dspy.optimize.visits import describe
from hyperalign_dspy.report import html as markup
from hyperalign_dspy.report import svg, view
from hyperalign_dspy.report.format import escaped, estimate, wins_words
from hyperalign_dspy.report.judge import llm_judge_words
from hyperalign_dspy.report.run_view import UNKNOWN, Phase, Sample, Story
from hyperalign_dspy.report.table import cells_of, objectives_of, verdict_words
from hyperalign_dspy.types import Cost

# So many instances lie open; the others can be unfolded.
OPEN = 4
_COSTS = (
    "What every arm cost by itself: answers that arms share are counted for each of them; seconds of calls added up"
)
_TONE = {"gain": "good", "loss": "bad", "harm not excluded": "bad"}


def run_page(story: Story) -> str:
    """The page of a run; of one that is not done, what is there so far.

    Raises:
        DataError: a file of the run that cannot be read.
    """
    result = story.result
    confirmed = [_verdict(result), _confirmation(result), _margins(result), _judges(result)] if result else []
    parts = [
        _head(story),
        *(confirmed or [_not_done(story)]),
        _search(story),
        _slots(story),
        _cost(story),
        _samples(story),
        _pareto(story),
        _settings(story),
        _onward(story),
        _foot(),
    ]
    return markup.document(f"{story.run_id}: a run of hyperalign", parts)


def _head(story: Story) -> str:
    plan = story.plan
    what = f"{plan['program']} for {plan['model']}, recipe {plan['recipe']}, on {plan['source']}, seed {plan['seed']}"
    return f"<header>\n<h1>{escaped(story.run_id)}</h1>\n{markup.paragraph(what, 'soft')}\n</header>"


def _not_done(story: Story) -> str:
    calls = sum(phase.cost.calls for phase in story.phases)
    return (
        '<div class="verdict">\n<p class="said">Not done: there is no verdict yet.</p>\n'
        + markup.paragraph(
            f"{len(story.visits)} visits and {calls} calls are recorded; nothing recorded is paid twice. Below stands "
            "what is there. What a search sees on its way proves nothing: only the confirmation does."
        )
        + "</div>"
    )


def _verdict(result: Mapping[str, Any]) -> str:
    said, _, *more = verdict_words(result).splitlines()
    row, unit = _row(result, COMPILED), result["plan"]["unit"]
    figures = [
        (f"gap to baseline*, {unit}", estimate(row["gap"])),
        ("win rate over baseline*", estimate(row["wins"], ".2f")),
        ("sealed users", str(row["gap"]["n_users"])),
        ("instances", str(row["gap"]["n_instances"])),
    ]
    tone = _TONE.get(result["confirmation"]["verdict"], "")
    lines = "".join(markup.paragraph(line.strip()) for line in more)
    note = (
        "Figures in brackets are 95% intervals over users whom the search never saw. baseline* is the baseline at "
        "equal drafts: the program as it was before the search, given as many drafts and the same temperature."
    )
    return (
        f'<section class="verdict {tone}">\n<p class="said">{escaped(said)}</p>\n{markup.facts(figures)}{lines}'
        f"{markup.paragraph(note, 'soft')}</section>"
    )


def _confirmation(result: Mapping[str, Any]) -> str:
    rows = result["confirmation"]["rows"]
    header, cells = cells_of(result)
    bold = [place for place, row in enumerate(rows) if row["name"] == COMPILED]
    # Side by side they are wider than a page.
    split = header.index("calls")
    costs = [[row[0], *row[split:]] for row in cells[: len(rows)]]
    risen = [view.dot(row["name"], row["harm_rise"]) for row in rows if row["harm_rise"] and row["name"] != EQUAL]
    rise = svg.intervals("Rise of harm of every arm over baseline*", risen, "rise of harm over baseline*")
    return markup.section(
        "Confirmation",
        markup.paragraph(
            "Every arm wrote for the same sealed users, once: compiled and baseline* for all of their requests, a "
            "control for as many as its line needs (n). Right of the line of 0 is better than baseline*; an interval "
            "that holds 0 shows no difference."
        ),
        markup.figure(view.draw_arms(result), "Mean paired difference to baseline* with its 95% interval over users."),
        markup.figure(rise, f"Harm: {result['facts'].get('harm', '')}. Left of 0 is better.") if risen else "",
        markup.table(_reading(result), header[:split], [row[:split] for row in cells], strong=bold),
        markup.table(_COSTS, ["", *header[split:]], costs, strong=bold),
    )


def _reading(result: Mapping[str, Any]) -> str:
    unit = result["plan"]["unit"]
    odds = (
        " of being the user's, by the primary judge (0: even odds; each +1 takes them times 2.7). Rank: the "
        "mean of 1 over the user's place among all users, 1 is best"
    )
    return (
        f"Values are {unit}{odds if 'judge' in result['facts'] else ''}. Copied: texts with eight words in a row from "
        "a sample shown; longest: the longest such run, in words."
    )


def _margins(result: Mapping[str, Any]) -> str:
    found = result["confirmation"]["margins"]
    # Files hold names in order of the alphabet; a reader wants the order of the table above.
    margins = {row["name"]: found[row["name"]] for row in result["confirmation"]["rows"] if row["name"] in found}
    if not margins:
        return ""
    dots = [view.dot(name, gap) for name, (gap, *_) in margins.items()]
    rows = [
        [name, str(gap["n_instances"]), estimate(gap), wins_words(wins, answered[0] if answered else None)]
        for name, (gap, wins, *answered) in margins.items()
    ]
    drawn = svg.intervals("Margin of the compiled program over every control", dots, result["plan"]["unit"])
    return markup.section(
        "Margins over controls",
        markup.paragraph("What the compiled program has over simpler things, at its own drafts and temperature."),
        markup.figure(drawn, "Compiled minus control, mean paired difference with its 95% interval over users."),
        markup.table("The compiled program over each control", ["compiled over", "n", "margin", "wins"], rows),
    )


def _judges(result: Mapping[str, Any]) -> str:
    confirmation, others = result["confirmation"], _row(result, COMPILED)["others"]
    rows = [
        [name, estimate(others[name]), estimate(found["same_sign"], ".2f"), _two(found["correlation"])]
        for name, found in confirmation["agreement"].items()
    ]
    llm_judge = confirmation.get("llm_judge")
    if not rows and not llm_judge:
        return ""
    header = ["judge", "gap to baseline*", "same sign as the primary", "correlation"]
    told = "The compiled program's gap by judges that decided nothing, and how far they go with the one that did"
    lines = llm_judge_words(llm_judge).splitlines() if llm_judge else []
    return markup.section(
        "Other judges",
        markup.table(told, header, rows) if rows else "",
        "<h3>A model's opinion</h3>" if lines else "",
        *(markup.paragraph(line.strip()) for line in lines),
    )


def _search(story: Story) -> str:
    visits = story.visits
    if not visits:
        return ""
    rows = [[str(n), f"{v['gap']:+.2f}", describe(v["configuration"])] for n, v in enumerate(visits, start=1)]
    return markup.section(
        "The search",
        markup.paragraph(
            "A visit is one configuration on one block of users that a search may see, against the baseline on the "
            "same requests. One block is few users: the best visit is partly luck, and so the confirmation is apart."
        ),
        markup.figure(view.draw_visits(visits, story.unit), "A dot a visit; the line is the best so far."),
        _folded("Every visit", markup.table("Visits in order", ["visit", "gap", "changes to the baseline"], rows)),
        _standings(story.result),
    )


def _standings(result: Mapping[str, Any] | None) -> str:
    top = result.get("top") if result else None
    if not top:
        return ""
    rows = [[describe(s["changes"]), str(s["blocks"]), estimate(s["estimate"]), f"{s['shrunk']:+.2f}"] for s in top]
    header = ["changes to the baseline", "blocks", "gap", "gap, drawn to the mean"]
    told = "The most promising when the search ended; the last column takes out what may be luck"
    return markup.table(told, header, rows)


def _slots(story: Story) -> str:
    if not story.contributions:
        return ""
    drawn = []
    estimates = [e for candidates in story.contributions.values() for e in candidates.values()]
    beside = [number for e in estimates for number in (e.mean, e.low, e.high) if math.isfinite(number)]
    for slot, candidates in story.contributions.items():
        dots = [
            svg.Dot(name, e.mean, _known(e.low), _known(e.high), f"{e.mean:+.2f}, {_visits(e.n_users)}")
            for name, e in candidates.items()
        ]
        drawing = svg.intervals(
            f"Mean gap of visits by {slot}", dots, view.counted("mean gap of its visits", story.unit), beside
        )
        drawn.append(f"<h3>{escaped(slot)}</h3>\n{markup.figure(drawing)}")
    return markup.section(
        "What each slot contributes",
        markup.paragraph(
            f"The mean gap over the visits that had a candidate, of {_visits(len(story.visits))} in all; 95% intervals "
            "over visits, from three visits on. These are not causal: the search chose what to try together, so a "
            "candidate may owe its place to its company or to an easy block. Few visits say little."
        ),
        *drawn,
    )


def _cost(story: Story) -> str:
    phases = story.phases
    if not phases:
        return ""
    whole = Phase("all", sum((p.cost for p in phases), Cost()), sum(p.failed for p in phases))
    rows = [[p.name.replace(":", ": "), *_amounts(p)] for p in [*phases, whole]]
    told = (
        "Calls under the phase that first made them: an answer that a later arm used again is not counted again. "
        "Seconds add up calls that were in flight together. Failed calls may have been billed, and are not priced here."
    )
    header = ["phase", "calls", "tokens in", "tokens out", "seconds", "dollars", "failed"]
    took = markup.paragraph(f"The last session took {story.result['seconds']:.0f} s.") if story.result else ""
    return markup.section("Cost", markup.table(told, header, rows, strong=[len(rows) - 1]), took)


def _amounts(phase: Phase) -> list[str]:
    cost = phase.cost
    amounts = [f"{value:,.0f}" for value in (cost.calls, cost.input_tokens, cost.output_tokens, cost.seconds)]
    return [*amounts, "unknown" if cost.money is None else f"{cost.money:,.4f}", f"{phase.failed:,}"]


def _samples(story: Story) -> str:
    samples = story.samples
    if not samples or not story.result:
        return ""
    facts = story.result["facts"]
    own = "The user's own text" if "judge" in facts else "What an answer is held against"
    shown = [_sample(sample, own, story.unit) for sample in samples]
    rest = _folded(f"The other {len(shown) - OPEN} instances", *shown[OPEN:]) if len(shown) > OPEN else ""
    return markup.section(
        "Texts side by side",
        markup.paragraph(
            "In the order of the run, none picked. Under each heading stands what the primary judge gave the text."
        ),
        *shown[:OPEN],
        rest,
    )


def _sample(sample: Sample, own: str, unit: str) -> str:
    columns = [_text(own, sample.reference)] if sample.reference else []
    columns += [
        _text(name, row["text"], _told(row, unit))
        for name, row in ((name, sample.texts.get(arm)) for name, arm in (("baseline*", EQUAL), ("compiled", COMPILED)))
        if row
    ]
    return (
        f'<article class="sample">\n<h3 dir="auto">{escaped(sample.request)}</h3>\n'
        f"{markup.paragraph(f'{sample.user}, {sample.instance}', 'soft')}\n"
        f'<div class="texts">{"".join(columns)}</div>\n</article>'
    )


def _text(heading: str, text: str, told: str = "") -> str:
    said = f'<p class="value">{escaped(told)}</p>' if told else ""
    return f'<div><h4>{escaped(heading)}</h4>{said}<p class="text" dir="auto">{escaped(text)}</p></div>\n'


def _told(row: Mapping[str, Any], unit: str) -> str:
    if row["value"] is None:
        return "no answer"
    copied = "; copies a sample, and so loses" if row["copied"] else ""
    return f"{'harm' if row['harm'] else unit} {row['value']:.2f}{copied}"


def _pareto(story: Story) -> str:
    points = (story.result or {}).get("pareto") or []
    if not points:
        return ""
    names = objectives_of(points)
    drawn = [_front(points, across, up) for up, across in combinations(names, 2)]
    rows = [
        [
            str(p["point"] or ""),
            describe(p["changes"]),
            *(f"{p['objectives'][n]:+.3g}" for n in names),
            "yes" if p["chosen"] else "",
        ]
        for p in points
    ]
    return markup.section(
        "Several objectives",
        markup.paragraph(
            "Visited configurations than which no other is better in one objective and as good in the others. "
            "Differences to the baseline on users that a search may see, and so no proof."
        ),
        *drawn,
        markup.table("The Pareto set", ["point", "changes to the baseline", *names, "confirmed"], rows),
    )


def _front(points: Sequence[Mapping[str, Any]], across: str, up: str) -> str:
    found = [
        svg.Point(p["objectives"][across], p["objectives"][up], describe(p["changes"]), bool(p["chosen"]))
        for p in points
    ]
    return markup.figure(svg.scatter(f"{up} against {across}", found, across, up))


def _settings(story: Story) -> str:
    if not story.result:
        return ""
    changes = story.result["changes"]
    if not changes:
        told = "Compiled is the baseline itself: nothing better was found on the users that a search may see."
        return markup.section("The configuration", markup.paragraph(told))
    rows = [[slot, str(story.baseline.get(slot, UNKNOWN)), str(value)] for slot, value in changes.items()]
    told = "Where the compiled program differs from the baseline; all other slots are the baseline's"
    return markup.section("The configuration", markup.table(told, ["slot", "baseline", "compiled"], rows))


def _onward(story: Story) -> str:
    run, name = story.run_id, shlex.join([story.plan["program"], "--model", story.plan["model"]])
    if not story.result:
        lines = [("go on where it stands", f"hyperalign runs resume {run}")]
    else:
        lines = [
            ("the table of this page, in the terminal", f"hyperalign runs show {run}"),
            ("exactly what the frozen program sends", f"hyperalign show {name} --messages"),
        ]
        if story.plan["program"] == "authorship":
            lines.append(("write with it", f'hyperalign run {name} --samples FOLDER --request "..."'))
        lines.append(("measure it on other people's texts", f"hyperalign eval {name} --data FILE"))
        if story.result.get("pareto"):
            lines.append(("confirm another point of the Pareto set", f"hyperalign runs confirm {run} --pareto-index N"))
    if story.plan["command"]:
        lines.append(("the command of this run", "hyperalign " + shlex.join(story.plan["command"])))
    return markup.section("How to go on", markup.commands(lines))


def _foot() -> str:
    return (
        "<footer>\n<p>This page holds people's texts: give it only to those who may read them. It loads nothing and "
        "sends nothing.</p>\n</footer>"
    )


def _folded(summary: str, *parts: str) -> str:
    return f"<details>\n<summary>{escaped(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


def _row(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(row for row in result["confirmation"]["rows"] if row["name"] == name)
    return found


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _visits(count: int) -> str:
    return f"{count} visit{'' if count == 1 else 's'}"
