"""Porting a frozen program from the command line, on two scripted models."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Request

from hyperalign_dspy.artifacts.frozen import Provenance, freeze, load_frozen
from hyperalign_dspy.experiment.confirm import COMPILED
from hyperalign_dspy.lm import connect as connecting
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.optimize.pools import Candidate
from hyperalign_dspy.program.configuration import Configuration, build, with_candidates
from hyperalign_dspy.program.specs import load_program, load_recipe
from tests.artifacts.test_frozen import provenance
from tests.cli.test_main_job import HYPERALIGN, Inside, Reply, inside, rows, small, wait_for_calls

__all__ = ["inside", "small"]

SLOT = "tell.instruction"
MADE = Candidate("grounded-1", "grounded", "scripted", "Which of the two moods is it?")
CHOOSE = "Answer with one word."
PORT = ("port", "moods", "--from", "scripted", "--to", "scripted:b")
GAP = {"mean": 1.0, "low": 0.8, "high": 1.2, "n_users": 7, "n_instances": 14}


def freeze_old(*, private: bool = False, model: str = "scripted", seed: int = 0, **facts: Any) -> Path:
    """A compiled program of moods on the shelf of this folder, with an instruction that a proposer made."""
    program = with_candidates(load_program("moods"), {SLOT: {MADE.id: MADE.content}})
    values = {**program.baseline, SLOT: MADE.id, "max_tokens": 16}
    row = {"drafts": 1, "value": GAP, "gap": GAP, "wins": GAP, "copied": 0.0, "harm_rise": None}
    provenance = Provenance(
        program=program,
        recipe=load_recipe("quick", "moods"),
        model=model,
        model_facts={},
        configuration=values,
        identity={"seed": seed, "recipe": "made by hand"},
        facts={"corpus": "other", "corpus_digest": "0", "split_digest": "0", "users": {"sealed": 7}, **facts},
        confirmation={"verdict": "gain", "rows": [{"name": COMPILED, **row}]},
        cost={"calls": 600, "input_tokens": 1, "output_tokens": 1},
        frozen_is=COMPILED,
        private=private,
        candidates={SLOT: vars(MADE)},
    )
    return freeze(build(program, Configuration.of(values)), provenance, Path("programs/moods/frozen") / slug(model))


def freeze_drafts(folder: Path) -> None:
    """A program on the shelf of that folder, for the embedded model, that writes the best of three drafts."""
    program = load_program("authorship")
    values = {**program.baseline, "shown_hypotheses": "none", "samples": 3, "drafts": 3, "max_tokens": 56}
    plain = provenance(values)
    facts = {**plain.facts, "corpus_digest": "0", "split_digest": "0"}
    made = replace(plain, model="local", facts=facts, frozen_is=COMPILED)
    freeze(build(program, Configuration.of(values)), made, folder / "programs/authorship/frozen/local")


@pytest.fixture
def moods(tmp_path: Path, inside: Inside) -> Path:
    """A project with the program that `hyperalign init` makes, and a frozen one of it for the scripted model."""
    assert inside("init", "moods", cwd=tmp_path).returncode == 0
    freeze_old()
    return tmp_path


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Every model is right (whatever the mood is) where one of some texts stands before it, else wrong."""

    def use(*texts: str, fails: str = "nowhere") -> None:
        def answer(request: Request) -> str:
            asked = str(messages_of(request))
            if fails in asked:
                raise ValueError("no answer to this")
            return "happy or sad" if any(text in asked for text in texts) else "who knows"

        monkeypatch.setattr(connecting, "_engine_of", lambda model, ledger: ScriptedEngine(answer))

    return use


def answer(reply: Reply) -> dict[str, Any]:
    assert reply.returncode == 0, reply.stderr
    return dict(json.loads(reply.stdout))


def figures(result: dict[str, Any]) -> Any:
    """What a result says, without what a clock or a record says."""
    plain = [{k: v for k, v in row.items() if k != "cost"} for row in result["confirmation"]["rows"]]
    return plain, result["chosen"], result["port"], result["frozen_is"]


def gaps(result: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["gap"]["mean"] for row in result["confirmation"]["rows"]}


