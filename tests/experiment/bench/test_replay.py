"""Searchers replayed on a table of which the truth is known."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.bench import replay
from hyperalign_dspy.experiment.bench.compare import compare
from hyperalign_dspy.experiment.bench.replay import SEARCHERS, World
from hyperalign_dspy.experiment.bench.tables import ScoreTable, read_table
from hyperalign_dspy.files import write_json

SLOTS = {"shown_hypotheses": ["none", "inferred"], "samples": [0, 2, 4], "drafts": [1, 2]}


def table(noise: float = 1.0, users: int = 16, requests: int = 4) -> ScoreTable:
    """Samples help much and drafts a little; a user's own level is large."""
    rng = np.random.default_rng(0)
    names = sorted(SLOTS)
    choices = [dict(zip(names, values, strict=True)) for values in product(*(SLOTS[name] for name in names))]
    worth = [
        0.5 * c["samples"] + 0.3 * (c["drafts"] == 2) - 0.2 * (c["shown_hypotheses"] == "inferred") for c in choices
    ]  # type: ignore[operator]
    whose = [user for user in range(users) for _ in range(requests)]
    level = rng.normal(0, 3, users)
    values = [[round(float(level[u] + w + rng.normal(0, noise)), 3) for u in whose] for w in worth]
    baseline = choices.index({"shown_hypotheses": "inferred", "samples": 0, "drafts": 1})
    made = {"corpus": "made up", "model": {"name": "none"}, "calls": 0, "unit": "points"}
    return ScoreTable(SLOTS, choices, baseline, whose, values, [], needs(choices, whose), made)


def needs(choices: list[dict[str, object]], whose: list[int]) -> list[list[list[int]]]:
    """A call for each draft, shared by those who differ in their number; and one to infer, shared by a user's all."""
    numbers: dict[tuple[object, ...], int] = {}

    def calls(choice: dict[str, object], place: int) -> list[int]:
        drafts = [(place, choice["shown_hypotheses"], choice["samples"], n) for n in range(int(choice["drafts"]))]  # type: ignore[call-overload]
        inferred = [("infer", whose[place])] if choice["shown_hypotheses"] == "inferred" else []
        return [numbers.setdefault(key, len(numbers)) for key in [*inferred, *drafts]]

    return [[calls(choice, place) for place in range(len(whose))] for choice in choices]


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name != "blind"])
def test_every_searcher_finds_what_helps_and_never_looks_at_sealed_users(name: str) -> None:
    known = table()
    gaps = known.gaps().mean(axis=1)
    for seed in range(3):
        world = World(known, seed)
        trace = SEARCHERS[name](world)
        assert list(trace.calls) == sorted(trace.calls)
        assert gaps[trace.chosen[-1]] > 1.0
        assert world._paid <= {n for needs in known.needs for cell in world.cells for n in needs[cell.place]}
        assert not set(world.searched) & set(world.sealed)
        assert trace.calls[-1] <= sum(known.calls) * len(world.cells)
        assert trace == SEARCHERS[name](World(known, seed))


def test_a_call_is_paid_once_whoever_needs_it() -> None:
    known = table()
    world = World(known, 0)
    cells = [cell.place for cell in world.cells]
    two, one = (known.choices.index({"drafts": n, "samples": 4, "shown_hypotheses": "inferred"}) for n in (2, 1))
    for place in cells:
        world.score(two, place)
    assert known.calls[two] == 3
    assert world.calls == 2 * len(cells) + len(world.searched)
    for place in cells:
        world.score(one, place)
    assert world.calls == 2 * len(cells) + len(world.searched)


def test_a_comparison_counts_calls_and_holds_the_truth() -> None:
    known = table()
    found = compare(known, 10, ["random-full", "miprov2"], lambda name, done: None)
    assert found.best == pytest.approx(known.gaps().mean(axis=1).max(), abs=0.05)
    full = found.curves["random-full"]
    assert full.spent <= sum(known.calls) * 32
    assert full.end.low <= full.end.mean <= full.end.high <= found.best + 0.3
    assert full.below.mean == 0
    assert found.against["random-full"].gap.low < 0.2


def test_where_the_rival_proves_nothing_there_is_nothing_to_divide_by() -> None:
    rng = np.random.default_rng(1)
    noise = ScoreTable(**{**vars(table()), "values": rng.normal(size=(12, 64)).tolist()})
    found = compare(noise, 20, ["blind", "miprov2"], lambda name, done: None)
    assert found.curves["blind"].spent == 0
    assert found.curves["blind"].end.low < 0 < found.curves["blind"].end.high
    assert found.against["blind"].ratio is None
    assert found.against["blind"].reaches is None
    told = compare(table(), 20, ["random-full", "miprov2"], lambda name, done: None).against["random-full"]
    assert told.ratio
    assert told.ratio.low <= told.ratio.mean <= told.ratio.high


def test_miprov2_takes_its_light_sample_from_all_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_LARGEST", 20)
    known = table()
    world = World(known, 0)
    SEARCHERS["miprov2"](world)
    met = {known.users[cell.place] for cell in world.cells if set(known.needs[0][cell.place]) <= world._paid}
    assert len(met) > 20 / 4


@pytest.mark.parametrize("change", [{"users": [0] * 64}, {"slots": {**SLOTS, "drafts": [1, 2, 3]}}])
def test_tables_too_small_for_a_half_to_judge_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="users"):
        compare(ScoreTable(**{**vars(table()), **change}), 10, ["blind"])


def test_copies_lose_and_noise_has_no_reliability() -> None:
    known = table()
    copied = ScoreTable(**{**vars(known), "copied": [(len(known.choices) - 1, 0)]})
    assert copied.gaps()[-1, 0] == -abs(known.gaps()[-1, 0])
    assert known.reliability()[0] > 0.9
    rng = np.random.default_rng(1)
    noise = ScoreTable(**{**vars(known), "values": rng.normal(size=(12, 64)).tolist()})
    assert abs(noise.reliability()[0]) < 0.5


def test_a_table_is_read_as_it_was_written_and_anything_else_is_refused(tmp_path: Path) -> None:
    known = table()
    write_json(tmp_path / "t.json", known.as_dict())
    again = read_table(tmp_path / "t.json")
    assert np.array_equal(again.gaps(), known.gaps())
    plain = json.loads((tmp_path / "t.json").read_text())
    for change in ({"schema": "other"}, {"values": [[1.0]]}, {"users": []}, {"needs": plain["needs"][1:]}):
        write_json(tmp_path / "bad.json", {**plain, **change})
        with pytest.raises(DataError):
            read_table(tmp_path / "bad.json")
    del plain["slots"]
    write_json(tmp_path / "bad.json", plain)
    with pytest.raises(DataError, match="no whole"):
        read_table(tmp_path / "bad.json")
