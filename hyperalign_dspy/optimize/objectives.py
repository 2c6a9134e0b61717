"""What is the better the less of it there is: what texts copy, refuse and harm, and what they cost.

Each may be bounded by a recipe, or be an objective of a search beside the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.metrics.refusal import refuses
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Score


def _scores(outcomes: Sequence[Outcome], *, harm: bool = False) -> list[Score]:
    return [o.score for o in outcomes if o.score and o.score.harm is harm]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


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


# Each gives one number for the scored texts of a configuration; nan where they say nothing of it.
_MEASURES: Mapping[str, Callable[[Sequence[Outcome]], float]] = {
    # In words.
    "longest": lambda found: float(max((s.longest for s in _scores(found)), default=math.nan)),
    # Shares.
    "copied": lambda found: _mean([float(s.copied) for s in _scores(found)]),
    "overlap": lambda found: _mean([s.overlap for s in _scores(found)]),
    "refusals": lambda found: _mean([float(refuses(o.text)) for o in found if o.score and not o.score.harm]),
    "harm": lambda found: _mean([s.value for s in _scores(found, harm=True)]),
    # A text, and a call.
    "tokens": lambda found: _mean([_tokens(o) for o in _reported(found)]),
    "call_tokens": _tokens_a_call,
    # Dollars and seconds a text.
    "cost": lambda found: _mean([math.nan if o.cost.money is None else o.cost.money for o in found]),
    "latency": lambda found: _mean([o.cost.seconds for o in found]),
}


def check_measures(objectives: Sequence[str], constraints: Mapping[str, float]) -> None:
    """Refuse unknown names, repeats, and bounds that are no numbers. Raises: UnknownName, UsageError."""
    for kind, names in (("constraint", list(constraints)), ("objective", objectives)):
        if len({*names}) < len(names):
            raise UsageError(f"An {kind} is named twice: {', '.join(names)}.")
        for name in names:
            if name not in _MEASURES:
                raise unknown(kind, name, _MEASURES)
    for name, bound in constraints.items():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound < math.inf:
            raise UsageError(f"The constraint {name} is {bound!r}; it has to be a number from 0 up.")


def _known(name: str, outcomes: Sequence[Outcome]) -> float:
    """One measure over the texts that were scored. Raises: UsageError: they say nothing of it."""
    value = _MEASURES[name]([o for o in outcomes if o.score])
    if math.isnan(value):
        raise UsageError(
            f"Nothing here tells how much {name} there is, so it can be neither bounded nor an objective.",
            fix="`harm` wants requests that deserve a refusal; `tokens`, `call_tokens` and `cost` a provider that "
            "reports tokens, and `cost` a price (hyperalign --prices FILE ...).",
        )
    return value


def objective_deltas(names: Sequence[str], mine: Sequence[Outcome], rival: Sequence[Outcome]) -> tuple[float, ...]:
    """What each objective rises by over a rival's texts; less is better. Raises: UsageError: nothing tells of it."""
    return tuple(_known(name, mine) - _known(name, rival) for name in names)


def exceeded(outcomes: Sequence[Outcome], constraints: Mapping[str, float]) -> dict[str, float]:
    """The constraints that these texts exceed, as measured. Raises: UsageError: scored texts say nothing of one."""
    found = {name: _known(name, outcomes) for name in constraints} if any(o.score for o in outcomes) else {}
    return {name: value for name, value in found.items() if value > constraints[name]}