def test_an_old_program_that_holds_is_carried_over_whole_without_a_search(
    moods: Path, inside: Inside, answering: Callable[..., None]
) -> None:
    answering(MADE.content)
    result = answer(inside(*PORT, "--json", cwd=moods))
    port = result["port"]
    assert (port["held"], port["seen"], result["confirmation"]["verdict"]) == (True, 1.0, "gain")
    assert gaps(result) == {"baseline": 0.0, "baseline, equal drafts": 0.0, "old program": 1.0, "compiled": 1.0}
    # The pilot alone: ten rows for the baseline and for the old program.
    assert port["search_calls"] == 20
    assert port["search_calls"] + port["confirm_calls"] == result["cost"]["calls"] == len(rows(moods))
    old, new = (load_frozen(moods / "programs/moods/frozen" / name) for name in ("scripted", "scripted-b"))
    lineage = {"manifest_sha256": old.manifest["manifest_sha256"], "model": "scripted", "run": None}
    assert (old.manifest["lineage"], new.manifest["lineage"]) == (None, lineage)
    assert new.manifest["candidates"] == {SLOT: vars(MADE)}
    assert new.manifest["probe"] == old.manifest["probe"]
    assert new.module.dump_state() == old.module.dump_state()
    shown = inside(*PORT, cwd=moods).stdout
    assert all(words in shown for words in ("old program as it is", "re-tuned", "The old program held", "GAIN"))
    # Who asks for it beforehand gets a search; it is another run.
    searched = answer(inside(*PORT, "--retune", "--json", cwd=moods))
    assert (searched["port"]["held"], searched["port"]["retuned"], port["retuned"]) == (True, True, False)
    assert searched["run"] != result["run"]
    assert searched["port"]["search_calls"] > 20
    # And on: a ported program is ported as any other.
    again = answer(inside("port", "moods", "--from", "scripted:b", "--to", "scripted:c", "--json", cwd=moods))
    assert (again["port"]["held"], again["frozen_is"]) == (True, "compiled")
    assert again["port"]["run"] == searched["run"]


def test_an_old_program_that_falls_short_is_where_the_search_begins(
    moods: Path, inside: Inside, answering: Callable[..., None]
) -> None:
    answering(CHOOSE)
    result = answer(inside(*PORT, "--json", cwd=moods))
    assert (result["port"]["held"], result["port"]["seen"], result["port"]["gained"]) == (False, 0.0, 1.0)
    assert (gaps(result)["old program"], gaps(result)["compiled"]) == (0.0, 1.0)
    assert result["changes"][SLOT] == "choose"
    new = load_frozen(moods / "programs/moods/frozen/scripted-b").manifest
    assert (new["frozen"], new["candidates"], new["lineage"]["model"]) == ("compiled", {}, "scripted")
    calls = len(rows(moods))
    again = answer(inside("runs", "resume", result["run"], "--json", cwd=moods))
    assert figures(again) == figures(result)
    assert len(rows(moods)) == calls
    assert "old program" in inside("runs", "show", result["run"], cwd=moods).stdout
    assert inside("report", result["run"], cwd=moods).returncode == 0


def test_an_old_program_that_cannot_be_answered_is_out_and_said(
    moods: Path, inside: Inside, answering: Callable[..., None]
) -> None:
    answering(CHOOSE, fails=MADE.content)
    result = answer(inside(*PORT, "--json", cwd=moods))
    assert "no answer to this" in result["port"]["failed"]
    assert gaps(result) == {"baseline": 0.0, "baseline, equal drafts": 0.0, "compiled": 1.0}
    assert "does not answer on scripted:b" in inside(*PORT, cwd=moods).stdout
    # Where nothing is answered it is not for the old program's sake.
    answering(CHOOSE, fails="message")
    assert inside(*PORT, "--seed", "3", cwd=moods).returncode == 5


def test_what_holds_private_texts_still_says_so(moods: Path, inside: Inside, answering: Callable[..., None]) -> None:
    answering(MADE.content)
    freeze_old(private=True)
    assert answer(inside(*PORT, "--json", cwd=moods))["frozen_is"] == "compiled"
    assert load_frozen(moods / "programs/moods/frozen/scripted-b").manifest["embedded_texts"]["private"]


def test_without_a_gain_the_baseline_is_frozen_and_says_where_it_comes_from(moods: Path, inside: Inside) -> None:
    result = answer(inside(*PORT, "--force", "--json", cwd=moods))
    assert (result["confirmation"]["verdict"], result["frozen_is"]) == ("no gain", "baseline")
    assert load_frozen(moods / "programs/moods/frozen/scripted-b").manifest["lineage"]["model"] == "scripted"


