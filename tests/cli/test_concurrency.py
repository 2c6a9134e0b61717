"""`--concurrency`: so many calls in flight at a server, whatever the command, and nothing else of a run changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.artifacts.test_batch import requests, write_lines
from tests.cli.test_main_job import SMALL, Inside, inside, measured, small
from tests.resume.server import Server

__all__ = ["inside", "small"]

REMOTE = ("compile", "--model", "openai/small", *SMALL[3:], "--visits", "6", "--json")


@pytest.mark.evidence
def test_a_run_has_as_many_calls_in_flight_as_are_asked_for_and_is_the_same_run(
    small: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small / "programs").mkdir()
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with Server(delay=0.1) as server:
        reply = inside("--concurrency", "20", *REMOTE, "--max", "calls=2000", cwd=small, **server.environment)
        assert reply.returncode == 0, reply.stderr
        assert 8 < server.most <= 20
        run = next(small.glob(".hyperalign/runs/*/max_in_flight.json")).parent
        # Six visits leave room for two at a time, also under a cap: the same decisions are made without it.
        assert (run / "max_in_flight.json").read_text().strip() == "2"
        assert "--concurrency 20" in " ".join(json.loads((run / "plan.json").read_text())["command"])
        asked, server.most = server.requests, 0
        again = inside(*REMOTE, cwd=small, **server.environment)
        assert measured(json.loads(again.stdout)) == measured(json.loads(reply.stdout))
        assert json.loads(again.stdout)["run"] == json.loads(reply.stdout)["run"]
        assert server.requests == asked
        measure = ("eval", "--model", "openai/small", "--data", "small.jsonl", "--users", "5")
        assert inside("--concurrency", "3", *measure, cwd=small).returncode == 0
        assert server.most == 3


def test_many_requests_are_answered_as_many_at_once(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    write_lines(tmp_path / "in.jsonl", requests(30))
    words = ("run", "--model", "openai/small", "--requests", "in.jsonl", "--out", "out.jsonl")
    with Server(delay=0.5) as server:
        assert inside("--concurrency", "12", *words, cwd=tmp_path, **server.environment).returncode == 0
    assert 8 < server.most <= 12
