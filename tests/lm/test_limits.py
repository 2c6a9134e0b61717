"""Caps: whatever fails, waits or is killed, nothing that was reserved honestly goes beyond them."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dspy.lm15 import Config, Message, Request, Response, Usage
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.errors import BudgetReached
from hyperalign_dspy.lm.engine import Engine, completions_expected, n_completions
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits, Price, Prices
from hyperalign_dspy.lm.records import Sessions
from hyperalign_dspy.lm.scripted import ScriptedEngine

PRICES = Prices({"m": Price(3.0, 11.0)})
MOST = 12  # output tokens a call


def ask(text: str, seed: int = 0) -> Request:
    return Request("m", (Message.user(text),), config=Config(max_tokens=MOST, seed=seed))


class Provider(Engine):
    """A server that bills what it does, a call that fails too, and now and then does not say what it was.

    With ``at_once`` it makes the drafts of siblings in one go and bills them all, as the engine in this process does.
    """

    supported_params = frozenset({"seed"})

    def __init__(self, seed: int, failing: float, at_once: bool) -> None:
        self.calls, self.tokens, self.money = 0, 0, 0.0
        self._random, self._failing, self._lock = random.Random(seed), failing, threading.Lock()
        self._made: dict[tuple[str, int], Usage] = {}
        self._at_once = at_once

    def drafts(self, request: Request) -> int:
        return completions_expected() if self._at_once else 1

    def complete(self, request: Request) -> Response:
        text, seed = str(request.messages[0].text), int(request.config.seed or 0)
        with self._lock:
            if (text, seed) not in self._made:
                made = {(text, seed + place): self._bill(text) for place in range(self.drafts(request))}
                if self._random.random() < self._failing:
                    raise RuntimeError("down")
                self._made |= made
            usage = Usage() if self._random.random() < 0.2 else self._made[text, seed]
        return Response(None, "m", Message.assistant("yes"), finish_reason="stop", usage=usage)

    def _bill(self, text: str) -> Usage:
        given, made = len(text.encode()) + self._random.randrange(8), self._random.randrange(MOST + 1)
        self.calls += 1
        self.tokens += given + made
        self.money += Price(3.0, 11.0).of(given, made)
        return Usage(given, made)


def spend(ledger: Ledger, provider: Provider, name: str) -> int:
    """Ask for more than any cap bears, from eight threads, with three drafts each; how often it was refused."""
    engine = ledger.wrap(provider, "m")
    refused = []

    def texts(number: int) -> None:
        for place in range(3):
            try:
                with n_completions(3 - place), suppress(RuntimeError):
                    engine.complete(ask(f"{name} {number} " + "é" * (number % 7), seed=place))
            except BudgetReached as error:
                refused.append(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(texts, range(30)))
    return len(refused)


@settings(max_examples=25, deadline=None)
@given(
    calls=st.integers(1, 60),
    tokens=st.integers(100, 8000),
    cost=st.floats(0.0005, 0.03),
    failing=st.sampled_from([0.0, 0.2, 0.9]),
    at_once=st.booleans(),
    seed=st.integers(0, 999),
)
def test_no_cap_is_ever_passed_by_many_threads_failing_calls_and_two_sessions(
    calls: int, tokens: int, cost: float, failing: float, at_once: bool, seed: int
) -> None:
    provider = Provider(seed, failing, at_once)
    limits = Limits(calls, tokens, cost)
    with TemporaryDirectory() as folder:
        for session in ("one", "two"):
            with Ledger(Path(folder) / "calls.jsonl", limits, PRICES) as ledger:
                assert spend(ledger, provider, session) > 0
            assert provider.calls <= calls
            assert provider.tokens <= tokens
            assert provider.money <= cost * (1 + 1e-9)


def test_what_was_set_aside_and_not_used_is_there_again() -> None:
    # A call can take some 100 tokens and takes 6: far more than ten of them go under a cap of 1,000, one by one.
    engine = ScriptedEngine(lambda request: "one two three")
    ledger = Ledger(limits=Limits(max_tokens=1000))
    for number in range(100):
        ledger.wrap(engine, "m").complete(ask(f"a b {number}"))
    assert ledger.path().tokens == 600


def test_who_meets_a_cap_only_for_what_others_set_aside_waits_for_them() -> None:
    # Two calls at their worst fit under this cap, and sixty as they are.
    engine = ScriptedEngine(lambda request: "one two three", delay=0.002)
    ledger = Ledger(limits=Limits(max_tokens=400))
    shared = ledger.wrap(engine, "m")
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(shared.complete, (ask(f"a b {number}") for number in range(40))))) == 40
    assert ledger.path().tokens == 240


@pytest.mark.parametrize(
    ("limits", "option", "figure"),
    [
        (Limits(max_calls=1), "--max calls", "1 calls"),
        (Limits(max_tokens=200), "--max tokens", "200 tokens"),
        (Limits(max_cost=0.0005), "--max cost", "0.0005 dollars"),
        (Limits(max_seconds=5), "--max time", "5 s"),
    ],
)
def test_a_cap_that_is_reached_names_itself_its_figure_and_what_raises_it(
    limits: Limits, option: str, figure: str
) -> None:
    clock = iter(range(0, 1000, 3))
    ledger = Ledger(limits=limits, prices=PRICES, clock=lambda: next(clock))
    engine = ledger.wrap(ScriptedEngine(lambda request: "a b c"), "m")
    with pytest.raises(BudgetReached) as caught:
        list(map(engine.complete, (ask(str(number)) for number in range(60))))
    assert f"The cap of {figure} is reached" in caught.value.message
    assert option in caught.value.fix


def test_what_failed_counts_in_the_next_session_with_all_that_was_set_aside(tmp_path: Path) -> None:
    def fail(request: Request) -> str:
        raise RuntimeError("down")

    path = tmp_path / "calls.jsonl"
    with Ledger(path, prices=PRICES) as ledger:
        with pytest.raises(RuntimeError):
            ledger.wrap(ScriptedEngine(fail), "m").complete(ask("a"))
        lost = ledger.path()
    with Ledger(path, Limits(max_tokens=2 * lost.tokens - 1), PRICES) as ledger:
        assert (ledger.used, ledger.failures, lost.calls) == (lost, 1, 1)
        assert lost.tokens > MOST
        assert lost.money
        # What a run decides by does not hold it before the call is asked for, as when the run was there first.
        assert ledger.path().calls == 0
        with pytest.raises(BudgetReached):
            ledger.wrap(ScriptedEngine(), "m").complete(ask("a"))
        assert ledger.path() == lost


class Clock:
    """Goes on by ten seconds with every call."""

    now = 1000.0

    def answer(self, request: Request) -> str:
        self.now += 10
        return "yes"


def session(path: Path, count: int, limits: Limits | None = None) -> int:
    """Ask on and on; how many calls were sent. Every session has a clock that starts anew."""
    clock = Clock()
    engine = ScriptedEngine(clock.answer)
    before = len(path.read_bytes().splitlines()) if path.exists() else 0
    with Ledger(path, limits, clock=lambda: clock.now) as ledger, suppress(BudgetReached):
        for number in range(count):
            ledger.wrap(engine, "m").complete(ask(f"{before + number}"))
    return engine.calls


def test_time_is_counted_over_all_sessions_and_no_call_begins_that_could_end_too_late(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    assert session(path, 3) == 3
    assert session(path, 2) == 2
    assert session(path, 99, Limits(max_seconds=75)) == 2
    assert session(path, 99, Limits(max_seconds=75)) == 0
    assert session(path, 99, Limits(max_seconds=100)) == 3
    sessions = Sessions()
    for line in path.read_text().splitlines():
        sessions.heard(json.loads(line))
    assert sessions.seconds == 100


def test_a_torn_line_loses_the_time_and_tokens_of_one_call_only(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    session(path, 4)
    path.write_bytes(path.read_bytes()[:-9])
    assert session(path, 99, Limits(max_seconds=50)) == 2


def test_drafts_that_are_made_at_once_are_set_aside_at_once() -> None:
    provider = Provider(0, 0.0, at_once=True)
    ledger = Ledger(limits=Limits(max_calls=5))
    engine = ledger.wrap(provider, "m")
    for place in range(3):
        with n_completions(3 - place):
            engine.complete(ask("a", seed=place))
    with n_completions(3), pytest.raises(BudgetReached):
        engine.complete(ask("b"))
    with n_completions(2):
        engine.complete(ask("b"))
    assert (provider.calls, ledger.cost().calls) == (5, 4)