def test_a_cap_is_kept_and_the_confirmation_still_paid(moods: Path, inside: Inside) -> None:
    refused = inside(*PORT, "--force", "--max", "calls=30", cwd=moods)
    assert (refused.returncode, "confirmation alone" in refused.stderr) == (2, True)
    least = re.search(r"at least --max calls=(\d+)", refused.stderr)[1]  # type: ignore[index]
    reply = inside(*PORT, "--force", "--retune", "--max", f"calls={least}", "--json", cwd=moods)
    result = json.loads(reply.stdout)
    assert (reply.returncode, result["capped"]) == (4, True), reply.stderr
    assert {"old program", "compiled"} <= set(gaps(result))
    assert len(rows(moods)) <= int(least)


def test_the_ranking_of_the_old_run_comes_first(moods: Path, inside: Inside, answering: Callable[..., None]) -> None:
    answering(CHOOSE)
    old = answer(inside("compile", "moods", "--model", "scripted", "--json", cwd=moods))
    answering("nothing of this")
    result = answer(inside(*PORT, "--json", cwd=moods))
    assert (result["port"]["run"], result["port"]["held"]) == (old["run"], False)
    run = moods / ".hyperalign/runs" / result["run"]
    visited = [json.loads(line)["configuration"] for line in (run / "visits.jsonl").read_text().splitlines()]
    top = [standing["changes"] for standing in old["top"]]
    # The pilot has met the first.
    assert len(top) > 1
    assert visited[: len(top) - 1] == top[1:]


def test_a_killed_port_goes_on_where_it_stood(moods: Path, inside: Inside) -> None:
    slow = ("port", "moods", "--from", "scripted", "--to", "scripted:delay=40", "--force")
    process = subprocess.Popen([*HYPERALIGN, *slow], cwd=moods, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_calls(process, moods, 25)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(rows(moods))
    resumed = answer(inside(*slow, "--json", cwd=moods))
    calls = len(rows(moods))
    shutil.rmtree(moods / ".hyperalign")
    whole = answer(inside(*slow, "--json", cwd=moods))
    assert 25 <= kept < calls == len(rows(moods))
    assert figures(resumed) == figures(whole)


def test_what_cannot_be_ported_is_refused_before_any_call(moods: Path, inside: Inside) -> None:
    same = inside("port", "moods", "--from", "scripted", "--to", "scripted", cwd=moods)
    assert (same.returncode, "same model" in same.stderr) == (2, True)
    unknown = inside("port", "moods", "--from", "scripted:c", "--to", "scripted", cwd=moods)
    assert (unknown.returncode, "compile moods" in unknown.stderr) == (2, True)
    plan = answer(inside(*PORT, "--plan", "--json", cwd=moods))
    assert plan["plan"]["calls"] > 0
    freeze_old(corpus_digest=plan["facts"]["corpus_digest"])
    split = inside(*PORT, cwd=moods)
    assert (split.returncode, "has seen some of these users" in split.stderr) == (2, True)
    program = moods / "programs/moods/program.toml"
    program.write_text(program.read_text().replace('module = "moods:Moods"', 'module = "other:Moods"'))
    (moods / "other.py").write_text((moods / "moods.py").read_text())
    other = inside(*PORT, cwd=moods)
    assert (other.returncode, "was made with moods:Moods" in other.stderr) == (2, True)
    assert not list(moods.glob(".hyperalign/runs/*/calls.jsonl"))


def test_writing_is_ported_with_its_drafts(small: Path, inside: Inside) -> None:
    freeze_drafts(small)
    words = ("port", "--from", "local", "--to", "scripted:b", "--data", "small.jsonl", "--recipe", "small")
    result = answer(inside(*words, "--visits", "1", "--force", "--json", cwd=small))
    by_name = {row["name"]: row for row in result["confirmation"]["rows"]}
    assert by_name["old program"]["drafts"] == 3
    # Three drafts are held against three, and one against one.
    rival = "baseline, old settings" if "baseline, old settings" in by_name else "baseline, equal drafts"
    assert by_name[rival]["drafts"] == 3


def test_help_and_harm_are_both_shown(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "programs").mkdir()
    words = ("port", "deliberative", "--from", "local", "--to", "scripted:b", "--visits", "1", "--force")
    reply = inside(*words, cwd=tmp_path)
    assert reply.returncode == 0, reply.stderr
    assert "harm rise*" in reply.stdout
    assert "is the baseline itself" in reply.stdout
    assert load_frozen(tmp_path / "programs/deliberative/frozen/scripted-b").manifest["lineage"]["model"] == "local"
