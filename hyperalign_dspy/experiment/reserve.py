"""What a confirmation can take, told before the first call: prompts are made, and no model is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.experiment.confirm import instances_of
from hyperalign_dspy.judges.llm_judge import CALLS, judge_pairs
from hyperalign_dspy.judges.pairwise import PairwiseJudge
from hyperalign_dspy.lm.engine import config_of, messages_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import MaxUsage, Price
from hyperalign_dspy.lm.models import SCRIPTED
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.lm.thread_pool import run_in_threads
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.protocol import Arm, Job, TaskData

# Bytes of prompt to a token, to estimate by: English has 4 to 5, other languages down to 2 or 3.
_BYTES = 3
# Instances that prompts are made of.
_TRIED = 3


@dataclass(frozen=True)
class Tokens:
    """Estimated tokens in, tokens out by what requests allow, and the most that any one call can use."""

    input: float = 0.0
    output: float = 0.0
    most: MaxUsage = field(default_factory=lambda: MaxUsage(0, 0))

    def __add__(self, other: Tokens) -> Tokens:
        most = MaxUsage(max(self.most.input, other.most.input), max(self.most.output, other.most.output))
        return Tokens(self.input + other.input, self.output + other.output, most)

    def times(self, count: int) -> Tokens:
        """Of so many."""
        return Tokens(count * self.input, count * self.output, self.most)


@dataclass(frozen=True)
class Reserve:
    """What is kept for the confirmation of so many ``instances``: at most ``calls`` of the program's model, and
    ``judge_calls`` of the judge's.

    ``call``: a call of the program on average, where that is the most. ``instance``: all of the confirmation's calls
    for one instance, of controls the share that falls to it, a judge's left out. ``judgement``: a call of the judge.
    A price is None where it is unknown.
    """

    instances: int
    calls: int
    judge_calls: int
    call: Tokens
    instance: Tokens
    judgement: Tokens
    price: Price | None
    judge_price: Price | None

    @classmethod
    def of(
        cls, job: Job, model: str, task_data: TaskData, arms: Sequence[Arm], calls: int, tried: Sequence[Configuration]
    ) -> Reserve:
        """For a confirmation by these arms on all sealed users, of at most so many calls; a search tries such
        configurations as ``tried``. Prompts are made for a few instances that a search may see.
        """
        most = job.recipe.max_tokens
        each = [_prompted(task_data, [Arm(c.digest, c)], most) for c in tried]
        return cls(
            instances=len(task_data.sealed),
            calls=calls,
            judge_calls=len(task_data.sealed) * CALLS if job.judge else 0,
            call=max((_tokens(found, len(found)) for found in each), key=lambda call: call.input + call.output),
            instance=_an_instance(task_data, arms, most),
            judgement=_judgement(task_data, most) if job.judge else Tokens(),
            price=job.prices.of(model),
            judge_price=job.prices.of(job.judge),
        )

    def estimate(self, searched: int) -> dict[str, Any]:
        """Tokens in and out, and money, of so many calls of a search and the confirmation after it."""
        own = self.call.times(searched) + self.instance.times(self.instances)
        judged = self.judgement.times(self.judge_calls)
        parts = [(own, self.price), *([(judged, self.judge_price)] if self.judge_calls else [])]
        money = [price.of(tokens.input, tokens.output) if price else None for tokens, price in parts]
        return {
            "input_tokens": round(own.input + judged.input),
            "output_tokens": round(own.output + judged.output),
            "money": None if None in money else sum(m for m in money if m is not None),
        }


def _an_instance(task_data: TaskData, arms: Sequence[Arm], max_tokens: int) -> Tokens:
    few = len(task_data.validation[:_TRIED])
    whole = [arm for arm in arms if len(instances_of(task_data, arm, arms)) == len(task_data.sealed)]
    controls = [arm for arm in arms if arm not in whole]
    share = len(task_data.control_instances) / len(task_data.sealed)
    return _tokens(_prompted(task_data, whole, max_tokens), few) + _tokens(
        _prompted(task_data, controls, max_tokens), few, share
    )


def _judgement(task_data: TaskData, max_tokens: int) -> Tokens:
    """A judge's call on texts as long as they may be."""
    text = "word " * max_tokens
    pairs = [pair for instance in task_data.validation if (pair := task_data.pair(instance, text, text))][:_TRIED]
    if not pairs:
        return Tokens()

    def judge(lm: dspy.LM) -> None:
        try:
            judge_pairs(PairwiseJudge(pairs[0].purpose), pairs, lm, lambda done: None)
        except TooManyFailures:
            # Scripted words are no verdict; what counts is what was asked.
            return

    heard = _heard(judge, max_tokens=8)
    return _tokens(heard, len(heard))


def _prompted(task_data: TaskData, arms: Sequence[Arm], max_tokens: int) -> list[Request]:
    """What some arms ask for a few instances."""

    def use(lm: dspy.LM) -> None:
        for arm in sorted(arms, key=lambda arm: task_data.calls(arm.configuration), reverse=True):
            answer = partial(task_data.answer, task_data.module(arm.configuration), context=arm.context)
            run_in_threads(answer, task_data.validation[:_TRIED], lm, 1, lambda: None)

    return _heard(use, max_tokens)


class _Listener(ScriptedEngine):
    """Answers with scripted words, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Request] = []

    def complete(self, request: Request) -> Response:
        """One call, kept."""
        self.heard.append(request)
        return super().complete(request)


def _heard(use: Callable[[dspy.LM], object], max_tokens: int) -> list[Request]:
    listener = _Listener()
    use(dspy.LM(SCRIPTED, engine=Ledger().wrap(listener, SCRIPTED), cache=False, max_tokens=max_tokens))
    return listener.heard


def _tokens(requests: Sequence[Request], parts: int, share: float = 1.0) -> Tokens:
    """Of one of so many parts, times a share."""
    bounds = [MaxUsage.of(messages_of(request), config_of(request)) for request in requests]
    if not bounds:
        return Tokens()
    most = MaxUsage(max(bound.input for bound in bounds), max(bound.output for bound in bounds))
    given, made = (
        sum(each) * share / parts for each in zip(*((b.input / _BYTES, b.output) for b in bounds), strict=True)
    )
    return Tokens(given, made, most)
