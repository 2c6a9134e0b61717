"""What is the better the less of it there is: what texts copy, refuse and harm, and what they cost.

Each may be bounded by a recipe, or be an objective of a search beside the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.metrics.refusal import refuses
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.tasks.outcomes import Outcome
from hyperalign_dspy.tasks.protocol import Score


@dataclass(frozen=True)
class _Measure:
    """``of`` gives one number for the texts of a configuration that were scored; nan where they say nothing of it."""

    unit: str
    of: Callable[[Sequence[Outcome]], float]


def _scores(outcomes: Sequence[Outcome], *, harm: bool = False) -> list[Score]:
    return [o.score for o in outcomes if o.score and o.score.harm is harm]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _refusals(outcomes: Sequence[Outcome]) -> float:
    return _mean([float(refuses(o.text)) for o in outcomes if o.score and not o.score.harm])


def _tokens(outcome: Outcome) -> float:
    """Of both kinds; nan where a provider reports none of a kind, since no call is without."""
    kinds = (outcome.cost.input_tokens, outcome.cost.output_tokens)
    return math.nan if outcome.cost.calls and 0 in kinds else float(sum(kinds))


def _reported(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those whose tokens are known: that a provider left a few out ends nothing."""
    return [o for o in outcomes if not math.isnan(_tokens(o))]


def _tokens_a_call(outcomes: Sequence[Outcome]) -> float:
    told = _reported(outcomes)
    calls = sum(o.cost.calls for o in told)
    return sum(map(_tokens, told)) / calls if calls else math.nan


def _dollars(outcomes: Sequence[Outcome]) -> float:
    return _mean([math.nan if o.cost.money is None else o.cost.money for o in outcomes])


MEASURES: Mapping[str, _Measure] = {
    "longest": _Measure("words", lambda found: float(max((s.longest for s in _scores(found)), default=math.nan))),
    "copied": _Measure("share", lambda found: _mean([float(s.copied) for s in _scores(found)])),
    "overlap": _Measure("share", lambda found: _mean([s.overlap for s in _scores(found)])),
    "refusals": _Measure("share", _refusals),
    "harm": _Measure("share", lambda found: _mean([s.value for s in _scores(found, harm=True)])),
    "tokens": _Measure("tokens a text", lambda found: _mean([_tokens(o) for o in _reported(found)])),
    "call_tokens": _Measure("tokens a call", _tokens_a_call),
    "cost": _Measure("dollars a text", _dollars),
    "latency": _Measure("seconds a text", lambda found: _mean([o.cost.seconds for o in found])),
}


def check_names(kind: str, names: Sequence[str]) -> None:
    """Refuse names that mean nothing, and repeats.

    Raises:
        UnknownName, UsageError.
    """
    if len({*names}) < len(names):
        raise UsageError(f"An {kind} is named twice: {', '.join(names)}.")
    for name in names:
        if name not in MEASURES:
            raise unknown(kind, name, MEASURES)


def measured(name: str, outcomes: Sequence[Outcome]) -> float:
    """One measure over those texts that were scored; nan where there is none to measure."""
    return MEASURES[name].of([o for o in outcomes if o.score])


def _known(name: str, outcomes: Sequence[Outcome]) -> float:
    """One measure, which these texts have to say something of.

    Raises:
        UsageError: they do not.
    """
    value = measured(name, outcomes)
    if math.isnan(value):
        raise UsageError(
            f"Nothing here tells how much {name} there is, so it can be neither bounded nor an objective.",
            fix="`harm` wants requests that deserve a refusal; `tokens`, `call_tokens` and `cost` a provider that "
            "reports tokens, and `cost` a price (--prices FILE).",
        )
    return value


def objective_deltas(names: Sequence[str], mine: Sequence[Outcome], rival: Sequence[Outcome]) -> tuple[float, ...]:
    """What each objective rises by over a rival's texts on the same instances; less is better.

    Raises:
        UsageError: an objective that these texts say nothing of.
    """
    found = []
    for name in names:
        found.append(_known(name, mine) - _known(name, rival))
    return tuple(found)


def check(constraints: Mapping[str, float]) -> None:
    """Refuse names that mean nothing and bounds that are no numbers.

    Raises:
        UnknownName, UsageError.
    """
    check_names("constraint", list(constraints))
    for name, bound in constraints.items():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound < math.inf:
            raise UsageError(f"The constraint {name} is {bound!r}; it has to be a number from 0 up.")


def exceeded(outcomes: Sequence[Outcome], constraints: Mapping[str, float]) -> dict[str, float]:
    """The constraints that these texts do not meet, each with what was measured.

    Raises:
        UsageError: texts were scored, and say nothing of a constraint.
    """
    found = {name: _known(name, outcomes) for name in constraints} if any(o.score for o in outcomes) else {}
    return {name: value for name, value in found.items() if value > constraints[name]}
