"""The ledger: nothing recorded is paid twice, nothing is paid above the cap, and a killed writer loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dspy.lm15 import Config, FunctionTool, Message, Reasoning, Request

from hyperalign_dspy.errors import BudgetReached, DataError, UsageError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.scripted import ScriptedEngine


def ask(text: str, seed: int = 0) -> Request:
    return Request("m", (Message.user(text),), config=Config(max_tokens=20, seed=seed))


def test_a_recorded_answer_is_not_paid_again(tmp_path: Path) -> None:
    inner = ScriptedEngine()
    with Ledger(tmp_path / "calls.jsonl") as ledger:
        first = ledger.wrap(inner, "m").complete(ask("a"))
    with Ledger(tmp_path / "calls.jsonl") as ledger:
        again = ledger.wrap(inner, "m").complete(ask("a"))
        cost = ledger.cost()
    assert again.message.text == first.message.text
    assert (inner.calls, cost.calls, cost.recorded_calls) == (1, 1, 1)


def test_another_seed_is_another_call() -> None:
    inner, ledger = ScriptedEngine(), Ledger()
    engine = ledger.wrap(inner, "m")
    texts = {engine.complete(ask("a", seed)).message.text for seed in range(5)}
    assert (len(texts), inner.calls) == (5, 5)


def test_equal_requests_at_the_same_time_are_sent_once() -> None:
    inner, ledger = ScriptedEngine(delay=0.05), Ledger()
    engine = ledger.wrap(inner, "m")
    with ThreadPoolExecutor(8) as pool:
        texts = {reply.message.text for reply in pool.map(engine.complete, [ask("a")] * 16)}
    assert (len(texts), inner.calls) == (1, 1)


def test_the_cap_is_never_passed_by_eight_threads() -> None:
    inner, ledger = ScriptedEngine(delay=0.005), Ledger(limits=Limits(max_calls=10))
    engine = ledger.wrap(inner, "m")
    refused = []

    def call(number: int) -> None:
        try:
            engine.complete(ask(str(number)))
        except BudgetReached as error:
            refused.append(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(40)))
    assert (inner.calls, len(refused)) == (10, 30)


def test_a_failed_call_is_no_answer() -> None:
    def fail(request: Request) -> str:
        raise RuntimeError("down")

    ledger = Ledger()
    engine = ledger.wrap(ScriptedEngine(fail), "m")
    with pytest.raises(RuntimeError):
        engine.complete(ask("a"))
    assert (ledger.cost().calls, ledger.failures) == (0, 1)


def test_failures_are_remembered_and_count_against_the_cap(tmp_path: Path) -> None:
    def fail(request: Request) -> str:
        raise RuntimeError("down")

    with Ledger(tmp_path / "calls.jsonl") as ledger:
        engine = ledger.wrap(ScriptedEngine(fail), "m")
        for text in "ab":
            with pytest.raises(RuntimeError):
                engine.complete(ask(text))
    with Ledger(tmp_path / "calls.jsonl", Limits(max_calls=3)) as ledger:
        engine = ledger.wrap(ScriptedEngine(), "m")
        engine.complete(ask("a"))
        with pytest.raises(BudgetReached):
            engine.complete(ask("b"))
        assert (ledger.failures, ledger.cost().calls, ledger.path().calls) == (2, 1, 3)


def test_what_was_spent_does_not_depend_on_how_often_a_run_was_cut_off(tmp_path: Path) -> None:
    def walk(texts: str) -> int:
        with Ledger(tmp_path / "calls.jsonl") as ledger, ledger.phase("search"):
            for text in texts:
                ledger.wrap(ScriptedEngine(), "m").complete(ask(text))
            return ledger.path().calls

    assert walk("abcd") == 4
    assert [walk("ab"), walk("abc"), walk("aabbc")] == [2, 3, 3]


def test_what_is_not_text_is_refused_rather_than_recorded_as_text() -> None:
    tool = FunctionTool(name="look", description="", parameters={"type": "object", "properties": {}})
    request = Request("m", (Message.user("a"),), tools=(tool,))
    with pytest.raises(UsageError, match="only text"):
        Ledger().wrap(ScriptedEngine(), "m").complete(request)


def test_another_effort_is_another_call() -> None:
    inner, ledger = ScriptedEngine(), Ledger()
    for effort in ("low", "high", "low"):
        config = Config(max_tokens=20, reasoning=Reasoning(effort=effort))
        ledger.wrap(inner, "m").complete(Request("m", (Message.user("a"),), config=config))
    assert inner.calls == 2


def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with Ledger(path) as ledger:
        for number in range(3):
            ledger.wrap(ScriptedEngine(), "m").complete(ask(str(number)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-15])
    with Ledger(path) as ledger:
        assert ledger.cost().calls == 2
        ledger.wrap(ScriptedEngine(), "m").complete(ask("2"))
    assert path.read_bytes().count(b"\n") == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_malformed_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    for line in ('{"key": "a"', '{"key": "b"}', '{"key": "b", "request": 1}', "[1]"):
        path.write_text(f'{{"key": "a", "failed": "ModelError: no"}}\n{line}\n{{"key": "b"}}\n')
        with pytest.raises(DataError, match=r"Line 2 of .*calls\.jsonl"):
            Ledger(path)


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "calls.jsonl"), pytest.raises(UsageError, match="in use"):
        Ledger(tmp_path / "calls.jsonl")


def test_phases_tell_who_paid_and_who_was_served() -> None:
    ledger = Ledger()
    engine = ledger.wrap(ScriptedEngine(), "m")
    with ledger.phase("one"):
        engine.complete(ask("a"))
    with ledger.phase("two"):
        engine.complete(ask("a"))
        engine.complete(ask("b"))
    assert (ledger.cost("one").calls, ledger.cost("two").calls, ledger.cost("two").recorded_calls) == (
        1,
        2,
        1,
    )


WRITER = """
import sys
from pathlib import Path
from dspy.lm15 import Config, Message, Request
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
ledger = Ledger(Path(sys.argv[1]))
engine = ledger.wrap(ScriptedEngine(), "m")
print("ready", flush=True)
for number in range(100_000):
    engine.complete(Request("m", (Message.user(str(number)),), config=Config(max_tokens=50, seed=0)))
"""


def test_a_writer_killed_at_any_moment_leaves_a_readable_ledger(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Ledger(path) as ledger:
        calls = ledger.cost().calls
        inner = ScriptedEngine()
        engine = ledger.wrap(inner, "m")
        for number in range(calls):
            engine.complete(Request("m", (Message.user(str(number)),), config=Config(max_tokens=50, seed=0)))
    assert calls > 10
    assert inner.calls == 0


def test_closing_lets_the_next_one_in(tmp_path: Path) -> None:
    Ledger(tmp_path / "calls.jsonl").close()
    done = threading.Event()
    with Ledger(tmp_path / "calls.jsonl"):
        done.set()
    assert done.is_set()
