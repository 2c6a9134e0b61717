"""What the machinery itself costs: places kept busy while answers are slow, time an instance, going on with what is
recorded, memory.
"""

from __future__ import annotations

import heapq
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from hyperalign_dspy.experiment.confirm import BASELINE, COMPILED, EQUAL, confirm
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Evaluator, Outcome, OutcomeRecord
from hyperalign_dspy.tasks.protocol import Answer, Arm, Score

MEAN_LATENCY = 0.2
IN_FLIGHT = 64
# Some 250 tokens in, and some 60 out in the form of DSPy's chat adapter.
_ASKED = " ".join(["seven words of plain text stand here"] * 26)
_ANSWER = f"[[ ## text ## ]]\n{_ASKED[:300]}\n\n[[ ## completed ## ]]"
VISIT = 1000  # instances


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
    """Seconds that a second session takes to stand where the first one stood, from opening the records of calls and
    outcomes to the last outcome; and the memory that it holds then, in bytes an instance. ``calls_alone``: milliseconds
    an instance where only calls are on record, and every one is answered and scored anew.
    """

    instances: int
    seconds: float
    bytes_each: float
    calls_alone: float


@dataclass(frozen=True)
class _Case:
    instance_id: str
    user_id: str


class _Slow(ScriptedEngine):
    """Answers after a latency drawn for each request, exponential with a mean of 0.2 s."""

    def __init__(self, seed: int) -> None:
        super().__init__(lambda request: _ANSWER)
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
        """A predictor that is told who it is, so that no two configurations share a call."""
        return dspy.Predict(dspy.Signature("request -> text", f"You are {configuration.digest}."))

    def answer(self, module: Any, instance: _Case, *, context: str = "user") -> Answer:
        """One call."""
        del context
        return Answer(str(module(request=f"{instance.instance_id} {_ASKED}").text))

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
        seconds = _timed(lambda: confirm(evaluator.task_data, evaluator, arms))
    ideal = _greedy(engine.latencies, IN_FLIGHT)
    total = sum(engine.latencies) / IN_FLIGHT
    return Dispatch(len(arms) * instances, IN_FLIGHT, seconds, ideal / seconds, total / seconds)


def overhead(instances: int = 2000) -> Overhead:
    """Time an instance with an engine that answers at once, the record on disk; beside `dspy.Predict` alone."""
    with tempfile.TemporaryDirectory() as folder:
        ours = _answered(Path(folder), instances, 1)
    lm = dspy.LM("scripted", engine=_at_once(), cache=False, num_retries=0)
    predict = dspy.Predict("request -> text")
    with dspy.context(lm=lm, disable_history=True):
        alone = _timed(lambda: [predict(request=f"{n} {_ASKED}") for n in range(instances)])
    return Overhead(instances, 1000 * ours / instances, 1000 * alone / instances)


def resumed(instances: int = 100_000) -> Resumed:
    """Answer so many instances in visits of a thousand, then let other sessions go on from the record, with the places
    that a server has.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _answered(folder, instances, REMOTE_CONCURRENCY)
        seconds = _answered(folder, instances, REMOTE_CONCURRENCY)
        tracemalloc.start()
        with _session(folder, instances, REMOTE_CONCURRENCY) as evaluator:
            kept = _walk(evaluator, instances)
            taken = tracemalloc.get_traced_memory()[0]
            assert evaluator.ledger.cost().calls == instances == sum(map(len, kept))
        tracemalloc.stop()
        (folder / "outcomes.jsonl").unlink()
        few = min(5 * VISIT, instances)
        with _session(folder, instances, REMOTE_CONCURRENCY) as evaluator:
            alone = _timed(lambda: _walk(evaluator, few))
    return Resumed(instances, seconds, taken / instances, 1000 * alone / few)


def _at_once() -> ScriptedEngine:
    return ScriptedEngine(lambda request: _ANSWER)


def _evaluator(engine: ScriptedEngine, ledger: Ledger, instances: int, concurrency: int) -> Evaluator:
    lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
    return Evaluator(_Bench(instances), lm, ledger, concurrency)  # type: ignore[arg-type]


@contextmanager
def _session(folder: Path, instances: int, concurrency: int) -> Iterator[Evaluator]:
    """All that a session opens."""
    with (
        Ledger(folder / "calls.jsonl") as ledger,
        OutcomeRecord(folder / "outcomes.jsonl") as record,
        _evaluator(_at_once(), ledger, min(VISIT, instances), concurrency) as evaluator,
    ):
        evaluator.record = record
        yield evaluator


def _walk(evaluator: Evaluator, instances: int) -> list[list[Outcome]]:
    """Visit after visit, until so many instances are answered."""
    arms = [Arm(str(n), Configuration.of({"number": n})) for n in range(-(-instances // VISIT))]
    visited = evaluator.task_data.sealed
    return [evaluator.outcomes(arm, visited, sealed=False, phase="search") for arm in arms]


def _answered(folder: Path, instances: int, concurrency: int) -> float:
    """Seconds that a session takes for so many instances, from opening its records."""

    def work() -> None:
        with _session(folder, instances, concurrency) as evaluator:
            _walk(evaluator, instances)

    return _timed(work)


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
