"""Lets configurations answer instances, those of several in flight together, and scores what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hyperalign_dspy.errors import BudgetReached, ModelError, TooManyFailures
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.search.together import Places, Pool
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Answer, Arm, Bench, HasUser, Score
from hyperalign_dspy.types import Cost

# A visit or an arm in which more than this share has no answer is no measurement.
MOST_MISSING = 0.2
_NOTHING = Limits(max_calls=0)


@dataclass(frozen=True)
class Outcome:
    """One instance under one arm; without an answer ``score`` is None and ``error`` says why.

    ``cost`` is what its calls cost when they were made, be it for another arm or in an earlier session; ``asked`` are
    their keys in the ledger: outcomes that asked for the same call share it.
    """

    instance: HasUser
    text: str
    score: Score | None
    error: str = ""
    cost: Cost = field(default_factory=Cost)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paid:
    """An answer, what it cost, and the calls that it took."""

    answer: Answer
    cost: Cost
    asked: tuple[str, ...]


class Flight:
    """Instances that are being answered; `land` waits for them and scores them, once."""

    def __init__(
        self,
        futures: Sequence[Future[Paid | ModelError]],
        score: Callable[[list[Paid | ModelError]], list[Outcome]],
    ) -> None:
        self._futures, self._score = futures, score
        self._landed: list[Outcome] | None = None

    def land(self) -> list[Outcome]:
        """One outcome an instance, in their order.

        Raises:
            TooManyFailures: more than a fifth of the instances got no answer. BudgetReached: a cap.
        """
        if self._landed is None:
            self._landed = self._score([future.result() for future in self._futures])
        return self._landed


class Evaluator:
    """Answers and scores. ``tick`` hears of every instance that is done; ``given`` holds modules that are not to be
    built anew from their configuration. ``places``: see `hyperalign_dspy.search.together.Pool`.
    """

    def __init__(self, bench: Bench, lm: Any, ledger: Ledger, concurrency: int, places: Places | None = None) -> None:
        self.bench, self.ledger, self.concurrency = bench, ledger, concurrency
        self.tick: Callable[[str], None] = lambda name: None
        self.given: dict[Configuration, Any] = {}
        self._pool = Pool(lm, concurrency, places)

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> Flight:
        """Begin to answer instances; other flights may be under way."""
        tick = self.tick
        futures = self._submit(arm, instances, phase, lambda: tick(arm.name))

        def score(answers: list[Paid | ModelError]) -> list[Outcome]:
            _refuse_too_many(arm, answers)
            return self._scored(instances, answers, sealed=sealed)

        return Flight(futures, score)

    def outcomes(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> list[Outcome]:
        """Answer instances and wait for them. Raises: see `Flight.land`."""
        return self.start(arm, instances, sealed=sealed, phase=phase).land()

    def lacking(self, arm: Arm, instances: Sequence[HasUser], phase: str) -> int:
        """How many instances the record does not answer by itself; nothing is sent."""
        with self.ledger.within(_NOTHING):
            futures = self._submit(arm, instances, phase, lambda: None)
            return sum(isinstance(future.exception(), BudgetReached) for future in futures)

    def drop(self) -> None:
        """Begin to answer nothing more of what was started, and wait for what has begun."""
        self._pool.drop()

    def _submit(
        self, arm: Arm, instances: Sequence[HasUser], phase: str, tick: Callable[[], None]
    ) -> list[Future[Paid | ModelError]]:
        module = self.given.get(arm.configuration) or self.bench.module(arm.configuration)

        def answer(instance: HasUser) -> Paid:
            with self.ledger.metered() as asked:
                given = self.bench.answer(module, instance, knows=arm.knows)
            return Paid(given, self.ledger.cost_of(asked), tuple(dict.fromkeys(asked)))

        with self.ledger.phase(phase):
            return self._pool.submit(answer, instances, tick)

    def _scored(
        self, instances: Sequence[HasUser], answers: Sequence[Paid | ModelError], *, sealed: bool
    ) -> list[Outcome]:
        done = [(i, a.answer) for i, a in zip(instances, answers, strict=True) if not isinstance(a, ModelError)]
        scores = iter(self.bench.score([a for _, a in done], [i for i, _ in done], sealed=sealed))
        return [
            Outcome(instance, "", None, str(answer))
            if isinstance(answer, ModelError)
            else Outcome(instance, answer.answer.text, next(scores), cost=answer.cost, asked=answer.asked)
            for instance, answer in zip(instances, answers, strict=True)
        ]


def _refuse_too_many(arm: Arm, answers: Sequence[Paid | ModelError]) -> None:
    errors = [answer for answer in answers if isinstance(answer, ModelError)]
    if len(errors) > MOST_MISSING * len(answers):
        first = str(errors[0])[:300]
        raise TooManyFailures(
            f"{arm.name}: {len(errors)} of {len(answers)} instances got no answer. The first: {first}",
            fix="Try the model with `hyperalign models check --model MODEL`, or take another adapter.",
        )


def answered_share(outcomes: Sequence[Outcome]) -> float:
    """The share of instances with an answer; nan of none."""
    return sum(o.score is not None for o in outcomes) / len(outcomes) if outcomes else math.nan
