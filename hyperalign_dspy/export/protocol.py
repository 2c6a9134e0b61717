"""What a format is, and how a frozen program is put into one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.shelf.files import fresh_folder, replace_folder, write_text, writing
from hyperalign_dspy.shelf.frozen import Frozen


class Exporter(Protocol):
    """One format. A class like this is all it takes: named in `hyperalign_dspy.registry.EXPORTERS`, or as
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
        UnknownName: no such format. UsageError: see `Exporter.files`.
    """
    exporter: Exporter = registry.resolve("format", name, registry.EXPORTERS)()
    return dict(exporter.files(frozen))


def write(files: Mapping[str, str], place: Path) -> list[Path]:
    """Write an export: one file to ``place``, several into the folder ``place``, whole or not at all.

    Raises:
        UsageError: something else is there, which is left alone. MissingFolder: it cannot be written.
    """
    if len(files) == 1:
        if place.is_dir():
            place = place / next(iter(files))
        write_text(place, next(iter(files.values())))
        return [place]
    strange = [p.name for p in place.iterdir() if p.name not in files] if place.is_dir() else []
    if strange or place.is_file():
        raise UsageError(
            f"{place} holds something else{': ' + strange[0] if strange else ''}.", fix="Name a new folder with --out."
        )
    with writing(place):
        fresh = fresh_folder(place)
        fresh.chmod(0o755)
        for name, text in files.items():
            write_text(fresh / name, text)
            (fresh / name).chmod(0o644)
        replace_folder(fresh, place)
    return [place / name for name in files]
