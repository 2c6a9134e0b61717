"""JSON files that are whole or not there: written beside, then moved into place."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import DataError, MissingFolder


def dump(value: Any) -> str:
    """The one way that JSON is written here: sorted, indented, readable, ending in a line break."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, sort_keys=True, default=str, allow_nan=False)
    return text + "\n"


def digest(value: Any) -> str:
    """SHA-256 of plain data, or of a dataclass that holds some; the same for equal content."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def _finite(value: Any) -> Any:
    """JSON has no nan: what is unknown is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def write_guard(place: Path) -> Iterator[None]:
    """Turns what the system says of a place that cannot be written into what a person can do about it.

    Raises:
        MissingFolder: the folder cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise MissingFolder(
            f"Cannot write {place}: {error.strerror}.",
            fix="Free some room, or take a folder that you may write: go to one, or hyperalign --shelf FOLDER ...",
        ) from error


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Replace a file at once. It keeps its mode; a new one gets the usual one. ``private``: its owner's alone.

    Raises:
        MissingFolder: it cannot be written.
    """
    with write_guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            if path.exists() and not private:
                name.chmod(stat.S_IMODE(path.stat().st_mode))
            os.replace(name, path)
        except (OSError, UnicodeError):
            name.unlink(missing_ok=True)
            raise


def write_folder(place: Path, texts: Mapping[str, str]) -> None:
    """Replace a folder by one that holds these texts, by file name, whole or not at all. Raises: MissingFolder."""
    with replace_folder(place) as fresh:
        fresh.chmod(0o755)
        for name, text in texts.items():
            write_text(fresh / name, text)


@contextmanager
def replace_folder(place: Path) -> Iterator[Path]:
    """A new folder beside ``place``, its owner's alone, to be filled; then it takes the place of what was there.

    Whatever fails leaves all as it was. Raises: MissingFolder: it cannot be written, or a file is in the way.
    """
    with write_guard(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(place)
        try:
            yield fresh
            _exchange(fresh, place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _beside(place: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))


def _exchange(fresh: Path, place: Path) -> None:
    old = _beside(place)
    try:
        if place.is_dir():
            os.replace(place, old / "was")
        os.replace(fresh, place)
    except OSError:
        if (old / "was").exists():
            os.replace(old / "was", place)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """Replace a JSON file at once; see `write_text`. Raises: MissingFolder."""
    write_text(path, dump(value), private=private)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: DataError: it is not there, or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}.") from error
