"""What a person working in Python looks at: plans, results and comparisons in words and as drawings (SVG text).

In a notebook a drawing is shown with ``IPython.display.SVG(...)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from hyperalign_dspy.experiment.bench.compare import Comparison
from hyperalign_dspy.experiment.bench.tables import ScoreTable, tabulated
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.confirm import COMPILED, EQUAL
from hyperalign_dspy.experiment.result import Compiled, result_of
from hyperalign_dspy.metrics.features import BY_NAME
from hyperalign_dspy.optimize.visits import describe
from hyperalign_dspy.report import bench, svg
from hyperalign_dspy.report.format import estimate
from hyperalign_dspy.report.plan import plan_words
from hyperalign_dspy.report.run_view import Story
from hyperalign_dspy.report.table import result_table
from hyperalign_dspy.types import Hypothesis

# Beyond so many standard deviations a habit is drawn at the edge.
_EDGE = 6.0


def describe_plan(compiler: Compiler) -> str:
    """What a compile will do, may cost and can show, before its first call."""
    return plan_words(asdict(compiler.plan()), compiler.task_data.facts, compiler.limits)


def describe_result(compiled: Compiled) -> str:
    """Table, margins, verdict and cost of a compile, as the command prints them."""
    return result_table(result_of(compiled))


def describe_comparison(found: Comparison, table: ScoreTable) -> str:
    """Each searcher's gain and calls on a score table, with intervals."""
    return bench.comparison_words(asdict(found), tabulated(table))


def draw_result(compiled: Compiled) -> str:
    """Every arm of the confirmation with its interval, around the baseline at equal drafts."""
    return draw_arms(result_of(compiled))


def draw_search(compiled: Compiled) -> str:
    """Every visit of the search in its order, and the best so far."""
    story = Story(compiled.run)
    return draw_visits(story.visits, story.unit)


def draw_comparison(found: Comparison, table: ScoreTable) -> str:
    """Mean true gain against calls, a line with its band for each searcher."""
    return bench.comparison_curves(asdict(found), tabulated(table))


def draw_habits(hypotheses: Sequence[Hypothesis], texts: Mapping[str, Sequence[str]], most: int = 8) -> str:
    """The most telling measured habits of a user, and where named writers lie in them, each by the mean of their texts.

    In standard deviations from how others write, which is 0; beyond 6 a mark stands at the edge.
    """
    measured = [h for h in hypotheses if h.kind == "measured" and h.feature in BY_NAME][:most]
    rows = {
        BY_NAME[h.feature].claim: {
            "the user": _away(h, h.value),
            **{name: _away(h, fmean(map(BY_NAME[h.feature].measure, written))) for name, written in texts.items()},
        }
        for h in measured
    }
    return svg.marks("Measured habits", rows, "standard deviations from how others write")


def draw_arms(result: Mapping[str, Any]) -> str:
    """The arms of a finished run; ``result`` as in result.json."""
    rows = result["confirmation"]["rows"]
    dots = [dot(row["name"], row["gap"], strong=row["name"] == COMPILED) for row in rows if row["name"] != EQUAL]
    return svg.intervals("Gap of every arm to baseline*", dots, f"gap to baseline*, {result['plan']['unit']}")


def draw_visits(visits: Sequence[Mapping[str, Any]], unit: str) -> str:
    """The visits of a run, as its visits.jsonl has them."""
    points = [
        svg.Point(place, visit["gap"], describe(visit["configuration"])) for place, visit in enumerate(visits, start=1)
    ]
    return svg.climb("Value of every visit, in order", points, "visit", counted("gap to the baseline", unit))


def dot(name: str, found: Mapping[str, Any], *, strong: bool = False) -> svg.Dot:
    """An estimate as a drawing takes it."""
    return svg.Dot(name, found["mean"], found["low"], found["high"], estimate(found), strong)


def counted(measure: str, unit: str) -> str:
    """A measure and what it counts in, where that is known."""
    return f"{measure}, {unit}" if unit else measure


def _away(hypothesis: Hypothesis, value: float) -> float:
    return max(-_EDGE, min(_EDGE, (value - hypothesis.typical) / hypothesis.spread))
