"""Finds programs and recipes: an explicit shelf, the project, the user's data folder, then what is packaged."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hyperalign_dspy.errors import MissingFolder
from hyperalign_dspy.registry import unknown

PROGRAMS, RECIPES = "programs", "optimizers"


def _roots() -> Iterator[tuple[str, Path]]:
    """Every (origin, folder) that may hold ``programs/`` and ``optimizers/``, the first match winning."""
    explicit = os.environ.get("HYPERALIGN_SHELF")
    if explicit:
        yield "shelf", Path(explicit)
    yield "project", Path.cwd()
    yield "user", user_data()


def user_data() -> Path:
    """The user's own data folder, by the platform's custom."""
    if sys.platform == "darwin":
        base = Path.home() / "Library/Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return base / "hyperalign"


def packaged(kind: str) -> Path:
    """The folder that ships with the package: inside the wheel, or beside it in an editable install."""
    package = Path(__file__).parents[1]
    inside = package / f"_{kind}"
    beside = package.parent / kind
    return beside if not inside.is_dir() and (package.parent / "pyproject.toml").is_file() else inside


def _folders(kind: str) -> Iterator[tuple[str, Path]]:
    """Every existing (origin, folder) of one kind, each folder once."""
    seen: set[Path] = set()
    for origin, folder in [*((o, root / kind) for o, root in _roots()), ("packaged", packaged(kind))]:
        if folder.is_dir() and folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield origin, folder


def listing(kind: str) -> dict[str, tuple[str, Path]]:
    """name -> (origin, path) of every program (a folder with program.toml) or recipe (a .toml file)."""
    found: dict[str, tuple[str, Path]] = {}
    for origin, folder in _folders(kind):
        paths = folder.glob("*/program.toml") if kind == PROGRAMS else folder.glob("*.toml")
        for path in sorted(paths):
            name = path.parent.name if kind == PROGRAMS else path.stem
            found.setdefault(name, (origin, path))
    return found


def find_file(kind: str, name: str) -> Path:
    """The path of a program.toml or a recipe; ``name`` may also be a path to one.

    Raises:
        UnknownName: nothing goes by that name.
    """
    if name.endswith(".toml") and Path(name).is_file():
        return Path(name)
    known = listing(kind)
    if name not in known:
        raise unknown("program" if kind == PROGRAMS else "recipe", name, known)
    return known[name][1]


def frozen_folders(program: str) -> dict[str, Path]:
    """model slug -> folder of every frozen program of that name, the nearest shelf winning."""
    found: dict[str, Path] = {}
    for _, folder in _folders(PROGRAMS):
        # A name that begins with a dot is one that was being written.
        for manifest in sorted((folder / program / "frozen").glob("[!.]*/manifest.json")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def writable_frozen(program: str, slug: str) -> Path:
    """Where a new frozen program goes: an explicit shelf, the project's programs/, else the user's data folder."""
    for origin, root in _roots():
        if origin == "shelf" or (root / PROGRAMS).is_dir() or origin == "user":
            return root / PROGRAMS / program / "frozen" / slug
    raise MissingFolder("There is no folder to freeze into.", fix="Name one: hyperalign --shelf FOLDER ...")
