"""Rate limits: whoever is refused waits as long as told, together with all others, and has not failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Config, Message, Request
from dspy.utils.exceptions import LMError, LMRateLimitError, LMServerError

from hyperalign_dspy.errors import BudgetReached, ModelError
from hyperalign_dspy.lm import rate_limit as patience
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.rate_limit import RateLimit, pause, retry_after
from hyperalign_dspy.lm.thread_pool import root_cause
from tests.resume.server import Mood, Server, Trouble

MODEL = "openai/small"


@pytest.fixture(autouse=True)
def no_price_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@pytest.fixture(params=["native", "compatible"])
def serve(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Connects a ledger to a server, by either of DSPy's two ways to a provider."""

    def connected(server: Server, ledger: Ledger) -> Any:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        lm = connect(MODEL, ledger=ledger, max_tokens=20)
        if request.param == "native":
            place = {"api_base": server.environment["OPENAI_API_BASE"], "api_key": "sk-nobody"}
            monkeypatch.delenv("OPENAI_API_BASE")
            lm.engine.inner._lm = dspy.LM(MODEL, cache=False, num_retries=0, **place)
        return lm

    return connected


def first(count: int, trouble: Trouble) -> Mood:
    return lambda n: trouble if n <= count else None


def ask(text: str) -> Request:
    return Request(MODEL, (Message.user(text),), config=Config(max_tokens=20))


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_call_waits_as_told_and_is_one_call(
    serve: Callable[..., Any], status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "calls.jsonl"
    with Server(first(2, Trouble(status, "1"))) as server, Ledger(path, Limits(max_calls=1)) as ledger:
        assert serve(server, ledger)("hello")
        assert (server.requests, server.calls, ledger.failures, ledger.path().calls) == (3, 1, 0, 1)
        assert ledger.call_seconds()[1] < ledger.seconds() - 2
    assert min(later - sooner for sooner, later in pairwise(server.times)) >= 1
    assert [record.getMessage() for record in caplog.records if record.name == patience.__name__] == [
        "openai is at its rate limit: waiting 1 s, and so on until it answers."
    ]


def test_all_who_call_a_provider_pause_together(serve: Callable[..., Any]) -> None:
    with Server(lambda n: Trouble(429, "1") if n == 20 else None, delay=0.05) as server, Ledger() as ledger:
        lm = serve(server, ledger)
        judge = connect("openai/judge", ledger=ledger)
        assert judge.engine.inner._patience is lm.engine.inner._patience
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lm.engine.complete, [ask(str(number)) for number in range(100)]))
    assert (server.requests, server.calls) == (101, 100)
    # Others go on until the refusal has arrived; then nobody calls, long before all is done.
    gaps = [later - sooner for sooner, later in pairwise(server.times)]
    assert max(gaps) > 0.5
    assert 18 < gaps.index(max(gaps)) < 70


def test_a_wait_ends_at_the_cap_on_time_and_costs_no_call(serve: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with Server(lambda n: Trouble(429, "60")) as server, Ledger(path, Limits(9, max_seconds=20)) as ledger:
        with pytest.raises(Exception, match="rate limit for 60 s") as caught:
            serve(server, ledger)("hello")
        assert isinstance(root_cause(caught.value), BudgetReached)
        assert (server.requests, ledger.failures, ledger.path().calls, ledger.seconds() < 15) == (1, 0, 0, True)
    assert path.read_text() == ""


def test_a_call_that_is_always_refused_is_one_failed_call(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_MOST_TRIES", 5)
    with Server(lambda n: Trouble(429, "0")) as server, Ledger() as ledger:
        with pytest.raises(Exception, match="refused a call 5 times") as caught:
            serve(server, ledger)("hello")
        assert isinstance(root_cause(caught.value), ModelError)
        # DSPy's own tries do not multiply with ours.
        assert (server.requests, ledger.failures) == (5, 1)


def test_a_server_error_without_a_hint_is_dspys_to_try_again(serve: Callable[..., Any]) -> None:
    with Server(first(1, Trouble(503))) as server, Ledger() as ledger:
        assert serve(server, ledger)("hello")
        assert (server.requests, server.calls, ledger.failures) == (2, 1, 1)


def test_nobody_waits_for_a_run_that_has_ended(serve: Callable[..., Any]) -> None:
    with Server(lambda n: Trouble(429, "60")) as server:
        ledger, raised = Ledger(), []
        lm = serve(server, ledger)

        def call() -> None:
            try:
                lm.engine.complete(ask("hello"))
            except ModelError as error:
                raised.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        assert server.wait_for(1, caller.is_alive)
        time.sleep(0.2)
        ledger.close()
        caller.join(10)
        assert (len(raised), server.requests) == (1, 1)


def test_a_pause_doubles_up_to_a_minute_and_a_hint_is_kept_until_it_has_failed_often() -> None:
    pauses = [pause(None, tries, "a") for tries in range(1, 12)]
    for tries, seconds in enumerate(pauses, 1):
        assert min(60, 2 ** (tries - 1)) / 2 <= seconds <= min(60, 2 ** (tries - 1))
    assert pauses == [pause(None, tries, "a") for tries in range(1, 12)]
    assert pauses[5] != pause(None, 6, "b")
    assert [pause(0, tries, "a") for tries in range(1, 6)] == [0] * 5
    assert 16 <= pause(0, 11, "a") <= 32
    assert pause(3600, 11, "a") == 3600


def header(value: str) -> LMError:
    error = LMServerError("busy", status=503)
    error.__cause__ = OSError()
    error.__cause__.headers = {"retry-after": value}  # type: ignore[attr-defined]
    return error


def test_hints_are_seconds_or_dates_and_nonsense_is_none() -> None:
    assert retry_after(LMRateLimitError("x", retry_after=2.5)) == 2.5
    assert (retry_after(header("7")), retry_after(header("0.5"))) == (7, 0.5)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (retry_after(header(soon)) or 0) <= 90
    assert retry_after(header("Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert [retry_after(header(text)) for text in ("", "soon", "-1", "nan", "inf")] == [None] * 5
    assert retry_after(LMRateLimitError("x")) is None


def test_one_line_a_minute_says_that_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    patient = RateLimit("openai", clock=lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            now[0] += 7
            patient._pause(2)
            patient._pause(0.3)
    assert len(caplog.records) == 2
