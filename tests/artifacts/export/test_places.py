"""Where an export is written: nobody's file is replaced, and nothing is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hyperalign_dspy.artifacts.export.formats import exported, write_export
from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.cli.programs import export_command
from hyperalign_dspy.errors import MissingFolder, UsageError
from tests.artifacts.export.programs import PROGRAMS

SHIPPED = PROGRAMS / "authorship" / "frozen" / "local"
FORMS = ("messages", "script", "dspy", "promptfoo", "hub")


def export(*words: str) -> Any:
    return CliRunner().invoke(export_command, [str(SHIPPED), *words])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_before_is_replaced_and_nothing_else_is(form: str, tmp_path: Path) -> None:
    files = exported(load_frozen(SHIPPED), form)
    write_export(files, tmp_path / "out")
    assert write_export(files, tmp_path / "out") == write_export(files, tmp_path / "out")
    assert names(tmp_path) == ["out"]
    mine = tmp_path / "mine"
    if len(files) > 1:
        mine.mkdir()
        mine /= next(iter(files))
    mine.write_text("my own\n")
    place = tmp_path / "mine"
    with pytest.raises(UsageError, match="mine") as refused:
        write_export(files, place)
    assert "--out" in refused.value.fix
    assert mine.read_text() == "my own\n"
    assert names(tmp_path) == ["mine", "out"]


def test_a_place_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    done = export("--to", "script", "--out", f"{tmp_path}/new/")
    assert done.exit_code == 0
    assert names(tmp_path / "new") == ["authorship_local.py"]


def test_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert export("--to", "messages", "--out", ".").exit_code == 0
    (tmp_path / "here" / "messages.json").unlink()
    done = export("--to", "hub", "--out", ".")
    assert isinstance(done.exception, UsageError)
    assert "where you are" in done.exception.message
    assert (names(tmp_path), names(tmp_path / "here")) == (["here"], [])
    assert export("--to", "hub", "--out", "hub").exit_code == 0
    assert names(tmp_path / "here") == ["hub"]


def test_what_could_not_be_written_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = exported(load_frozen(SHIPPED), "dspy")
    write_export(files, tmp_path / "out")

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_text", "_exchange"):
        with monkeypatch.context() as patched:
            patched.setattr(f"hyperalign_dspy.files.{name}", no_room)
            with pytest.raises(MissingFolder, match="No space"):
                write_export(files, tmp_path / "out")
        assert names(tmp_path) == ["out"]
        assert names(tmp_path / "out") == sorted(files)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        write_export(files, tmp_path / "out")


@pytest.mark.parametrize("name", ["os:path", "os:getcwd", "pathlib:Path"])
def test_what_is_no_format_is_said(name: str) -> None:
    done = export("--to", name)
    assert isinstance(done.exception, UsageError)
    assert "is no format" in done.exception.message
    assert "hub" in done.exception.fix
