"""A frozen program that was changed, or that meets other signatures, is refused with what differs and what to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.export.formats import exported, write_export
from hyperalign_dspy.artifacts.frozen import freeze, load_frozen, verify
from hyperalign_dspy.cli.programs import verify_command
from hyperalign_dspy.errors import FrozenMismatch, UnknownName
from hyperalign_dspy.experiment.replay_calls import replay_calls
from hyperalign_dspy.files import dump, write_json
from hyperalign_dspy.lm.connect import connect, describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.hyperalign import HyPerAlign
from hyperalign_dspy.program.settings import Settings
from hyperalign_dspy.program.specs import load_program
from hyperalign_dspy.runs import open_run
from tests.artifacts.test_frozen import SAMPLES, provenance

SHIPPED = sorted((Path(__file__).parents[2] / "programs").glob("*/frozen/*"))


@pytest.fixture(params=SHIPPED, ids=lambda path: f"{path.parts[-3]} for {path.name}")
def shipped(request: Any) -> Path:
    return Path(request.param)


def frozen(folder: Path) -> Path:
    values = load_program("authorship").baseline
    return freeze(build(load_program("authorship"), Configuration.of(values)), provenance(dict(values)), folder)


def states(folder: Path) -> dict[str, str]:
    return {check.name: check.state for check in verify(folder)[0]}


def test_what_is_shipped_is_what_it_claims_to_be(shipped: Path) -> None:
    checks, found = verify(shipped)
    assert found is not None
    assert "refused" not in {check.state for check in checks}
    assert states(shipped)["messages"] == "ok"


@pytest.mark.parametrize("examples", [80, pytest.param(2000, marks=pytest.mark.evidence)])
@pytest.mark.parametrize("name", ["manifest.json", "program.json"])
def test_any_changed_character_is_refused(name: str, examples: int, shipped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shipped, folder)
    text = (folder / name).read_text(encoding="utf-8")

    @given(st.integers(0, len(text) - 1), st.sampled_from("abz019\"'{}[]:,. -eE\\/\nÉ\x00"))
    @settings(max_examples=examples, deadline=None, database=None)
    def changed(place: int, character: str) -> None:
        if text[place] != character:
            (folder / name).write_text(text[:place] + character + text[place + 1 :], encoding="utf-8")
            with pytest.raises(FrozenMismatch) as refused:
                load_frozen(folder)
            assert name in refused.value.message or "schema" in refused.value.message
            assert refused.value.fix

    @given(st.integers(0, len(text) - 1))
    @settings(max_examples=examples // 4, deadline=None, database=None)
    def cut(place: int) -> None:
        (folder / name).write_text(text[:place], encoding="utf-8")
        with pytest.raises(FrozenMismatch):
            load_frozen(folder)

    changed()
    cut()
    (folder / name).write_text(text, encoding="utf-8")
    assert load_frozen(folder).manifest["manifest_sha256"]


def forged(folder: Path, **changes: Any) -> None:
    """Change a manifest and make its hash fit again."""
    manifest = {**json.loads((folder / "manifest.json").read_text(encoding="utf-8")), **changes}
    manifest = {name: value for name, value in manifest.items() if name != "manifest_sha256" and value is not None}
    digest = hashlib.sha256(dump(manifest).encode()).hexdigest()
    write_json(folder / "manifest.json", {**manifest, "manifest_sha256": digest})


def test_other_instructions_with_fitting_hashes_are_told_by_their_messages(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    state = (
        (folder / "program.json").read_text(encoding="utf-8").replace("Write as this person", "Write as that person")
    )
    (folder / "program.json").write_text(state, encoding="utf-8")
    forged(folder, program_sha256=hashlib.sha256(state.encode()).hexdigest())
    with pytest.raises(FrozenMismatch, match=r"renders other messages .*generate\.write"):
        load_frozen(folder)
    assert states(folder) == {
        "manifest.json": "ok",
        "program.json": "ok",
        "signatures": "ok",
        "messages": "refused",
    }


def test_a_changed_figure_is_named(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"no gain"', '"gain"'), encoding="utf-8")
    about = verify(folder)[0][0].about
    assert "NO GAIN could be shown" in about
    assert "GAIN: the compiled program does better" in about


def test_a_manifest_without_a_part_is_refused_by_the_parts_name(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    forged(folder, module=None, probe=None)
    with pytest.raises(FrozenMismatch, match="lacks module, probe"):
        load_frozen(folder)


def test_other_signatures_are_refused_with_what_they_were_and_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = frozen(tmp_path / "frozen")

    class WriteAs(dspy.Signature):
        """Write as this person writes."""

        hypotheses: list[str] = dspy.InputField()
        samples: dspy.History = dspy.InputField()
        brief: str = dspy.InputField()
        text: list[str] = dspy.OutputField()

    monkeypatch.setattr("hyperalign_dspy.program.generate.WriteAs", WriteAs)
    with pytest.raises(FrozenMismatch) as refused:
        load_frozen(folder)
    assert "input request (<class 'str'>)" in refused.value.message
    assert "input brief (<class 'str'>)" in refused.value.message
    assert "infer.read" not in refused.value.message


def test_other_versions_are_told_and_not_refused(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    forged(folder, versions={"dspy": "3.3.0", "hyperalign-dspy": "0.0.1"})
    assert load_frozen(folder)
    found = {check.name: check for check in verify(folder)[0]}
    assert found["dspy"].state == "differs"
    assert "measured with 3.3.0" in found["dspy"].about


def test_line_ends_of_another_system_are_no_change_and_verify_says_so(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_frozen(folder)
    found = {check.name: check for check in verify(folder)[0]}
    assert {found[name].state for name in ("manifest.json", "program.json", "CARD.md")} == {"ok"}
    assert "line ends aside" in found["manifest.json"].about
    assert "line ends aside" in found["program.json"].about


def test_a_card_with_other_figures_is_refused_and_an_older_versions_card_is_told(tmp_path: Path) -> None:
    folder = frozen(tmp_path / "frozen")
    path = folder / "CARD.md"
    path.write_text(path.read_text(encoding="utf-8").replace("NO GAIN", "A GAIN"), encoding="utf-8")
    checks, found = verify(folder)
    assert found is None
    assert (checks[-1].name, checks[-1].state) == ("CARD.md", "refused")
    assert "A GAIN" in checks[-1].about
    assert "hyperalign show authorship" in checks[-1].fix
    done = CliRunner().invoke(verify_command, [str(folder), "--json"])
    assert isinstance(done.exception, FrozenMismatch)
    assert json.loads(done.stdout)["verified"] is False
    forged(folder, versions={"dspy": "3.3.0", "hyperalign-dspy": "0.0.1"})
    assert states(folder)["CARD.md"] == "differs"
    path.unlink()
    assert states(folder)["CARD.md"] == "differs"


def test_a_bare_name_means_the_shelf_and_a_path_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("authorship", "mine"):
        frozen(tmp_path / name)

    def path_of(*words: str) -> Path:
        return Path(json.loads(CliRunner().invoke(verify_command, [*words, "--json"]).stdout)["path"]).resolve()

    assert path_of("authorship", "--model", "local") in SHIPPED
    for place in ("./authorship", f"{tmp_path}/authorship"):
        assert path_of(place) == tmp_path / "authorship"
    monkeypatch.chdir(tmp_path / "mine")
    assert path_of(".") == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    unknown = CliRunner().invoke(verify_command, ["mine"]).exception
    assert isinstance(unknown, UnknownName)
    assert "./mine" in unknown.fix
    unknown = CliRunner().invoke(verify_command, ["authorship", "--model", "no/such"]).exception
    assert isinstance(unknown, UnknownName)
    nothing = CliRunner().invoke(verify_command, ["./none"]).exception
    assert isinstance(nothing, UnknownName)
    assert "no manifest.json" in nothing.message


def test_an_export_for_dspy_is_no_frozen_program_and_says_so(tmp_path: Path) -> None:
    files = exported(load_frozen(frozen(tmp_path / "frozen")), "dspy")
    assert sorted(files) == ["README.md", "measured.json", "program.json"]
    assert "measured.json is the manifest" in files["README.md"]
    write_export(files, tmp_path / "out")
    refused = CliRunner().invoke(verify_command, [f"{tmp_path}/out"]).exception
    assert isinstance(refused, UnknownName)
    assert "no manifest.json" in refused.message


@pytest.mark.parametrize("spoil", ["", "[]", "null", '{"schema": 1}', "\udcff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, spoil: str) -> None:
    folder = frozen(tmp_path / "frozen")
    (folder / "manifest.json").write_bytes(spoil.encode("utf-8", "surrogateescape"))
    done = CliRunner().invoke(verify_command, [str(folder), "--json"])
    assert isinstance(done.exception, FrozenMismatch)
    assert json.loads(done.stdout)["verified"] is False


@pytest.mark.parametrize("model", ["scripted", pytest.param("local", marks=pytest.mark.evidence)])
def test_recorded_calls_are_sent_again_and_a_changed_answer_is_refused(model: str) -> None:
    run = open_run({"program": "authorship", "recipe": "quick"}, [])
    with Ledger(run.path("calls.jsonl")) as ledger, dspy.context(lm=connect(model, ledger=ledger)):
        for number in range(3):
            HyPerAlign(Settings(max_tokens=24, drafts=2))(samples=SAMPLES, request=f"Write about snow {number}.")
    values = dict(load_program("authorship").baseline)
    made = replace(provenance(values), model=model, model_facts=describe_model(model))
    folder = freeze(build(load_program("authorship"), Configuration.of(values)), made, run.path("frozen"))
    manifest = load_frozen(folder).manifest
    assert replay_calls(manifest, model, 3).about == "3 of 7 sent again: the same texts"
    assert replay_calls(manifest, model, 99).state == "ok"
    assert replay_calls(manifest, "openai/gpt", 3).state == "skipped"
    rows = [json.loads(line) for line in run.path("calls.jsonl").read_text().splitlines()]
    run.path("calls.jsonl").write_text("".join(json.dumps({**row, "text": row["text"] + "!"}) + "\n" for row in rows))
    assert replay_calls(manifest, model, 3).state == "refused"
    forged(folder, summary="another program")
    assert "is not here" in replay_calls(manifest, model, 3).about
