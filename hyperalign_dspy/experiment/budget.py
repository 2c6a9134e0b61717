"""Whether more calls can be afforded while the confirmation stays paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from hyperalign_dspy.errors import BudgetReached, UsageError
from hyperalign_dspy.experiment.reserve import Reserve
from hyperalign_dspy.files import read_json, write_json
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import CallUsage, Limits, Price
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Job

# What is to come may cost so much more a call than what was seen: the confirmation's arms are not the search's.
_MARGIN = 1.25
_WORDS = {"--max calls": "{} calls", "--max tokens": "{} tokens", "--max cost": "{} dollars", "--max time": "{}"}
# In place of a cap's name where a call met one in the middle of what had been granted.
_A_CAP = "a cap"
_LOG = "budget_log.json"
_TOUCHED = "The next call could use up what is kept for the confirmation."
# Of tokens in and tokens out: what they count under a cap.
_Worth = Callable[[float, float], float]


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

    def words(self, figure: float) -> str:
        """A figure with what it counts."""
        return _WORDS[self.option].format(self.form(figure))

    def form(self, figure: float) -> str:
        """A figure as it is given on the command line, rounded up."""
        if self.option == "--max cost":
            return f"{math.ceil(figure * 10_000) / 10_000:.4f}"
        return f"{math.ceil(figure)}{'s' if self.option == '--max time' else ''}"


class Budget:
    """The caps that a ledger has when this is made, with the confirmation's reserve taken off.

    Calls, tokens and money are counted along the path (see `Ledger.path`), so that what is decided does not depend on
    how often a run was cut off, and so is time: as it was when the path was walked first. What is sent is bounded by
    the clock all the same, in the ledger. ``answers`` has, for each time that it was asked, the first cap that said no,
    or "". ``before`` are those that a search which has ended was given: it is given them again, and the whole caps,
    since the confirmation has used of its reserve.
    """

    def __init__(self, ledger: Ledger, reserve: Reserve, concurrency: int, before: Sequence[str] | None = None) -> None:
        self.ledger, self.reserve, self.concurrency = ledger, reserve, concurrency
        self.limits = ledger.limits
        self._before = None if before is None else iter(before)
        self.answers: list[str] = []

    @classmethod
    def planned(cls, job: Job, reserve: Reserve) -> Budget:
        """The caps of a job before its first call."""
        return cls(Ledger(None, job.limits, job.prices), reserve, job.concurrency or REMOTE_CONCURRENCY)

    @classmethod
    def logged(cls, run: Run, ledger: Ledger, reserve: Reserve, concurrency: int) -> Budget:
        """The budget of a run's search, given again what it was given where it has ended under the same caps."""
        path = run.path(_LOG)
        found = read_json(path) if path.is_file() else {}
        same = found.get("limits") == asdict(ledger.limits)
        return cls(ledger, reserve, concurrency, list(map(str, found["answers"])) if same else None)

    def log(self, run: Run) -> None:
        """Set down what a search was answered under these caps; without any there is nothing to say."""
        if self.limits != Limits():
            write_json(run.path(_LOG), {"limits": asdict(self.limits), "answers": self.answers})

    @property
    def refused(self) -> str:
        """The first cap that said no, or ""."""
        return next(filter(None, self.answers), "")

    def affords(self, calls: int) -> bool:
        """Whether so many more calls at their worst case leave the reserve whole, under every cap."""
        if self._before is None:
            lacking = self._lacking(calls)
            self.answers.append(lacking.option if lacking else "")
        else:
            self.answers.append(next(self._before, _A_CAP))
        return not self.answers[-1]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within, no call is sent that could touch the reserve, as far as it was known at the last `renew`.

        Raises:
            BudgetReached: one was refused.
        """
        with self.ledger.within(self.limits):
            self.renew()
            try:
                yield
            except BudgetReached as error:
                if self._before is not None:
                    raise
                raise BudgetReached(f"{_TOUCHED} {error.message}", fix=error.fix) from error

    @contextmanager
    def ending(self, drop: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
        """Within `kept`, once the pilot is done: a call that is refused only ends what is done within, and what was
        granted last is taken back. ``drop`` lets go of what is in flight, which would else be paid from the reserve.
        """
        self.renew()
        try:
            yield
        except BudgetReached:
            if self._before is not None:
                raise
            drop()
            self.answers[-1:] = [_A_CAP]
            say(f"The search ends. {_TOUCHED}")

    def renew(self) -> None:
        """Reckon anew what is to be kept: how long a call takes, for one, is known only once some were made."""
        if self._before is None:
            self.ledger.limits = self.left()

    def left(self) -> Limits:
        """The caps with the reserve taken off: what a search may use up."""
        rest = {need.option: max(0.0, need.cap - need.reserve) for need in self._needs(0)}
        calls, tokens = rest.get("--max calls"), rest.get("--max tokens")
        return Limits(
            max_calls=None if calls is None else int(calls),
            max_tokens=None if tokens is None else int(tokens),
            max_cost=rest.get("--max cost"),
            max_seconds=rest.get("--max time"),
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
        raise UsageError(
            f"A cap of {need.words(need.cap)} is too low: the confirmation alone can take {need.words(need.reserve)}.",
            fix=f"Give at least {need.option}={need.form(need.search + need.reserve)}: that leaves room for the pilot "
            "and one visit.",
        )

    def _lacking(self, calls: int) -> _Need | None:
        return next((need for need in self._needs(calls) if not need.met), None)

    def _spent(self) -> tuple[CallUsage, float]:
        """What was used, and the seconds that have gone by."""
        return self.ledger.path(), self.ledger.path_seconds()

    def _needs(self, calls: int) -> list[_Need]:
        """One for every cap that is set; of so many calls the last needs room for its worst case."""
        limits, reserve = self.limits, self.reserve
        if limits == Limits():
            return []
        path, seconds = self._spent()
        needs = []
        if limits.max_calls is not None:
            kept = reserve.calls + reserve.judge_calls
            needs.append(_Need("--max calls", limits.max_calls, path.calls + calls, kept))
        if limits.max_tokens is not None:
            each, most, kept_tokens = self._weigh(_sum, _sum, path.tokens / max(1, path.calls))
            asked = _asked(calls, each, most)
            needs.append(_Need("--max tokens", limits.max_tokens, path.tokens + asked, kept_tokens))
        if limits.max_cost is not None:
            spent = path.money or 0.0
            each, most, kept_money = self._weigh(
                _worth(reserve.price), _worth(reserve.judge_price), spent / max(1, path.calls)
            )
            needs.append(_Need("--max cost", limits.max_cost, spent + _asked(calls, each, most), kept_money))
        if limits.max_seconds is not None:
            mean, longest = self.ledger.call_seconds()
            each = _MARGIN * mean / self.concurrency
            kept_time = (reserve.calls + reserve.judge_calls) * each + longest
            needs.append(_Need("--max time", limits.max_seconds, seconds + _asked(calls, each, longest), kept_time))
        return needs

    def _weigh(self, own: _Worth, judge: _Worth, seen: float) -> tuple[float, float, float]:
        """What a call counts, the most that one can, and what is to be kept: the confirmation's calls, and what those
        in flight set aside.

        A call counts as forecast, or by what was ``seen`` on average where that is more; then the whole forecast was
        too low, and what is to be kept grows with it.
        """
        reserve, largest = self.reserve, self.ledger.largest()
        told = own(reserve.call.input, reserve.call.output)
        each = max(_MARGIN * seen, told)
        kept = reserve.instances * own(reserve.instance.input, reserve.instance.output) * (each / told if told else 1.0)
        most = aside = max(
            own(bound.input, bound.output) for bound in (reserve.call.most, reserve.instance.most, largest)
        )
        if reserve.judge_calls:
            kept += reserve.judge_calls * judge(reserve.judgement.input, reserve.judgement.output)
            aside = max(most, judge(reserve.judgement.most.input, reserve.judgement.most.output))
        return each, most, kept + self.concurrency * aside


def _asked(calls: int, each: float, most: float) -> float:
    return calls * each + most if calls else 0.0


def _sum(given: float, made: float) -> float:
    return given + made


def _worth(price: Price | None) -> _Worth:
    # A ledger with a cap on money sends nothing of which the price is unknown.
    return price.of if price else lambda given, made: 0.0
