"""What a configuration's texts may not exceed, whatever they gain: copying, so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.search.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Score

# name -> what is measured over the scores of a configuration's texts.
MEASURES: Mapping[str, Callable[[Sequence[Score]], float]] = {
    "longest": lambda scores: float(max(score.longest for score in scores)),
    "copied": lambda scores: fmean(float(score.copied) for score in scores),
    "overlap": lambda scores: fmean(score.overlap for score in scores),
}


def check(constraints: Mapping[str, float]) -> None:
    """Refuse names that mean nothing and bounds that are no numbers.

    Raises:
        UnknownName, UsageError.
    """
    for name, bound in constraints.items():
        if name not in MEASURES:
            raise unknown("constraint", name, MEASURES)
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or bound < 0:
            raise UsageError(f"The constraint {name} is {bound!r}; it has to be a number from 0 up.")


def exceeded(outcomes: Sequence[Outcome], constraints: Mapping[str, float]) -> dict[str, float]:
    """The constraints that these texts do not meet, each with what was measured."""
    scores = [outcome.score for outcome in outcomes if outcome.score and not outcome.score.harm]
    if not scores:
        return {}
    found = {name: MEASURES[name](scores) for name in constraints}
    return {name: value for name, value in found.items() if value > constraints[name]}
