"""A compile in one line of Python, what is shown of it, and one's own sampler beside the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import optuna
import pytest
from click.testing import CliRunner

from hyperalign_dspy import (
    Limits,
    bundled_corpus,
    compare,
    describe_comparison,
    describe_plan,
    describe_result,
    draw_comparison,
    draw_habits,
    draw_result,
    draw_search,
    load_frozen,
    prepare,
    read_table,
)
from hyperalign_dspy.cli.main import cli
from hyperalign_dspy.errors import UnknownName, UsageError
from hyperalign_dspy.metrics.features import measured_hypotheses
from hyperalign_dspy.program.infer import BackgroundParameter
from hyperalign_dspy.report.page import run_page
from hyperalign_dspy.report.run_view import Story
from tests.cli.test_main_job import small
from tests.experiment.bench.test_replay import table

__all__ = ["small"]
SVG = "{http://www.w3.org/2000/svg}"
TINY: dict[str, Any] = {
    "data": "small.jsonl",
    "slots": {"samples": (0, 2), "shown_hypotheses": ("none", "inferred")},
    "start": ({"samples": 2, "shown_hypotheses": "none"},),
    "visits": 2,
    "search_users": 3,
    "block_users": 3,
    "confirm_users": 3,
    "confirm_requests": 1,
    "max_tokens": 16,
    "force": True,
}


@pytest.fixture
def project(small: Path) -> Path:
    (small / "programs").mkdir()
    return small


def test_a_compile_in_one_line_is_planned_run_shown_and_frozen(project: Path) -> None:
    heard: list[str] = []
    compiler = prepare("authorship", "scripted", say=heard.append, **TINY)
    assert "2 visits among 4 configurations, on 3 instances" in describe_plan(compiler)
    assert not (project / ".hyperalign").exists()
    compiled = compiler.run()
    assert compiled.frozen == project / "programs" / "authorship" / "frozen" / "scripted"
    assert load_frozen(compiled.frozen).manifest["measured"]["verdict"] == compiled.confirmation.verdict
    assert [line for line in heard if line.startswith("visit")]
    assert "Sealed users: 3; instances: 3" in describe_result(compiled)
    names = [row.name for row in compiled.confirmation.rows if row.name != "baseline, equal drafts"]
    assert all(name in words_of(draw_result(compiled)) for name in names)
    assert draw_search(compiled).count("<circle") == 2
    with pytest.raises(UsageError, match="begun from Python"):
        CliRunner().invoke(cli, ["runs", "resume", compiled.run.run_id], catch_exceptions=False)
    assert "the command of this run" not in run_page(Story(compiled.run))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"visit": 3}, UnknownName),
        ({"program": "authorshop"}, UnknownName),
        ({"recipe": "fast"}, UnknownName),
        ({"model": "lokal"}, UnknownName),
        ({"limits": Limits(max_calls=5)}, UsageError),
        ({"slots": {"sample": (1, 2)}}, UsageError),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    given: dict[str, Any], error: type[UsageError], project: Path
) -> None:
    with pytest.raises(error):
        prepare(**{"model": "scripted", **TINY, **given}).plan()
    assert not (project / ".hyperalign").exists()


def test_a_sampler_of_ones_own_is_replayed_beside_the_others() -> None:
    known = table(users=8, requests=2)
    found = compare(known, 3, ["random"], samplers={"mine": lambda seed: optuna.samplers.RandomSampler(seed=seed)})
    assert list(found.curves) == ["random", "mine"]
    # The same sampler by another name is the same search.
    assert found.curves["mine"] == found.curves["random"]
    end = found.curves["mine"].end
    assert end.low <= end.mean <= end.high
    assert "mine" in describe_comparison(found, known)
    assert {"random", "mine"} <= words_of(draw_comparison(found, known))
    with pytest.raises(UnknownName, match="searcher"):
        compare(known, 3, ["randam"])


def test_a_table_that_ships_is_read_by_its_name() -> None:
    assert len(read_table("authorship-bundled").choices) == 32
    with pytest.raises(UnknownName, match="score table") as refused:
        read_table("authorship-bundeld")
    assert "authorship-bundled" in refused.value.fix


def test_habits_are_drawn_where_they_were_measured() -> None:
    freya = next(user for user in bundled_corpus().users if user.user_id == "freya")
    hypotheses = measured_hypotheses([sample.text for sample in freya.samples], BackgroundParameter().value)
    texts = {"flat": ["It rained. It was wet.", "Then it stopped."], "loud": ["Rain!!!! Rain! RAIN! " * 3]}
    drawn = draw_habits(hypotheses, texts, most=3)
    assert {"the user", "flat", "loud", "exclaims"} <= words_of(drawn)
    told = re.findall(r"(the user|flat|loud): ([+-][\d.]+)", drawn)
    assert len(told) == 9
    assert max(abs(float(value)) for _, value in told) == 6.0
    assert dict(told[:3])["loud"] == "+6.00"
    assert float(dict(told[:3])["flat"]) < 0
    assert ElementTree.fromstring(draw_habits([], {})).tag == f"{SVG}svg"


def words_of(drawing: str) -> set[str]:
    return {str(element.text) for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")}


def test_a_pair_is_never_parted_by_rounds() -> None:
    with pytest.raises(UsageError, match="rounds has to be 1"):
        prepare("deliberative", "scripted", rounds=2)
