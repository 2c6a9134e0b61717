"""A score table from the command line, on the scripted model: plumbing only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.experiment.bench.tables import read_table
from tests.cli.test_main_job import Inside, inside, small

__all__ = ["inside", "small"]

TABULATE = ("bench", "tabulate", "--model", "scripted", "--data", "small.jsonl", "--recipe", "small", "--out", "t.json")
SLOTS = '[slots]\nshown_hypotheses = ["none", "inferred"]\nsamples = [0, 3]\ndrafts = [1, 2]\n'


@pytest.fixture
def pool(small: Path) -> Path:
    """The small project with eight configurations, and with users enough who are not sealed."""
    users = bundled_corpus().users[:18]
    lines = [{"user": u.user_id, "text": s.text, "request": s.request} for u in users for s in u.samples]
    (small / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = small / "optimizers/small.toml"
    recipe.write_text(recipe.read_text().partition("[slots]")[0].replace("finalists = 1", "finalists = 0") + SLOTS)
    return small


def test_a_table_holds_what_every_score_needs_and_its_run_is_done(pool: Path, inside: Inside) -> None:
    told = json.loads(inside(*TABULATE, "--json", cwd=pool).stdout)
    table = read_table(pool / "t.json")
    assert (told["configurations"], told["instances"]) == (8, len(table.users))
    needed = {call for row in table.needs for needs in row for call in needs}
    assert len(needed) == told["made"]["calls"] < sum(map(sum, [[len(n) for n in row] for row in table.needs]))
    one, two = (table.choices.index({"shown_hypotheses": "inferred", "samples": 3, "drafts": n}) for n in (1, 2))
    assert all(set(few) < set(more) for few, more in zip(table.needs[one], table.needs[two], strict=True))
    assert table.calls[one] == 2
    run = json.loads(inside("runs", "show", "--json", cwd=pool).stdout)["runs"][0]
    assert (run["state"], run["calls"]) == ("measured", told["made"]["calls"])
    assert "8 configurations" in inside("runs", "show", run["run"], cwd=pool).stdout
    assert "confirmed no program" in inside("runs", "freeze", run["run"], cwd=pool).stderr
    again = json.loads(inside("runs", "resume", run["run"], "--json", cwd=pool).stdout)
    assert (again["made"]["calls"], read_table(pool / "t.json")) == (told["made"]["calls"], table)


def test_a_replay_names_its_table_and_draws_it(pool: Path, inside: Inside) -> None:
    inside(*TABULATE, cwd=pool)
    words = ("bench", "replay", "t.json", "--seeds", "10", "--searchers", "knowledge,random")
    told = inside(*words, "--svg", "gain.svg", cwd=pool).stdout
    assert "8 configurations" in told
    assert "A call is paid once" in told
    assert "<svg" in (pool / "gain.svg").read_text()
    found = json.loads(inside(*words, "--json", cwd=pool).stdout)
    assert found["curves"]["knowledge"]["spent"] <= json.loads((pool / "t.json").read_text())["made"]["calls"]
    refused = inside("bench", "replay", "t.json", "--seeds", "10", "--searchers", "nobody", cwd=pool)
    assert (refused.returncode, "nobody" in refused.stderr) == (2, True)


def test_a_table_that_comes_with_the_package_goes_by_its_name(tmp_path: Path, inside: Inside) -> None:
    words = ("bench", "replay", "authorship-bundled", "--seeds", "10", "--searchers", "random")
    assert "32 configurations x 72 instances" in inside(*words, cwd=tmp_path).stdout
    unknown = inside("bench", "replay", "authorship-bundle", cwd=tmp_path)
    assert (unknown.returncode, "authorship-bundled" in unknown.stderr) == (2, True)
