"""Whether more calls can be afforded while the confirmation stays paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.prices import Price
from hyperalign_dspy.search.forecast import Forecast, Tokens

# What is to come may cost so much more a call than what was seen: the confirmation's arms are not the search's.
MARGIN = 1.25
_WORDS = {"--max-calls": "{} calls", "--max-tokens": "{} tokens", "--max-cost": "{} dollars", "--max-time": "{}"}
# Of tokens in and tokens out: what they count under a cap.
Worth = Callable[[float, float], float]


@dataclass(frozen=True)
class Reserve:
    """What is kept for the confirmation of so many ``instances``: at most ``calls`` of the program's model, and
    ``judge_calls`` of the judge's. A price is None where it is unknown.
    """

    instances: int
    calls: int
    judge_calls: int
    forecast: Forecast
    price: Price | None
    judge_price: Price | None

    def estimate(self, searched: int) -> dict[str, Any]:
        """Tokens in and out, and money, of so many calls of a search and the confirmation after it."""
        found = self.forecast
        own = _plus(_times(searched, found.call), _times(self.instances, found.instance))
        judged = _times(self.judge_calls, found.judgement)
        parts = [(own, self.price), *([(judged, self.judge_price)] if self.judge_calls else [])]
        money = [price.of(*tokens) if price else None for tokens, price in parts]
        given, made = _plus(own, judged)
        return {
            "input_tokens": round(given),
            "output_tokens": round(made),
            "money": None if None in money else sum(m for m in money if m is not None),
        }


@dataclass(frozen=True)
class _Need:
    """A cap beside what it would have to be; ``search`` is what was spent and is asked for now."""

    option: str
    cap: float
    search: float
    reserve: float

    @property
    def met(self) -> bool:
        """Whether what is asked for, and the reserve, stay under the cap."""
        return self.search + self.reserve <= self.cap

    def form(self, figure: float) -> str:
        """A figure as it is given on the command line, rounded up."""
        if self.option == "--max-cost":
            return f"{math.ceil(figure * 10_000) / 10_000:.4f}"
        return f"{math.ceil(figure)}{'s' if self.option == '--max-time' else ''}"


class Budget:
    """The caps of a ledger, with the confirmation's reserve taken off.

    Calls, tokens and money are counted along the path (see `Ledger.path`), so that what is decided does not depend on
    how often a run was cut off, and so is time: as it was when the path was walked first. What is sent is bounded by
    the clock all the same, in the ledger. ``refused`` names the first cap that said no, or is empty.
    """

    def __init__(self, ledger: Ledger, reserve: Reserve, concurrency: int) -> None:
        self.ledger, self.reserve, self.concurrency = ledger, reserve, concurrency
        self.refused = ""

    def affords(self, calls: int) -> bool:
        """Whether so many more calls at their worst case leave the reserve whole, under every cap."""
        lacking = self._lacking(calls)
        self.refused = self.refused or (lacking.option if lacking else "")
        return lacking is None

    def left(self) -> Limits:
        """The caps with the reserve taken off: what somebody else's search may use up."""
        rest = {need.option: max(0.0, need.cap - need.reserve) for need in self._needs(0)}
        calls, tokens = rest.get("--max-calls"), rest.get("--max-tokens")
        return Limits(
            max_calls=None if calls is None else int(calls),
            max_tokens=None if tokens is None else int(tokens),
            max_cost=rest.get("--max-cost"),
            max_seconds=rest.get("--max-time"),
        )

    def count(self, calls: Sequence[int]) -> int:
        """How many of these numbers of calls can be afforded, each taken alone."""
        return sum(self._lacking(each) is None for each in calls)

    def demand(self, calls: int) -> None:
        """Refuse caps that leave no room for so many calls beside the reserve.

        Raises:
            UsageError: with the least that the cap has to be.
        """
        need = self._lacking(calls)
        if need is None:
            return
        cap, reserve = (_WORDS[need.option].format(need.form(value)) for value in (need.cap, need.reserve))
        raise UsageError(
            f"A cap of {cap} is too low: the confirmation alone can take {reserve}.",
            fix=f"Give at least {need.option} {need.form(need.search + need.reserve)}: that leaves room for the pilot "
            "and one visit.",
        )

    def _lacking(self, calls: int) -> _Need | None:
        return next((need for need in self._needs(calls) if not need.met), None)

    def _needs(self, calls: int) -> list[_Need]:
        """One for every cap that is set."""
        limits, reserve, path = self.ledger.limits, self.reserve, self.ledger.path()
        needs = []
        if limits.max_calls is not None:
            kept = reserve.calls + reserve.judge_calls
            needs.append(_Need("--max-calls", limits.max_calls, path.calls + calls, kept))
        if limits.max_tokens is not None:
            each, kept_tokens = self._weigh(_sum, _sum, path.tokens / max(1, path.calls))
            needs.append(_Need("--max-tokens", limits.max_tokens, path.tokens + calls * each, kept_tokens))
        if limits.max_cost is not None:
            spent = path.money or 0.0
            each, kept_money = self._weigh(
                _worth(reserve.price), _worth(reserve.judge_price), spent / max(1, path.calls)
            )
            needs.append(_Need("--max-cost", limits.max_cost, spent + calls * each, kept_money))
        if limits.max_seconds is not None:
            mean, longest = self.ledger.call_seconds()
            each = MARGIN * mean / self.concurrency
            kept_time = (reserve.calls + reserve.judge_calls) * each + longest
            needs.append(_Need("--max-time", limits.max_seconds, self.ledger.path_seconds() + calls * each, kept_time))
        return needs

    def _weigh(self, own: Worth, judge: Worth, seen: float) -> tuple[float, float]:
        """What a call counts, and what is to be kept: the confirmation's calls, and what those in flight set aside.

        A call counts as forecast, or by what was ``seen`` on average where that is more; then the whole forecast was
        too low, and what is to be kept grows with it.
        """
        reserve, largest, found = self.reserve, self.ledger.largest(), self.reserve.forecast
        told = own(found.call.input, found.call.output)
        each = max(MARGIN * seen, told)
        kept = reserve.instances * own(found.instance.input, found.instance.output) * (each / told if told else 1.0)
        most = max(own(bound.input, bound.output) for bound in (found.call.most, found.instance.most, largest))
        if reserve.judge_calls:
            kept += reserve.judge_calls * judge(found.judgement.input, found.judgement.output)
            most = max(most, judge(found.judgement.most.input, found.judgement.most.output))
        return each, kept + self.concurrency * most


def _sum(given: float, made: float) -> float:
    return given + made


def _times(count: int, tokens: Tokens) -> tuple[float, float]:
    return count * tokens.input, count * tokens.output


def _plus(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] + other[0], one[1] + other[1]


def _worth(price: Price | None) -> Worth:
    # A ledger with a cap on money sends nothing of which the price is unknown.
    return price.of if price else lambda given, made: 0.0
