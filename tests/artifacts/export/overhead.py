"""What a frozen program costs beside its model: loading it, and running it next to a bare openai client.

All three send the same calls to a server on this machine, in turn: the client alone with finished messages, the frozen
program as `hyperalign run` runs it, and the exported script's code.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dspy
import openai

from hyperalign_dspy.artifacts.export.document import document_of
from hyperalign_dspy.artifacts.export.runtime import Ask, asking, deliberate, write_as
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.metrics.stats import Estimate, paired
from hyperalign_dspy.types import Sample
from tests.artifacts.export.chat_server import ChatServer

SAMPLES = ("Rain again. Fine. We walk anyway.", "Soup from Tuesday. Still good. Added salt.", "No news. Good.")
_LOADED = """
import sys, time
start = time.perf_counter()
import dspy
middle = time.perf_counter()
from hyperalign_dspy import load_frozen
load_frozen(sys.argv[1])
sys.stdout.write(f"{middle - start} {time.perf_counter() - middle}")
"""
_BARE = """
import sys, time
start = time.perf_counter()
import openai
openai.OpenAI(api_key="none")
sys.stdout.write(str(time.perf_counter() - start))
"""


@dataclass(frozen=True)
class Serving:
    """Milliseconds a run of ``calls`` calls, each answered after ``latency`` seconds; ratios are to the bare client.

    Means over runs with 95% intervals; the ratios' are of paired runs (Student's t on their logarithms).
    """

    calls: int
    latency: float
    bare: Estimate
    program: Estimate
    script: Estimate
    program_ratio: Estimate
    script_ratio: Estimate


@dataclass(frozen=True)
class Loading:
    """Seconds in a fresh process: importing dspy, loading the program after that, and a bare client."""

    dspy: Estimate
    program: Estimate
    bare: Estimate


def serving(frozen: Frozen, runs: int, latency: float) -> Serving:
    """Run a frozen program, its script's code and a bare client side by side, so many times.

    Raises:
        UsageError: the program has no document.
    """
    program = document_of(frozen)
    with ChatServer(latency) as server, patch.dict(os.environ, _environment(server.address)):
        address, bodies = server.address, server.bodies
        ask = asking("small", address)
        lm = connect("openai/small")
        client = openai.OpenAI(base_url=address, api_key="none")
        ways: Mapping[str, Callable[[str], object]] = {
            "program": lambda request: _live(frozen, lm, request),
            "script": lambda request: _scripted(program, ask, request),
        }
        for way in ways.values():
            way("Before the clock starts.")
        calls = len(bodies) // len(ways)
        times: dict[str, list[float]] = {"bare": [], **{name: [] for name in ways}}
        for number in range(runs):
            bodies.clear()
            request = f"Write about rain, the {number}th."
            for name, way in ways.items():
                times[name].append(_timed(way, request))
            times["bare"].append(_timed(_sent, client, bodies[:calls]))
    return Serving(
        calls,
        latency,
        *(_mean([1000 * t for t in times[name]]) for name in ("bare", "program", "script")),
        *(_ratio(times[name], times["bare"]) for name in ways),
    )


def loading(frozen: Frozen, processes: int = 7) -> Loading:
    """Load a frozen program in fresh processes, beside a bare client."""
    loaded = [_process(_LOADED, str(frozen.folder)) for _ in range(processes)]
    bare = [_process(_BARE) for _ in range(processes)]
    return Loading(_mean([t[0] for t in loaded]), _mean([t[1] for t in loaded]), _mean([t[0] for t in bare]))


def _live(frozen: Frozen, lm: Any, request: str) -> Any:
    samples = {"samples": SAMPLES} if frozen.manifest["task"] == "authorship" else {"attributes": {"age": "40"}}
    with dspy.context(lm=lm, disable_history=True):
        return frozen.module(request=request, **samples)


def _scripted(program: Mapping[str, Any], ask: Ask, request: str) -> Any:
    if program["task"] == "authorship":
        return write_as(program, ask, [Sample(text) for text in SAMPLES], request)
    return deliberate(program, ask, request, ["age: 40"])


def _mean(values: Sequence[float]) -> Estimate:
    return paired(values, [str(place) for place in range(len(values))])


def _ratio(values: Sequence[float], others: Sequence[float]) -> Estimate:
    logs = _mean([math.log(value / other) for value, other in zip(values, others, strict=True)])
    return Estimate(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high), logs.n_users, logs.n_instances)


def _sent(client: Any, bodies: Sequence[Mapping[str, Any]]) -> None:
    for body in bodies:
        client.chat.completions.create(**body)


def _timed(work: Callable[..., object], *given: Any) -> float:
    start = time.perf_counter()
    work(*given)
    return time.perf_counter() - start


def _process(code: str, *words: str) -> list[float]:
    package = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    said = subprocess.check_output([sys.executable, "-c", code, *words], text=True, env=env)
    return [float(word) for word in said.split()]


def _environment(address: str) -> dict[str, str]:
    # The price list is not looked up on a network.
    return {"OPENAI_API_BASE": address, "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
