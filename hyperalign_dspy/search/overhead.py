"""What the machinery itself costs: places kept busy while answers are slow, time an instance, resuming, memory."""

from __future__ import annotations

import heapq
import json
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.search.evaluate import Evaluator
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Answer, Arm, Score

MEAN_LATENCY = 0.2
IN_FLIGHT = 64
# An answer in the form of DSPy's chat adapter.
_YES = "[[ ## text ## ]]\nyes\n\n[[ ## completed ## ]]"


@dataclass(frozen=True)
class Dispatch:
    """``busy``: the time that a greedy dispatch of the same latencies to so many places would take, as a share of the
    time it took. ``share_of_sum``: the sum of latencies over places, as a share of the time it took.
    """

    instances: int
    places: int
    seconds: float
    busy: float
    share_of_sum: float


@dataclass(frozen=True)
class Overhead:
    """Milliseconds an instance with an engine that answers at once: ours, and of `dspy.Predict` alone."""

    instances: int
    ours: float
    predict: float

    @property
    def own(self) -> float:
        """What we add to DSPy's own, in milliseconds an instance."""
        return self.ours - self.predict


@dataclass(frozen=True)
class Resumed:
    """Seconds to open a record of so many calls, and the memory that it takes, in bytes a call."""

    calls: int
    seconds: float
    bytes_a_call: float


@dataclass(frozen=True)
class _Case:
    instance_id: str
    user_id: str


class _Slow(ScriptedEngine):
    """Answers after a latency drawn for each request, exponential with a mean of 0.2 s."""

    def __init__(self, seed: int) -> None:
        super().__init__(lambda request: _YES)
        self._seed, self.latencies = seed, list[float]()

    def complete(self, request: Request) -> Response:
        """Wait, then answer."""
        latency = random.Random(f"{self._seed}:{request.messages[-1]}").expovariate(1 / MEAN_LATENCY)
        self.latencies.append(latency)
        time.sleep(latency)
        return super().complete(request)


class _Bench:
    """One call of `dspy.Predict` an instance, and a score that costs nothing."""

    def module(self, configuration: Configuration) -> Any:
        """The predictor, and what tells this configuration's calls from others'."""
        return dspy.Predict("request -> text"), configuration.digest

    def answer(self, module: Any, instance: _Case, *, knows: str = "user") -> Answer:
        """One call."""
        del knows
        predict, digest = module
        return Answer(str(predict(request=f"{digest} {instance.instance_id}").text))

    def score(self, answers: Sequence[Answer], instances: Sequence[Any], *, sealed: bool) -> list[Score]:
        """A text's length."""
        del instances, sealed
        return [Score(float(len(answer.text))) for answer in answers]


def dispatch(configurations: int = 10, instances: int = 1000, seed: int = 0) -> Dispatch:
    """Many configurations on many instances against a server with exponential latency, 64 calls in flight."""
    engine = _Slow(seed)
    with _evaluator(engine, None, IN_FLIGHT) as evaluator:
        start = time.monotonic()
        _evaluate(evaluator, configurations, instances)
        seconds = time.monotonic() - start
    ideal = _greedy(engine.latencies, IN_FLIGHT)
    total = sum(engine.latencies) / IN_FLIGHT
    return Dispatch(configurations * instances, IN_FLIGHT, seconds, ideal / seconds, total / seconds)


def overhead(instances: int = 2000) -> Overhead:
    """Time an instance with an engine that answers at once, the record on disk; beside `dspy.Predict` alone."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(Path(folder) / "calls.jsonl") as ledger,
        _evaluator(_at_once(), ledger, 1) as evaluator,
    ):
        ours = _timed(lambda: _evaluate(evaluator, 1, instances))
    lm = dspy.LM("scripted", engine=_at_once(), cache=False, num_retries=0)
    predict = dspy.Predict("request -> text")
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False), disable_history=True):
        alone = _timed(lambda: [predict(request=f"x {n}") for n in range(instances)])
    return Overhead(instances, 1000 * ours / instances, 1000 * alone / instances)


def resumed(calls: int = 100_000) -> Resumed:
    """Open a record of so many calls, each of some 250 tokens in and 60 out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        _write_record(path, calls)
        start = time.monotonic()
        with Ledger(path):
            seconds = time.monotonic() - start
        tracemalloc.start()
        with Ledger(path) as ledger:
            taken = tracemalloc.get_traced_memory()[0]
            assert ledger.cost().calls == calls
        tracemalloc.stop()
    return Resumed(calls, seconds, taken / calls)


def _at_once() -> ScriptedEngine:
    return ScriptedEngine(lambda request: _YES)


def _evaluator(engine: ScriptedEngine, ledger: Ledger | None, concurrency: int) -> Evaluator:
    ledger = ledger or Ledger()
    lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
    return Evaluator(_Bench(), lm, ledger, concurrency)  # type: ignore[arg-type]


def _evaluate(evaluator: Evaluator, configurations: int, instances: int) -> None:
    cases = [_Case(str(n), str(n)) for n in range(instances)]
    arms = [Arm(str(n), Configuration.of({"number": n})) for n in range(configurations)]
    with dspy.context(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        flights = [evaluator.start(arm, cases, sealed=False, phase="search") for arm in arms]
        for flight in flights:
            flight.land()


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _greedy(latencies: Sequence[float], places: int) -> float:
    """When the last of these would end, each given to the place that is free first."""
    free = [0.0] * places
    for latency in latencies:
        heapq.heappush(free, heapq.heappop(free) + latency)
    return max(free)


def _write_record(path: Path, calls: int) -> None:
    words = " ".join(["seven words of plain text stand here"] * 36)
    row = {"model": "m", "finish_reason": "stop", "input_tokens": 250, "output_tokens": 60, "seconds": 0.2}
    request = {"messages": [{"role": "user", "content": words}], "config": {"temperature": 0.7}}
    with path.open("w", encoding="utf-8") as file:
        for n in range(calls):
            text = f"{n} " + words[:320]
            file.write(
                json.dumps({**row, "key": f"{n:064x}", "phase": "search", "request": request, "text": text}) + "\n"
            )
