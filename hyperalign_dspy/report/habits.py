"""A user's measured habits as a drawing (SVG text); in a notebook it is shown with ``IPython.display.SVG(...)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from hyperalign_dspy.metrics.features import FEATURES
from hyperalign_dspy.report.svg import marks
from hyperalign_dspy.types import Hypothesis

# Beyond so many standard deviations a habit is drawn at the edge.
_EDGE = 6.0


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
    return marks("Measured habits", rows, "standard deviations from how others write")


def _away(hypothesis: Hypothesis, value: float) -> float:
    return max(-_EDGE, min(_EDGE, (value - hypothesis.typical) / hypothesis.spread))
