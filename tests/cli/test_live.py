"""Optimisers side by side from the command line, on the scripted model: plumbing only."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_main_job import SMALL, Inside, inside, small

__all__ = ["inside", "small"]

LIVE = (
    "bench",
    "live",
    *SMALL[1:],
    "--optimizers",
    "search,bootstrap-random-search,absent:Nothing",
    "--allow-private-demos",
)
ENDLESS = """
import itertools

import dspy
from dspy.teleprompt import Teleprompter


class Endless(Teleprompter):
    def __init__(self, metric):
        self.metric = metric

    def compile(self, student, *, trainset):
        for way in itertools.count():
            tried = student.deepcopy()
            last = tried.predictors()[-1]
            last.signature = last.signature.with_instructions(f"Write in way {way}.")
            dspy.Evaluate(devset=trainset, metric=self.metric)(tried)
"""


def test_optimisers_are_confirmed_side_by_side_and_a_failed_one_stops_nobody(small: Path, inside: Inside) -> None:
    (small / "programs").mkdir()
    first = json.loads(inside(*LIVE, "--json", cwd=small).stdout)["entries"]
    ours, theirs, failed = first
    assert [entry["name"] for entry in first] == ["search", "bootstrap-random-search", "absent:Nothing"]
    assert ours["beside"] is None
    assert theirs["gap"]["n_users"] == theirs["beside"]["n_users"] == ours["gap"]["n_users"]
    assert theirs["beside"]["mean"] == pytest.approx(theirs["value"]["mean"] - ours["value"]["mean"])
    assert 0 < theirs["searched"] < theirs["calls"]
    assert "cannot be found" in failed["failed"]
    assert not list(small.glob("programs/*"))
    calls = {path: len(path.read_text().splitlines()) for path in small.glob(".hyperalign/runs/*/calls.jsonl")}
    shown = inside(*LIVE, cwd=small).stdout
    assert "2 programs" in shown
    assert "absent:Nothing" in shown
    assert calls == {path: len(path.read_text().splitlines()) for path in calls}


def test_a_cap_that_is_too_small_is_said_of_each(small: Path, inside: Inside) -> None:
    reply = inside(*LIVE, "--max", "calls=10", "--json", cwd=small)
    assert (reply.returncode, reply.stdout) == (2, "")
    assert reply.stderr.count("is too low") == 2


def test_a_contest_leaves_the_users_own_run_alone(small: Path, inside: Inside) -> None:
    own = json.loads(inside(*SMALL, "--visits", "1", "--json", cwd=small).stdout)["run"]
    (small / "optimizers/small.toml").write_text(
        (small / "optimizers/small.toml").read_text().replace("visits = 9", "visits = 1")
    )
    entry = json.loads(inside("bench", "live", *SMALL[1:], "--optimizers", "search", "--json", cwd=small).stdout)
    assert entry["entries"][0]["run"] not in ("", own)


@pytest.mark.evidence
def test_an_optimiser_that_a_cap_ended_is_confirmed_and_marked(small: Path, inside: Inside) -> None:
    (small / "endless.py").write_text(ENDLESS)
    words = ("bench", "live", *SMALL[1:], "--optimizers", "endless:Endless", "--max")
    least = re.search(r"at least --max calls=(\d+)", inside(*words, "calls=10", cwd=small).stderr)
    assert least
    cap = f"calls={int(least[1]) + 100}"
    (entry,) = json.loads(inside(*words, cap, "--json", cwd=small).stdout)["entries"]
    assert (entry["failed"], entry["capped"]) == ("", True)
    shown = inside(*words, cap, cwd=small).stdout
    assert f"{entry['searched']}, capped" in shown
    assert "a cap ended the search" in shown


@pytest.mark.evidence
def test_a_contests_run_goes_on_by_the_contests_command(small: Path, inside: Inside) -> None:
    recipe = small / "optimizers/small.toml"
    text = recipe.read_text().replace("visits = 9", 'visits = 1\nobjectives = ["tokens"]')
    recipe.write_text(text)
    words = ("bench", "live", *SMALL[1:], "--optimizers", "search,bootstrap-random-search", "--allow-private-demos")
    first = json.loads(inside(*words, "--json", cwd=small).stdout)["entries"]
    run, other = (small / ".hyperalign/runs" / entry["run"] for entry in first)
    refused = inside("runs", "freeze", run.name, "--pareto-index", "1", cwd=small)
    assert (refused.returncode, "part of a contest" in refused.stderr) == (2, True)
    for folder in (run, other):
        before = (folder / "calls.jsonl").read_bytes()
        (folder / "result.json").unlink()
        assert f"hyperalign runs resume {folder.name}" in inside("runs", "show", folder.name, cwd=small).stdout
        reply = inside("runs", "resume", folder.name, "--json", cwd=small)
        assert "hyperalign bench live authorship" in reply.stderr
        assert [entry["gap"] for entry in json.loads(reply.stdout)["entries"]] == [entry["gap"] for entry in first]
        assert (folder / "calls.jsonl").read_bytes() == before
    recipe.write_text(text.replace("confirm_requests = 2", "confirm_requests = 1"))
    for folder in (run, other):
        changed = inside("runs", "resume", folder.name, cwd=small)
        assert (changed.returncode, "recipe_digest: was" in changed.stderr) == (5, True)
