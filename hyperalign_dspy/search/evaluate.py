"""Lets one configuration answer instances, several in flight, and scores what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperalign_dspy.errors import ModelError, TooManyFailures
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.search.together import together
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Answer, Arm, Bench, HasUser, Score

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
        with self.ledger.phase(phase):
            answers = together(
                lambda instance: self.bench.answer(module, instance, knows=arm.knows),
                instances,
                self.lm,
                self.concurrency,
                lambda: self.tick(arm.name),
            )
        self._refuse_too_many(arm, answers)
        return self._scored(instances, answers, sealed=sealed)

    def _refuse_too_many(self, arm: Arm, answers: Sequence[Answer | ModelError]) -> None:
        errors = [answer for answer in answers if isinstance(answer, ModelError)]
        if len(errors) > MOST_MISSING * len(answers):
            first = str(errors[0])[:300]
            raise TooManyFailures(
                f"{arm.name}: {len(errors)} of {len(answers)} instances got no answer. The first: {first}",
                fix="Try the model with `hyperalign models check --model MODEL`, or take another adapter.",
            )

    def _scored(
        self, instances: Sequence[HasUser], answers: Sequence[Answer | ModelError], *, sealed: bool
    ) -> list[Outcome]:
        done = [(i, a) for i, a in zip(instances, answers, strict=True) if isinstance(a, Answer)]
        scores = iter(self.bench.score([a for _, a in done], [i for i, _ in done], sealed=sealed))
        return [
            Outcome(instance, "", None, str(answer))
            if isinstance(answer, ModelError)
            else Outcome(instance, answer.text, next(scores))
            for instance, answer in zip(instances, answers, strict=True)
        ]


def answered_share(outcomes: Sequence[Outcome]) -> float:
    """The share of instances with an answer; nan of none."""
    return sum(o.score is not None for o in outcomes) / len(outcomes) if outcomes else math.nan
