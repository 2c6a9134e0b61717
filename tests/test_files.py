"""A file that is replaced stays what it was to everybody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperalign_dspy.errors import MissingFolder
from hyperalign_dspy.files import write_folder, write_text


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_gets_the_usual_mode_and_an_old_one_keeps_its_own(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "1")
    assert mode(path) == 0o666 & ~umask
    for kept in (0o644, 0o600, 0o755):
        path.chmod(kept)
        write_text(path, "2")
        assert mode(path) == kept
    write_text(path, "3", private=True)
    write_text(tmp_path / "b", "3", private=True)
    assert {mode(path), mode(tmp_path / "b")} == {0o600}


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "\udcff")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_cannot_be_put_into_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "a", {"b": "old"})
    replace, refused = os.replace, []

    def refuse_once(source: Path, target: Path) -> None:
        if target == tmp_path / "a" and not refused:
            refused.append(source)
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_once)
    with pytest.raises(MissingFolder, match="No space"):
        write_folder(tmp_path / "a", {"b": "new"})
    with pytest.raises(UnicodeEncodeError):
        write_folder(tmp_path / "a", {"b": "new", "c": "\udcff"})
    assert len(refused) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "b").read_text() == "old"
    write_folder(tmp_path / "a", {"c": "new"})
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c"]
    with pytest.raises(MissingFolder):
        write_text(tmp_path / "a" / "c" / "d", "x")
