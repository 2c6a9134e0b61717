"""Every frozen program on every model from the command line, on scripted models."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Request

from hyperalign_dspy.lm import connect as connecting
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.scripted import ScriptedEngine
from tests.cli.test_main_job import HYPERALIGN, Inside, inside, rows, small, wait_for_calls
from tests.cli.test_port import MADE, answer, freeze_drafts, freeze_old, moods

__all__ = ["inside", "moods", "small"]

MATRIX = ("matrix", "moods", "--models", "scripted,scripted:b")


@pytest.fixture
def uneven(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """One model is right where the old program's instruction stands before it; others are wrong, or ``fail``."""

    def use(right: str = "scripted", fails: str = "nobody") -> None:
        def engine(model: str, ledger: Any) -> ScriptedEngine:
            def reply(request: Request) -> str:
                old = MADE.content in str(messages_of(request))
                if old and model == fails:
                    raise ValueError("no answer to this")
                return "happy or sad" if old and model == right else "who knows"

            return ScriptedEngine(reply)

        monkeypatch.setattr(connecting, "_engine_of", engine)

    return use


def gaps(result: dict[str, Any]) -> dict[tuple[str, str], float | None]:
    return {(c["program"], c["model"]): c["row"]["gap"]["mean"] if c["row"] else None for c in result["cells"]}


def figures(result: dict[str, Any]) -> Any:
    """The cells without what a clock says."""
    plain = [
        {**cell, "row": {k: v for k, v in cell["row"].items() if k != "cost"} if cell["row"] else None}
        for cell in result["cells"]
    ]
    return plain, result["programs"]


def test_every_program_is_measured_on_every_model_beside_its_baseline(
    moods: Path, inside: Inside, uneven: Callable[..., None]
) -> None:
    uneven()
    result = answer(inside(*MATRIX, "--svg", "a/m.svg", "--json", cwd=moods))
    assert gaps(result) == {
        ("baseline", "scripted"): 0.0,
        ("baseline", "scripted:b"): 0.0,
        ("scripted", "scripted"): 1.0,
        ("scripted", "scripted:b"): 0.0,
    }
    assert {c["row"]["gap"]["n_users"] for c in result["cells"]} == {result["users"]} == {16}
    assert result["cost"]["calls"] == 4 * 16 == len(rows(moods))
    drawn = ET.parse(moods / "a/m.svg").getroot()
    words = "".join(drawn.itertext())
    assert words.index("on scripted:b") < words.rindex("made for scripted")
    text = inside(*MATRIX, cwd=moods).stdout
    assert "+1.00 [+1.00, +1.00]" in text
    assert "made on another corpus (other)" in text
    assert "gap*, names_the_mood" in text


def test_cells_are_not_paid_again_and_another_model_pays_for_its_own(
    moods: Path, inside: Inside, uneven: Callable[..., None]
) -> None:
    uneven()
    first = answer(inside(*MATRIX, "--json", cwd=moods))
    again = answer(inside("runs", "resume", first["run"], "--json", cwd=moods))
    assert figures(again) == figures(first)
    assert again["cost"]["calls"] == first["cost"]["calls"]
    more = answer(inside(*MATRIX[:3], "scripted:c,scripted:b,scripted", "--json", cwd=moods))
    assert (more["run"], more["cost"]["calls"]) == (first["run"], first["cost"]["calls"] + 2 * 16)
    assert gaps(more).items() >= gaps(first).items()
    listed = json.loads(inside("runs", "show", "--json", cwd=moods).stdout)["runs"]
    assert [(run["run"], run["state"]) for run in listed] == [(first["run"], "measured")]
    assert "scripted:c" in inside("runs", "show", first["run"], cwd=moods).stdout
    page = inside("report", first["run"], cwd=moods)
    assert (page.returncode, "confirmed no program" in page.stderr) == (2, True)


