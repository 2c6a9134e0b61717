"""How many calls are in flight at once: what is asked for, within what an engine takes."""

from __future__ import annotations

import pytest

from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY, concurrency_of, connect


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
