"""What a person working in Python looks at: plans, results and comparisons in words and as drawings (SVG text).

In a notebook a drawing is shown with ``IPython.display.SVG(...)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean

from hyperalign_dspy.experiment.bench.compare import Comparison
from hyperalign_dspy.experiment.bench.tables import ScoreTable
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.result import Compiled
from hyperalign_dspy.metrics.features import FEATURES
from hyperalign_dspy.report import bench, svg
from hyperalign_dspy.report.page import draw_arms, draw_visits
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
    return result_table(compiled.as_dict())


def describe_comparison(found: Comparison, table: ScoreTable) -> str:
    """Each searcher's gain and calls on a score table, with intervals."""
    return bench.comparison_words(asdict(found), table.summary())


def draw_result(compiled: Compiled) -> str:
    """Every arm of the confirmation with its interval, around the baseline at equal drafts."""
    return draw_arms(compiled.as_dict())


def draw_search(compiled: Compiled) -> str:
    """Every visit of the search in its order, and the best so far."""
    return draw_visits(Story(compiled.run))


def draw_comparison(found: Comparison, table: ScoreTable) -> str:
    """Mean true gain against calls, a line with its band for each searcher."""
    return bench.comparison_curves(asdict(found), table.summary())


def draw_habits(hypotheses: Sequence[Hypothesis], texts: Mapping[str, Sequence[str]], most: int = 8) -> str:
    """The most telling measured habits of a user, and where named writers lie in them, each by the mean of their texts.

    In standard deviations from how others write, which is 0; beyond 6 a mark stands at the edge.
    """
    measured = [h for h in hypotheses if h.kind == "measured" and h.feature in FEATURES][:most]
    rows = {
        FEATURES[h.feature].claim: {
            "the user": _away(h, h.value),
            **{name: _away(h, fmean(map(FEATURES[h.feature].measure, written))) for name, written in texts.items()},
        }
        for h in measured
    }
    return svg.marks("Measured habits", rows, "standard deviations from how others write")


def _away(hypothesis: Hypothesis, value: float) -> float:
    return max(-_EDGE, min(_EDGE, (value - hypothesis.typical) / hypothesis.spread))
