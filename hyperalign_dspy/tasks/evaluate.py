"""Lets configurations answer instances, those of several in flight together, and scores what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from hyperalign_dspy.errors import BudgetReached, ModelError, TooManyFailures
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, ThreadPool
from hyperalign_dspy.program.code_hash import is_ours
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.outcomes import Outcome, OutcomeRecord, name_of
from hyperalign_dspy.tasks.protocol import Answer, Arm, HasUser, TaskData
from hyperalign_dspy.types import Cost

_NOTHING = Limits(max_calls=0)


@dataclass(frozen=True)
class _Paid:
    """An answer, what it cost, and the calls that it took."""

    answer: Answer
    cost: Cost
    asked: tuple[str, ...]


class PendingBatch:
    """Instances that are being answered; `land` waits for them and scores them, once."""

    def __init__(
        self,
        futures: Sequence[Future[_Paid | ModelError]],
        score: Callable[[list[_Paid | ModelError]], list[Outcome]],
    ) -> None:
        self._futures, self._score = futures, score
        self._landed: list[Outcome] | None = None

    def result(self) -> list[Outcome]:
        """One outcome an instance, in their order.

        Raises:
            TooManyFailures: more than a fifth of the instances got no answer. BudgetReached: a cap.
        """
        if self._landed is None:
            self._landed = self._score([future.result() for future in self._futures])
        return self._landed


class Evaluator:
    """Answers and scores. ``tick`` hears of every instance that is done; ``given`` holds modules that are not to be
    built anew from their configuration; what is in the ``record``, where there is one, is neither answered nor scored
    again.
    """

    def __init__(self, task_data: TaskData, lm: Any, ledger: Ledger, concurrency: int) -> None:
        self.task_data, self.ledger, self.concurrency = task_data, ledger, concurrency
        self._lm = lm
        self.tick: Callable[[str], None] = lambda name: None
        self.given: dict[Configuration, Any] = {}
        self.record: OutcomeRecord | None = None
        self._pool = ThreadPool(lm, concurrency)

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> PendingBatch:
        """Begin to answer instances; other flights may be under way."""
        tick, module = self.tick, self._module(arm)
        name = self._name(module, arm, sealed=sealed)
        known = self._recorded(name, instances, phase)
        for _ in known:
            tick(arm.name)
        open_ones = [instance for instance in instances if instance.instance_id not in known]
        futures = self._submit(arm, module, open_ones, phase, lambda: tick(arm.name))

        def score(answers: list[_Paid | ModelError]) -> list[Outcome]:
            _refuse_too_many(arm, answers, len(instances))
            made = self._scored(open_ones, answers, sealed=sealed)
            if self.record and name:
                self.record.keep(name, made)
            fresh = iter(made)
            return [known[i.instance_id] if i.instance_id in known else next(fresh) for i in instances]

        return PendingBatch(futures, score)

    def outcomes(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> list[Outcome]:
        """Answer instances and wait for them. Raises: see `PendingBatch.land`."""
        return self.start(arm, instances, sealed=sealed, phase=phase).result()

    def lacking(self, arm: Arm, instances: Sequence[HasUser], phase: str) -> int:
        """How many sealed instances no record answers by itself; nothing is sent."""
        module = self._module(arm)
        known = self.record.known(self._name(module, arm, sealed=True)) if self.record else frozenset[str]()
        left = [instance for instance in instances if instance.instance_id not in known]
        with self.ledger.within(_NOTHING):
            futures = self._submit(arm, module, left, phase, lambda: None)
            return sum(isinstance(future.exception(), BudgetReached) for future in futures)

    def drop(self) -> None:
        """Begin to answer nothing more of what was started, and wait for what has begun."""
        self._pool.drop()

    def _module(self, arm: Arm) -> Any:
        return self.given.get(arm.configuration) or self.task_data.module(arm.configuration)

    def _name(self, module: Any, arm: Arm, *, sealed: bool) -> str:
        """What the arm's outcomes are recorded by; empty where they are not: an adapter may be anybody's code."""
        ours = is_ours(str(arm.configuration.as_dict().get("adapter", "")))
        return name_of(module, str(self._lm.model), arm, sealed=sealed) if self.record and ours else ""

    def _recorded(self, name: str, instances: Sequence[HasUser], phase: str) -> dict[str, Outcome]:
        """instance id -> what came of it in an earlier session; its calls count as asked for in this phase."""
        found = {}
        with self.ledger.phase(phase):
            for instance in instances:
                one = self.record.take(name, instance.instance_id) if self.record else None
                calls = self.ledger.recall(one.asked) if one is not None else None
                if one is not None and calls is not None:
                    asked, cost = calls
                    found[instance.instance_id] = Outcome(instance, one.text, one.score, cost=cost, asked=asked)
        return found

    def _submit(
        self, arm: Arm, module: Any, instances: Sequence[HasUser], phase: str, tick: Callable[[], None]
    ) -> list[Future[_Paid | ModelError]]:
        def answer(instance: HasUser) -> _Paid:
            with self.ledger.metered() as asked:
                given = self.task_data.answer(module, instance, context=arm.context)
            return _Paid(given, self.ledger.cost_of(asked), tuple(dict.fromkeys(asked)))

        with self.ledger.phase(phase):
            return self._pool.submit(answer, instances, tick)

    def _scored(
        self, instances: Sequence[HasUser], answers: Sequence[_Paid | ModelError], *, sealed: bool
    ) -> list[Outcome]:
        done = [(i, a.answer) for i, a in zip(instances, answers, strict=True) if not isinstance(a, ModelError)]
        scores = iter(self.task_data.score([a for _, a in done], [i for i, _ in done], sealed=sealed))
        return [
            Outcome(instance, "", None, str(answer))
            if isinstance(answer, ModelError)
            else Outcome(instance, answer.answer.text, next(scores), cost=answer.cost, asked=answer.asked)
            for instance, answer in zip(instances, answers, strict=True)
        ]


def _refuse_too_many(arm: Arm, answers: Sequence[_Paid | ModelError], instances: int) -> None:
    errors = [answer for answer in answers if isinstance(answer, ModelError)]
    if len(errors) > MOST_MISSING * instances:
        first = str(errors[0])[:300]
        raise TooManyFailures(
            f"{arm.name}: {len(errors)} of {instances} instances got no answer. The first: {first}",
            fix="Try the model with `hyperalign models check --model MODEL`, or take another adapter.",
        )


def answered_share(outcomes: Sequence[Outcome]) -> float:
    """The share of instances with an answer; nan of none."""
    return sum(o.score is not None for o in outcomes) / len(outcomes) if outcomes else math.nan
