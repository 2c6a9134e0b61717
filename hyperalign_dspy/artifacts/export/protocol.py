"""What a format is, and how a frozen program is put into one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from hyperalign_dspy import registry
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import fresh_folder, replace_folder, write_text, writing

_EXPORTERS: Mapping[str, str] = {
    "messages": "hyperalign_dspy.artifacts.export.messages:Messages",
    "script": "hyperalign_dspy.artifacts.export.script:Script",
    "dspy": "hyperalign_dspy.artifacts.export.plain_dspy:PlainDspy",
    "promptfoo": "hyperalign_dspy.artifacts.export.promptfoo:Promptfoo",
    "hub": "hyperalign_dspy.artifacts.export.hub:Hub",
}
# Every format holds it in one of its files: what was exported here once, and may be replaced.
_MARK = re.compile(r'"manifest_sha256": "[0-9a-f]{64}"')
_ELSEWHERE = "Name a new place with --out, or remove what is there."
_FORMATS = f"Known: {', '.join(_EXPORTERS)}; or MODULE:CLASS."


class Exporter(Protocol):
    """One format. A class like this is all it takes: named in `_EXPORTERS`, or as
    ``module:Class``.
    """

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """The export as texts by file name: one is a file of its own, several are a folder.

        Raises:
            UsageError: this program cannot be said in this format, with the one that can say it.
        """


def exported(frozen: Frozen, name: str) -> dict[str, str]:
    """A frozen program in the named format, as texts by file name.

    Raises:
        UnknownName: no such format. UsageError: what is named is no format, or see `Exporter.files`.
    """
    found = registry.resolve("format", name, _EXPORTERS)
    if not isinstance(found, type) or not callable(getattr(found, "files", None)):
        raise UsageError(f"{name} is no format: it is not a class with a method `files`.", fix=_FORMATS)
    exporter: Exporter = found()
    return dict(exporter.files(frozen))


def write(files: Mapping[str, str], place: Path, *, folder: bool = False) -> list[Path]:
    """Write an export: one file to ``place`` (into it, if it is a folder or is to be one), several into the folder
    ``place``, whole or not at all. An export of before is replaced; returns the paths in full.

    Raises:
        UsageError: something else is there, which is left alone. MissingFolder: it cannot be written.
    """
    place = place.resolve()
    if len(files) > 1:
        _write_folder(files, place)
        return [place / name for name in files]
    name, text = next(iter(files.items()))
    path = place / name if folder or place.is_dir() else place
    if path.is_file() and not _is_ours(path):
        raise UsageError(f"{path} is there, and is no export of before.", fix=_ELSEWHERE)
    write_text(path, text)
    return [path]


def _write_folder(files: Mapping[str, str], place: Path) -> None:
    _refuse_others(files, place)
    with writing(place):
        fresh = fresh_folder(place)
        try:
            fresh.chmod(0o755)
            for name, text in files.items():
                write_text(fresh / name, text)
            replace_folder(fresh, place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _refuse_others(files: Mapping[str, str], place: Path) -> None:
    """Only what is not there, an empty folder, or an export of before may be replaced."""
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file, and this export is a folder.", fix=_ELSEWHERE)
    there = sorted(place.iterdir()) if place.is_dir() else []
    strange = [path.name for path in there if path.name not in files]
    if strange or (there and not any(map(_is_ours, there))):
        raise UsageError(f"{place} holds something else: {(strange or [there[0].name])[0]}.", fix=_ELSEWHERE)
    if place.is_dir() and Path.cwd().resolve().is_relative_to(place):
        raise UsageError(f"{place} is where you are, and cannot be put in place whole.", fix=_ELSEWHERE)


def _is_ours(path: Path) -> bool:
    """Whether a file says which manifest it was exported from."""
    try:
        return bool(_MARK.search(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
