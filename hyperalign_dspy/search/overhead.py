"""What the machinery itself costs: places kept busy while answers are slow, time an instance, opening a record and
walking it again, memory.
"""

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

from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.search.confirm import BASELINE, COMPILED, EQUAL, confirm
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
class Opened:
    """Seconds to open a record of so many calls, and the memory that it takes, in bytes a call. Nothing is walked."""

    calls: int
    seconds: float
    bytes_a_call: float


@dataclass(frozen=True)
class Walked:
    """Milliseconds an instance of walking what is recorded again, from the program's input to its score."""

    instances: int
    each: float


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

    def __init__(self, instances: int) -> None:
        self.sealed = [_Case(str(n), str(n)) for n in range(instances)]

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
    """A confirmation of so many configurations, three at least, against a model with exponential latency, 64 calls in
    flight: from the first call to the verdict.
    """
    names = [BASELINE, EQUAL, COMPILED, *map(str, range(3, configurations))]
    arms = [Arm(name, Configuration.of({"number": n})) for n, name in enumerate(names)]
    engine = _Slow(seed)
    with _evaluator(engine, Ledger(), instances, IN_FLIGHT) as evaluator:
        seconds = _timed(lambda: confirm(evaluator.bench, evaluator, arms))
    ideal = _greedy(engine.latencies, IN_FLIGHT)
    total = sum(engine.latencies) / IN_FLIGHT
    return Dispatch(len(arms) * instances, IN_FLIGHT, seconds, ideal / seconds, total / seconds)


def overhead(instances: int = 2000) -> Overhead:
    """Time an instance with an engine that answers at once, the record on disk; beside `dspy.Predict` alone."""
    with tempfile.TemporaryDirectory() as folder:
        ours = _answered(Path(folder) / "calls.jsonl", instances, 1)
    lm = dspy.LM("scripted", engine=_at_once(), cache=False, num_retries=0)
    predict = dspy.Predict("request -> text")
    with dspy.context(lm=lm, disable_history=True):
        alone = _timed(lambda: [predict(request=f"x {n}") for n in range(instances)])
    return Overhead(instances, 1000 * ours / instances, 1000 * alone / instances)


def walked(instances: int = 5000) -> Walked:
    """Answer instances, then the same again from their record as a run does that goes on, with a server's 8 places."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        _answered(path, instances, REMOTE_CONCURRENCY)
        again = _answered(path, instances, REMOTE_CONCURRENCY)
    return Walked(instances, 1000 * again / instances)


def opened(calls: int = 100_000) -> Opened:
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
    return Opened(calls, seconds, taken / calls)


def _at_once() -> ScriptedEngine:
    return ScriptedEngine(lambda request: _YES)


def _evaluator(engine: ScriptedEngine, ledger: Ledger, instances: int, concurrency: int) -> Evaluator:
    lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
    return Evaluator(_Bench(instances), lm, ledger, concurrency)  # type: ignore[arg-type]


def _answered(path: Path, instances: int, concurrency: int) -> float:
    """Seconds that it takes to answer so many instances of one configuration, by a record on disk."""
    arm = Arm("one", Configuration.of({"number": 0}))
    with Ledger(path) as ledger, _evaluator(_at_once(), ledger, instances, concurrency) as evaluator:
        return _timed(lambda: evaluator.outcomes(arm, evaluator.bench.sealed, sealed=False, phase="search"))


def _timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    with dspy.context(adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
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
