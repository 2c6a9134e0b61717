"""What a run was started with is what it goes on with: anything else is refused, and the difference is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.artifacts.test_schemas import errors, read
from tests.cli.test_main_job import Inside, inside
from tests.resume.project import COMPILE, small_project
from tests.resume.server import Server, Trouble

__all__ = ["inside"]

PROGRAM = Path(__file__).parents[2] / "programs/authorship/program.toml"
CHANGES = {
    "program_digest": ("programs/authorship/program.toml", "three short", "four short"),
    "recipe_digest": ("optimizers/small.toml", "finalists = 1", "finalists = 2"),
    "data_digest": ("small.jsonl", "the", "teh"),
}
CODE_CHANGES = {
    "forward": ("message=message", "message=message.strip()"),
    "metric": ("example.mood.lower() in", "example.mood.lower() =="),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = small_project(tmp_path / "project")
    (folder / "programs/authorship").mkdir()
    shutil.copy(PROGRAM, folder / "programs/authorship")
    return folder


def test_a_changed_program_recipe_corpus_or_server_is_refused_with_the_difference(
    project: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # A wrong key ends a run at once: it is there, and nothing was paid.
    with Server(lambda n: Trouble(401)) as server:
        assert inside(*COMPILE, cwd=project, **server.environment).returncode == 5
        run = next(project.glob(".hyperalign/runs/*/plan.json")).parent.name
        asked = server.requests
        for what, (name, old, new) in CHANGES.items():
            path = project / name
            whole = path.read_text()
            assert old in whole
            path.write_text(whole.replace(old, new, 1))
            reply = inside("runs", "resume", run, cwd=project)
            path.write_text(whole)
            assert (reply.returncode, f"  {what}: was " in reply.stderr) == (5, True), reply.stderr
        with Server() as other:
            reply = inside("runs", "resume", run, cwd=project, **other.environment)
        assert (reply.returncode, "  model_digest: was " in reply.stderr) == (5, True)
    assert (server.requests, other.requests) == (asked, 0)
    assert len(list(project.glob(".hyperalign/runs/*/plan.json"))) == 1


@pytest.mark.parametrize("part", CODE_CHANGES)
def test_changed_code_of_ones_own_is_refused_and_the_plain_command_begins_another_run(
    tmp_path: Path, inside: Inside, part: str
) -> None:
    name = f"tune_{part}"
    assert inside("init", name, cwd=tmp_path).returncode == 0
    words = ("compile", name, "--model", "scripted", "--json")
    run = json.loads(inside(*words, cwd=tmp_path).stdout)["run"]
    code = tmp_path / f"{name}.py"
    whole, (old, new) = code.read_text(), CODE_CHANGES[part]
    code.write_text(whole.replace(old, new, 1))
    refused = inside("runs", "resume", run, cwd=tmp_path)
    assert (refused.returncode, f"  code: it has changed in {name}.py" in refused.stderr) == (5, True), refused.stderr
    assert json.loads(inside(*words, cwd=tmp_path).stdout)["run"] != run
    code.write_text(whole)
    assert json.loads(inside("runs", "resume", run, "--json", cwd=tmp_path).stdout)["run"] == run
    assert inside("verify", name, "--model", "scripted", cwd=tmp_path).returncode == 0
    (manifest,) = tmp_path.glob(f"programs/{name}/frozen/*/manifest.json")
    assert errors("manifest.schema.json", read(manifest)) == []
