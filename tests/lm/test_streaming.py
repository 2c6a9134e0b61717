"""Who listens hears the answer while it is made, and the answer is the same as if nobody listened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dspy
import pytest

from hyperalign_dspy.errors import ModelError
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.lm.engine import streaming
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.thread_pool import root_cause
from hyperalign_dspy.program.adapters import adapter
from tests.resume.server import Server, Trouble


def ask(model: str, ledger: Ledger | None = None) -> str:
    lm = connect(model, ledger=ledger, max_tokens=24, temperature=0.0)
    with dspy.context(lm=lm, adapter=adapter("turns"), disable_history=True):
        return str(dspy.Predict("question -> answer")(question="Say something of the rain.").answer)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.parametrize("model", ["scripted", "openai/small"])
def test_the_pieces_make_the_answer_that_nobody_heard(model: str, server: Server) -> None:
    heard: list[str] = []
    with streaming(heard.append):
        told = ask(model)
    assert len(heard) > 3
    assert "".join(heard).strip() == told
    assert server.requests or told == ask(model)


def test_a_remote_answer_is_heard_before_it_is_done_and_recorded_as_any_other(server: Server) -> None:
    server.pause = 0.02
    ledger = Ledger()
    times: list[float] = []
    with streaming(lambda piece: times.append(time.monotonic())):
        text = ask("openai/small", ledger)
    done = time.monotonic()
    assert len(times) == len(text.split())
    assert done - times[0] > 0.02 * (len(times) - 2) / 2
    assert (ledger.cost().calls, ledger.cost().output_tokens) == (1, len(text.split()))
    # From the record it comes as a whole: there is nothing to hear.
    again: list[str] = []
    with streaming(again.append):
        assert ask("openai/small", ledger) == text
    assert (again, server.requests) == ([], 1)


def test_an_answer_that_breaks_off_is_an_error_and_no_beginning_is_told_twice(server: Server) -> None:
    server.told = 3
    heard: list[str] = []
    with pytest.raises(Exception) as caught, streaming(heard.append):
        ask("openai/small")
    cause = root_cause(caught.value)
    assert isinstance(cause, ModelError)
    assert "broke off" in str(cause)
    assert (len(heard), server.requests) == (3, 1)


def test_what_is_refused_before_a_word_is_asked_again(server: Server) -> None:
    server.mood = lambda number: Trouble(429, "0") if number == 1 else None
    heard: list[str] = []
    with streaming(heard.append):
        assert ask("openai/small") == "".join(heard).strip()
    assert server.requests == 2


def test_the_embedded_model_is_heard_word_by_word(weights: Path) -> None:
    heard: list[str] = []
    with streaming(heard.append):
        told = ask("local")
    assert len(heard) > 5
    assert "".join(heard).strip() == told == ask("local")
