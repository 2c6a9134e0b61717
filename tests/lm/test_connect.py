"""How many calls are in flight at once, within what an engine takes; and who makes them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hyperalign_dspy.errors import BadWeights
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY, concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.thread_pool import root_cause


@pytest.mark.parametrize(
    ("model", "asked", "found"),
    [
        ("openai/small", None, REMOTE_CONCURRENCY),
        ("openai/small", 64, 64),
        ("openai/small", 2, 2),
        ("scripted", None, 4),
        ("scripted", 64, 4),
        ("scripted", 2, 2),
    ],
)
def test_a_server_takes_what_is_asked_for_and_an_engine_here_what_it_takes_well(
    model: str, asked: int | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert concurrency_of(connect(model, concurrency=asked)) == found
    # It is said of one engine, and not of all of its kind.
    assert concurrency_of(connect(model)) == (REMOTE_CONCURRENCY if "/" in model else 4)


class Counting(Executor):
    """Hands on what it is given, and counts it."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.given = inner, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return self.inner.submit(fn, *args, **kwargs)


def test_an_executor_makes_the_calls_in_other_processes_and_the_record_stays_here() -> None:
    ledger = Ledger()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        executor = Counting(processes)
        lm = connect("scripted", ledger=ledger, executor=executor, concurrency=20)
        assert concurrency_of(lm) == 20
        said = [lm("Write about rain.")[0] for _ in range(2)]
    assert said == [connect("scripted")("Write about rain.")[0]] * 2
    # The second is the first, from the record.
    assert (executor.given, ledger.cost().calls) == (1, 1)


def test_what_fails_in_another_process_is_raised_here_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("no model")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        lm = connect(f"gguf:{tmp_path / 'a.gguf'}", executor=processes)
        with pytest.raises(Exception, match="not a GGUF") as caught:
            lm("Write about rain.")
    cause = root_cause(caught.value)
    assert isinstance(cause, BadWeights)
    assert "hyperalign models pull" in cause.fix
