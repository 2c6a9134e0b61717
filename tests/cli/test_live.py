"""Optimisers side by side from the command line, on the scripted model: plumbing only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_main_job import SMALL, Inside, inside, small

__all__ = ["inside", "small"]

LIVE = ("bench", "live", *SMALL[1:], "--optimizers", "search,bootstrap-random-search,mine:Nothing", "--embed-private")


def test_optimisers_are_confirmed_side_by_side_and_a_failed_one_stops_nobody(small: Path, inside: Inside) -> None:
    (small / "programs").mkdir()
    first = json.loads(inside(*LIVE, "--json", cwd=small).stdout)["entries"]
    ours, theirs, failed = first
    assert [entry["name"] for entry in first] == ["search", "bootstrap-random-search", "mine:Nothing"]
    assert ours["beside"] is None
    assert theirs["gap"]["n_users"] == theirs["beside"]["n_users"] == ours["gap"]["n_users"]
    assert theirs["beside"]["mean"] == pytest.approx(theirs["value"]["mean"] - ours["value"]["mean"])
    assert 0 < theirs["searched"] < theirs["calls"]
    assert "cannot be found" in failed["failed"]
    assert not list(small.glob("programs/*"))
    calls = {path: len(path.read_text().splitlines()) for path in small.glob(".hyperalign/runs/*/calls.jsonl")}
    shown = inside(*LIVE, cwd=small).stdout
    assert "2 programs" in shown
    assert "mine:Nothing" in shown
    assert calls == {path: len(path.read_text().splitlines()) for path in calls}


def test_a_cap_that_is_too_small_is_said_of_each(small: Path, inside: Inside) -> None:
    reply = inside(*LIVE, "--max-calls", "10", "--json", cwd=small)
    assert (reply.returncode, reply.stdout) == (2, "")
    assert reply.stderr.count("is too low") == 2


def test_a_contest_leaves_the_users_own_run_alone(small: Path, inside: Inside) -> None:
    own = json.loads(inside(*SMALL, "--visits", "1", "--json", cwd=small).stdout)["run"]
    (small / "optimizers/small.toml").write_text(
        (small / "optimizers/small.toml").read_text().replace("visits = 9", "visits = 1")
    )
    entry = json.loads(inside("bench", "live", *SMALL[1:], "--optimizers", "search", "--json", cwd=small).stdout)
    assert entry["entries"][0]["run"] not in ("", own)
