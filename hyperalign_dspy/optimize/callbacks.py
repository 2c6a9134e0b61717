"""What is heard of somebody else's optimiser while it works: how the program's calls end, and which programs it has
evaluated."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.rollouts import Stopped, StopSignal
from hyperalign_dspy.lm.root_cause import root_cause
from hyperalign_dspy.lm.thread_pool import MOST_MISSING
from hyperalign_dspy.program.configuration import signature_fields


class Listener(BaseCallback):
    """Hears how every call of the program ends, and keeps what DSPy's evaluation would turn into a score of 0."""

    def __init__(self, program: type, end: StopSignal, tick: Callable[[int], None]) -> None:
        self.program, self.end, self.tick = program, end, tick
        self.done = self.unread = self.failed = 0
        self.first = ""
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def on_module_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """Remember the calls of the program itself, not those of its parts."""
        if type(instance) is self.program:
            self._open.add(call_id)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count the call and what became of it; one that the end of the search cut off is none."""
        if call_id not in self._open:
            return
        self._open.discard(call_id)
        if isinstance(exception, Stopped):
            return
        with self._lock:
            self.done += 1
            if exception is not None:
                self._failed(exception)
            self.tick(self.done)

    def failure(self, name: str) -> TooManyFailures | None:
        """The error where the model failed in more than a fifth of the calls."""
        if self.failed <= MOST_MISSING * self.done:
            return None
        return TooManyFailures(
            f"{name}: {self.failed} of {self.done} program calls failed. The first: {self.first}",
            fix="Try the model with `hyperalign models check --model MODEL`.",
        )

    def _failed(self, exception: BaseException) -> None:
        if isinstance(exception, AdapterParseError):
            self.unread += 1
            return
        cause = root_cause(exception)
        self.end.note(cause)
        self.failed += 1
        self.first = self.first or f"{type(cause).__name__}: {cause}"[:300]


@dataclass(frozen=True)
class _Evaluated:
    """A program that was evaluated: its predictors' states, and its mean score, in percent, on so many different
    examples."""

    states: tuple[dict[str, Any], ...]
    score: float
    examples: int


class Evaluations(BaseCallback):
    """Hears every `dspy.Evaluate`, and keeps the best program that was evaluated to the end.

    Programs are compared on the largest number of examples only, since luck on a few would beat any score on all; of
    equals the first is kept. ``count`` is how many different ones have been compared.
    """

    def __init__(self, student: Any, end: StopSignal) -> None:
        self.best: _Evaluated | None = None
        self._fields, self._end = signature_fields(student), end
        self._open: dict[str, tuple[dict[str, Any], ...]] = {}
        self._compared: set[str] = set()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many different programs have been evaluated on as many examples as the best."""
        return len(self._compared)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """Remember what the program holds now: an optimiser may go on to change the very same object."""
        program = inputs["program"]
        # With other predictors it could be no answer.
        if isinstance(program, dspy.Module) and signature_fields(program) == self._fields:
            self._open[call_id] = tuple(plain_state(predictor) for predictor in program.predictors())

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Compare what was evaluated, unless it was cut off: calls that a cap refuses may have been scored 0."""
        states = self._open.pop(call_id, None)
        if states is None or exception is not None or self._end.reason:
            return
        # A small batch may be filled up with the same examples once more.
        different = {id(example) for example, *_ in outputs.results}
        found = _Evaluated(states, float(outputs.score), len(different))
        with self._lock:
            self._compare(found)

    def _compare(self, found: _Evaluated) -> None:
        most = self.best.examples if self.best else 0
        if found.examples < most:
            return
        if found.examples > most:
            self._compared.clear()
        self._compared.add(digest(found.states))
        if self.best is None or (found.examples, found.score) > (most, self.best.score):
            self.best = found


def plain_state(predictor: Any) -> dict[str, Any]:
    """A predictor's instructions and demonstrations as they come back from a file, and nothing else.

    A demonstration keeps the predictor's own fields; earlier turns are no part of one, since no adapter shows them.
    """
    state = predictor.dump_state()
    fields = predictor.signature.fields
    shown = [name for name in fields if fields[name].annotation is not dspy.History]
    demos = [{name: demo[name] for name in shown if name in demo} for demo in map(dict, predictor.demos)]
    plain: list[dict[str, Any]] = json.loads(json.dumps(demos, default=str))
    return {**state, "demos": plain, "traces": [], "train": [], "lm": None}