def test_a_cap_leaves_cells_for_later(moods: Path, inside: Inside, uneven: Callable[..., None]) -> None:
    uneven()
    reply = inside(*MATRIX, "--max", "calls=40", "--json", cwd=moods)
    capped = json.loads(reply.stdout)
    assert (reply.returncode, capped["capped"], len(rows(moods))) == (4, True, 40)
    assert gaps(capped)["scripted", "scripted"] == 1.0
    assert gaps(capped)["scripted", "scripted:b"] is None
    assert json.loads(inside("runs", "show", "--json", cwd=moods).stdout)["runs"][0]["state"] == "not done"
    assert "not measured" in inside(*MATRIX, "--max", "calls=40", cwd=moods).stdout
    whole = answer(inside(*MATRIX, "--json", cwd=moods))
    assert (whole["cost"]["calls"], len(rows(moods))) == (64, 64)


def test_a_program_that_a_model_cannot_answer_is_one_cell(
    moods: Path, inside: Inside, uneven: Callable[..., None]
) -> None:
    uneven(fails="scripted:b")
    reply = inside(*MATRIX, cwd=moods)
    assert reply.returncode == 0, reply.stderr
    assert "no answer to this" in reply.stdout
    assert "+1.00 [+1.00, +1.00]" in reply.stdout


def test_a_killed_matrix_goes_on_where_it_stood(moods: Path, inside: Inside) -> None:
    slow = ("matrix", "moods", "--models", "scripted,scripted:delay=40")
    process = subprocess.Popen([*HYPERALIGN, *slow], cwd=moods, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_calls(process, moods, 40)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(rows(moods))
    resumed = answer(inside(*slow, "--json", cwd=moods))
    assert 40 <= kept < len(rows(moods)) == 64
    shutil.rmtree(moods / ".hyperalign")
    assert figures(answer(inside(*slow, "--json", cwd=moods))) == figures(resumed)


def test_what_cannot_be_measured_is_refused_before_any_call(moods: Path, inside: Inside) -> None:
    nothing = inside("matrix", "moods", "--models", "scripted:b", cwd=moods)
    assert (nothing.returncode, "compile moods" in nothing.stderr) == (2, True)
    assert inside("matrix", "moods", "--models", ",", cwd=moods).returncode == 2
    twice = inside("matrix", "moods", "--models", "scripted:b,scripted-b", cwd=moods)
    assert twice.returncode == 2
    facts = answer(inside("compile", "moods", "--model", "scripted", "--plan", "--json", cwd=moods))["facts"]
    freeze_old(corpus_digest=facts["corpus_digest"])
    split = inside(*MATRIX, cwd=moods)
    assert (split.returncode, "has seen some of these users" in split.stderr) == (2, True)
    freeze_old(model="scripted:b", seed=1, corpus_digest=facts["corpus_digest"], split_digest="1")
    several = inside(*MATRIX, cwd=moods)
    assert (several.returncode, "--models scripted:b --seed 1" in several.stderr) == (2, True)
    assert not list(moods.glob(".hyperalign/runs/*/calls.jsonl"))


def test_other_weights_under_the_same_name_are_refused(
    moods: Path, inside: Inside, uneven: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    uneven()
    first = answer(inside(*MATRIX, "--json", cwd=moods))
    monkeypatch.setattr("hyperalign_dspy.experiment.matrix.describe_model", lambda model: {"weights": "others"})
    reply = inside(*MATRIX, cwd=moods)
    assert (reply.returncode, f"runs remove {first['run']}" in reply.stderr) == (5, True)


def test_writing_is_measured_at_equal_drafts_and_help_beside_harm(small: Path, inside: Inside) -> None:
    """Both tasks, one with the program that comes with the package."""
    freeze_drafts(small)
    words = ("--models", "local", "--users", "3", "--requests", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connecting, "_engine_of", lambda model, ledger: ScriptedEngine())
        written = answer(inside("matrix", *words, "--data", "small.jsonl", "--json", cwd=small))
        helped = inside("matrix", "deliberative", *words, "--svg", "d.svg", cwd=small)
    drafts = {c["program"]: c["row"]["drafts"] for c in written["cells"]}
    assert drafts == {"baseline": 1, "local": 3}
    assert helped.returncode == 0, helped.stderr
    assert all(words in helped.stdout for words in ("gap*, ", "value, ", "harm rise*", "harm  "))
    assert "made for local, harm rise" in (small / "d.svg").read_text()
