"""Lets one configuration answer instances, several in flight, and scores what came."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import dspy

from hyperalign_dspy.errors import HyperalignError, ModelError, TooManyFailures
from hyperalign_dspy.lm.ledger import Ledger, unwrap
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Answer, Arm, Bench, HasUser, Score

# Errors of one call that leave an instance without an answer; whatever else is wrong ends the run.
_MISSING = (ModelError,)
# A visit or an arm in which more than this share has no answer is no measurement.
MOST_MISSING = 0.2


@dataclass(frozen=True)
class Outcome:
    """One instance under one arm; without an answer ``score`` is None and ``error`` says why."""

    instance: HasUser
    text: str
    score: Score | None
    error: str = ""


class Evaluator:
    """Answers and scores. ``tick`` hears of every instance that is done; ``given`` holds modules that are not to be
    built anew from their configuration.
    """

    def __init__(self, bench: Bench, lm: Any, ledger: Ledger, concurrency: int) -> None:
        self.bench, self.lm, self.ledger, self.concurrency = bench, lm, ledger, concurrency
        self.tick: Callable[[str], None] = lambda name: None
        self.given: dict[Configuration, Any] = {}

    def outcomes(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> list[Outcome]:
        """One outcome an instance, in their order.

        Raises:
            TooManyFailures: more than a fifth of the instances got no answer. BudgetReached: a cap.
        """
        module = self.given.get(arm.configuration) or self.bench.module(arm.configuration)
        with self.ledger.phase(phase), ThreadPoolExecutor(self.concurrency) as pool:
            futures = [
                pool.submit(contextvars.copy_context().run, self._answer, module, instance, arm)
                for instance in instances
            ]
            try:
                answers = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._refuse_too_many(arm, answers)
        return self._scored(instances, answers, sealed=sealed)

    def _answer(self, module: Any, instance: HasUser, arm: Arm) -> Answer | str:
        """The answer, or what kept it from coming."""
        try:
            with dspy.context(lm=self.lm, disable_history=True):
                return self.bench.answer(module, instance, knows=arm.knows)
        except Exception as error:
            cause = unwrap(error)
            if isinstance(cause, HyperalignError) and not isinstance(cause, _MISSING):
                raise cause from error
            return f"{type(cause).__name__}: {cause}"
        finally:
            self.tick(arm.name)

    def _refuse_too_many(self, arm: Arm, answers: Sequence[Answer | str]) -> None:
        errors = [answer for answer in answers if isinstance(answer, str)]
        if len(errors) > MOST_MISSING * len(answers):
            raise TooManyFailures(
                f"{arm.name}: {len(errors)} of {len(answers)} instances got no answer. The first: {errors[0][:300]}",
                fix="Try the model with `hyperalign models check --model MODEL`, or take another adapter.",
            )

    def _scored(self, instances: Sequence[HasUser], answers: Sequence[Answer | str], *, sealed: bool) -> list[Outcome]:
        done = [(i, a) for i, a in zip(instances, answers, strict=True) if isinstance(a, Answer)]
        scores = iter(self.bench.score([a for _, a in done], [i for i, _ in done], sealed=sealed))
        return [
            Outcome(instance, "", None, answer)
            if isinstance(answer, str)
            else Outcome(instance, answer.text, next(scores))
            for instance, answer in zip(instances, answers, strict=True)
        ]


def answered_share(outcomes: Sequence[Outcome]) -> float:
    """The share of instances with an answer; nan of none."""
    return sum(o.score is not None for o in outcomes) / len(outcomes) if outcomes else math.nan
