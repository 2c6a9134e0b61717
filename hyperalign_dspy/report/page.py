"""A run on one page: verdict, confirmation, search, cost and texts side by side; in one file that loads nothing.

The words and the markup are in page.html beside this file.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hyperalign_dspy.experiment.confirm import COMPILED, EQUAL
from hyperalign_dspy.experiment.result import Compiled
from hyperalign_dspy.optimize.visits import describe_changes
from hyperalign_dspy.report import svg
from hyperalign_dspy.report.format import escaped, estimate, wins_words
from hyperalign_dspy.report.judge import llm_judge_words
from hyperalign_dspy.report.run_view import Story
from hyperalign_dspy.report.table import cells_of, objectives_of, verdict_words

# So many instances lie open; the others can be unfolded.
_OPEN = 4
_TONE = {"gain": "good", "loss": "bad", "harm not excluded": "bad"}


@dataclass(frozen=True)
class _Table:
    """The first column names its rows; ``strong`` are the places of rows that stand out."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: Sequence[int] = ()

    @property
    def right(self) -> list[bool]:
        """Whether each column holds numbers, and so stands to the right."""
        return [n > 0 and all(_is_number(row[n]) for row in self.rows) for n in range(len(self.header))]


def run_page(story: Story) -> str:
    """The page of a run; of one that is not done, what is there so far.

    Raises:
        DataError: a file of the run that cannot be read.
    """
    result = story.result
    environment = Environment(
        autoescape=True, finalize=_marked, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    parts = {"search": _search(story), "slots": _slots(story), "costs": _costs(story)}
    if result:
        parts |= {"verdict": _verdict(result), "confirmation": _confirmation(result), "margins": _margins(result)}
        parts |= {"judges": _judges(result), "front": _front(result), "changes": _changes(story, result)}
    return template.render(
        story=story,
        colours=Markup(svg.STYLE),
        open=_OPEN,
        visits=_visits,
        baseline_arm=EQUAL,
        compiled_arm=COMPILED,
        name=shlex.join([story.plan["program"], "--model", story.plan["model"]]),
        command=shlex.join(story.plan["command"] or []),
        **parts,
    )


def draw_result(compiled: Compiled) -> str:
    """Every arm of the confirmation with its interval, around the baseline at equal drafts; as SVG."""
    return _arms(compiled.as_dict())


def draw_search(compiled: Compiled) -> str:
    """Every visit of the search in its order, and the best so far; as SVG."""
    return _course(Story(compiled.run))


def _arms(result: Mapping[str, Any]) -> str:
    rows = result["confirmation"]["rows"]
    dots = [svg.Dot.of(row["name"], row["gap"], strong=row["name"] == COMPILED) for row in rows if row["name"] != EQUAL]
    return svg.intervals("Gap of every arm to baseline*", dots, f"gap to baseline*, {result['plan']['unit']}")


def _course(story: Story) -> str:
    visits = enumerate(story.visits, start=1)
    points = [svg.Point(n, visit["gap"], describe_changes(visit["configuration"])) for n, visit in visits]
    return svg.climb("Value of every visit, in order", points, "visit", story.counted("gap to the baseline"))


def _marked(value: Any) -> Markup:
    """What is no markup stays text, whatever it holds."""
    return value if isinstance(value, Markup) else Markup(escaped(str(value)))


def _verdict(result: Mapping[str, Any]) -> dict[str, Any]:
    said, _, *more = verdict_words(result).splitlines()
    row = result["confirmation"]["rows"][-1]
    figures = [
        (f"gap to baseline*, {result['plan']['unit']}", estimate(row["gap"])),
        ("win rate over baseline*", estimate(row["wins"], ".2f")),
        ("sealed users", str(row["gap"]["n_users"])),
        ("instances", str(row["gap"]["n_instances"])),
    ]
    tone = _TONE.get(result["confirmation"]["verdict"], "")
    return {"said": said, "more": [line.strip() for line in more], "figures": figures, "tone": tone}


def _confirmation(result: Mapping[str, Any]) -> dict[str, Any]:
    rows, (header, cells) = result["confirmation"]["rows"], cells_of(result)
    bold = [place for place, row in enumerate(rows) if row["name"] == COMPILED]
    # Side by side they are wider than a page.
    split = header.index("calls")
    costs = [[row[0], *row[split:]] for row in cells[: len(rows)]]
    risen = [svg.Dot.of(row["name"], row["harm_rise"]) for row in rows if row["harm_rise"] and row["name"] != EQUAL]
    rise = svg.intervals("Rise of harm of every arm over baseline*", risen, "rise of harm over baseline*")
    return {
        "arms": Markup(_arms(result)),
        "rise": Markup(rise) if risen else "",
        "table": _Table(header[:split], [row[:split] for row in cells], bold),
        "costs": _Table(["", *header[split:]], costs, bold),
    }


def _margins(result: Mapping[str, Any]) -> dict[str, Any] | None:
    found = result["confirmation"]["margins"]
    # Files hold names in order of the alphabet; a reader wants the order of the table above.
    margins = {row["name"]: found[row["name"]] for row in result["confirmation"]["rows"] if row["name"] in found}
    if not margins:
        return None
    dots = [svg.Dot.of(name, gap) for name, (gap, *_) in margins.items()]
    rows = [
        [name, str(gap["n_instances"]), estimate(gap), wins_words(wins, answered[0] if answered else None)]
        for name, (gap, wins, *answered) in margins.items()
    ]
    drawn = svg.intervals("Margin of the compiled program over every control", dots, result["plan"]["unit"])
    header = ["compiled over", "n", "margin", "wins"]
    return {"drawing": Markup(drawn), "table": _Table(header, rows)}


def _judges(result: Mapping[str, Any]) -> dict[str, Any]:
    confirmation = result["confirmation"]
    others = confirmation["rows"][-1]["others"]
    rows = [
        [
            name,
            estimate(others[name]),
            estimate(found["same_sign"], ".2f"),
            "-" if found["correlation"] is None else f"{found['correlation']:.2f}",
        ]
        for name, found in confirmation["agreement"].items()
    ]
    header = ["judge", "gap to baseline*", "same sign as the primary", "correlation"]
    llm_judge = confirmation.get("llm_judge")
    opinion = [line.strip() for line in llm_judge_words(llm_judge).splitlines()] if llm_judge else []
    return {"table": _Table(header, rows) if rows else None, "opinion": opinion}


def _search(story: Story) -> dict[str, Any]:
    visits = enumerate(story.visits, start=1)
    rows = [[str(n), f"{visit['gap']:+.2f}", describe_changes(visit["configuration"])] for n, visit in visits]
    top = (story.result or {}).get("top") or []
    best = [
        [describe_changes(s["changes"]), str(s["blocks"]), estimate(s["estimate"]), f"{s['shrunk']:+.2f}"] for s in top
    ]
    header = ["changes to the baseline", "blocks", "gap", "gap, drawn to the mean"]
    return {
        "drawing": Markup(_course(story)),
        "table": _Table(["visit", "gap", "changes to the baseline"], rows),
        "standings": _Table(header, best) if best else None,
    }


def _slots(story: Story) -> dict[str, Markup]:
    """slot -> what its candidates go with, all drawn to one scale."""
    dots = {
        slot: [
            svg.Dot.of(name, asdict(found), note=f"{found.mean:+.2f}, {_visits(found.n_users)}")
            for name, found in candidates.items()
        ]
        for slot, candidates in story.contributions.items()
    }
    beside = [n for found in dots.values() for dot in found for n in (dot.mean, dot.low, dot.high) if n is not None]
    unit = story.counted("mean gap of its visits")
    return {
        slot: Markup(svg.intervals(f"Mean gap of visits by {slot}", found, unit, beside))
        for slot, found in dots.items()
    }


def _costs(story: Story) -> _Table:
    rows = [
        [
            phase.name.replace(":", ": "),
            *(f"{n:,.0f}" for n in (cost.calls, cost.input_tokens, cost.output_tokens, cost.seconds)),
            "unknown" if cost.money is None else f"{cost.money:,.4f}",
            f"{phase.failed:,}",
        ]
        for phase in [*story.phases, story.whole]
        for cost in [phase.cost]
    ]
    header = ["phase", "calls", "tokens in", "tokens out", "seconds", "dollars", "failed"]
    return _Table(header, rows, [len(rows) - 1])


def _front(result: Mapping[str, Any]) -> dict[str, Any] | None:
    points = result.get("pareto") or []
    if not points:
        return None
    names = objectives_of(points)
    drawings = [
        svg.scatter(
            f"{up} against {across}",
            [
                svg.Point(
                    p["objectives"][across], p["objectives"][up], describe_changes(p["changes"]), bool(p["chosen"])
                )
                for p in points
            ],
            across,
            up,
        )
        for up, across in combinations(names, 2)
    ]
    rows = [
        [
            str(p["point"] or ""),
            describe_changes(p["changes"]),
            *(f"{p['objectives'][n]:+.3g}" for n in names),
            "yes" if p["chosen"] else "",
        ]
        for p in points
    ]
    table = _Table(["point", "changes to the baseline", *names, "confirmed"], rows)
    return {"drawings": map(Markup, drawings), "table": table}


def _changes(story: Story, result: Mapping[str, Any]) -> _Table | None:
    rows = [[slot, story.baseline_of(slot), str(value)] for slot, value in result["changes"].items()]
    return _Table(["slot", "baseline", "compiled"], rows) if rows else None


def _visits(count: int) -> str:
    return f"{count} visit{'' if count == 1 else 's'}"


def _is_number(cell: str) -> bool:
    """Figures, figures with intervals, and what stands for a figure that is not there."""
    return (
        cell in ("", "*", "-")
        or cell.lstrip("+-").split(" ")[0].rstrip("k%").replace(",", "").replace(".", "").isdigit()
    )
