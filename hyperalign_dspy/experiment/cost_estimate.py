"""What calls take in and give out, told before the first one: prompts are made, and no model is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import dspy
from dspy.lm15 import Request, Response

from hyperalign_dspy.errors import DataError, TooManyFailures
from hyperalign_dspy.experiment.confirm import instances_of
from hyperalign_dspy.judges.llm_judge import judge_pairs
from hyperalign_dspy.judges.pairwise import PairwiseJudge
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import MaxUsage, max_usage_of
from hyperalign_dspy.lm.messages import config_of, messages_of
from hyperalign_dspy.lm.records import Sessions, read_rows
from hyperalign_dspy.lm.scripted import SCRIPTED, ScriptedEngine
from hyperalign_dspy.lm.thread_pool import run_in_threads
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import all_runs
from hyperalign_dspy.tasks.protocol import Arm, TaskData

# Bytes of prompt to a token, to estimate by: English has 4 to 5, other languages down to 2 or 3.
_BYTES = 3
# Instances that prompts are made of.
_TRIED = 3
# A run with fewer calls says little of how long a call takes.
_ENOUGH = 20


@dataclass(frozen=True)
class Tokens:
    """Estimated tokens in, tokens out by what requests allow, and the most that any one call can use."""

    input: float = 0.0
    output: float = 0.0
    most: MaxUsage = field(default_factory=lambda: MaxUsage(0, 0))


@dataclass(frozen=True)
class CostEstimate:
    """``call``: a call of the program on average, where that is the most. ``instance``: all of the confirmation's calls
    for one instance, of controls the share that falls to it, a judge's left out. ``judgement``: a call of the judge.
    """

    call: Tokens
    instance: Tokens
    judgement: Tokens


def estimate_cost(
    task_data: TaskData, configurations: Sequence[Configuration], arms: Sequence[Arm], max_tokens: int, *, judged: bool
) -> CostEstimate:
    """Make the prompts of some configurations, and of the confirmation's arms, for a few instances that a search may
    see.
    """
    few = task_data.validation[:_TRIED]

    def asked(some: Sequence[Arm]) -> list[Request]:
        def use(lm: dspy.LM) -> None:
            for arm in sorted(some, key=lambda arm: task_data.calls(arm.configuration), reverse=True):
                answer = partial(task_data.answer, task_data.module(arm.configuration), context=arm.context)
                run_in_threads(answer, few, lm, 1, lambda: None)

        return _heard(use, max_tokens)

    calls = [_tokens(found, len(found)) for found in (asked([Arm(c.digest, c)]) for c in configurations)]
    whole = [arm for arm in arms if len(instances_of(task_data, arm, arms)) == len(task_data.sealed)]
    parts = [
        (whole, 1.0),
        ([a for a in arms if a not in whole], len(task_data.control_instances) / len(task_data.sealed)),
    ]
    return CostEstimate(
        call=max(calls, key=lambda each: each.input + each.output),
        instance=_added([_tokens(asked(some), len(few), share) for some, share in parts]),
        judgement=_judgements(task_data, max_tokens) if judged else Tokens(),
    )


def _judgements(task_data: TaskData, max_tokens: int) -> Tokens:
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


def seconds_a_call(model: str) -> float | None:
    """Wall time a call in the newest run of a model here, several in flight as they were; None where there is none."""
    for run in all_runs():
        path = run.path("calls.jsonl")
        if run.plan.get("model") != model or not path.is_file():
            continue
        try:
            calls, sessions = 0, Sessions()
            for row in read_rows(path):
                calls += 1
                sessions.heard(row)
        except DataError:
            continue
        if calls >= _ENOUGH and sessions.seconds > 0:
            return sessions.seconds / calls
    return None


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
    bounds = [max_usage_of(messages_of(request), config_of(request)) for request in requests]
    if not bounds:
        return Tokens()
    most = MaxUsage(max(bound.input for bound in bounds), max(bound.output for bound in bounds))
    given, made = (
        sum(each) * share / parts for each in zip(*((b.input / _BYTES, b.output) for b in bounds), strict=True)
    )
    return Tokens(given, made, most)


def _added(some: Sequence[Tokens]) -> Tokens:
    most = MaxUsage(max(each.most.input for each in some), max(each.most.output for each in some))
    return Tokens(sum(each.input for each in some), sum(each.output for each in some), most)
