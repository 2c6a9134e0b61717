"""JSON files that are whole or not there: written beside, then moved into place."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import DataError, MissingFolder


def dump(value: Any) -> str:
    """The one way that JSON is written here: sorted, indented, readable, ending in a line break."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, sort_keys=True, default=str, allow_nan=False)
    return text + "\n"


def _finite(value: Any) -> Any:
    """JSON has no nan: what is unknown is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turns what the system says of a place that cannot be written into what a person can do about it.

    Raises:
        MissingFolder: the folder cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise MissingFolder(
            f"Cannot write {place}: {error.strerror}.",
            fix="Free some room, or take a folder that you may write: go to one, or name one with --shelf.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file at once. Raises: MissingFolder."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def copy_folder(source: Path, place: Path) -> None:
    """Put a copy of a folder into place, whole or not at all. Raises: MissingFolder."""
    with writing(place):
        fresh = fresh_folder(place) / "copy"
        shutil.copytree(source, fresh)
        replace_folder(fresh, place)
        fresh.parent.rmdir()


def fresh_folder(place: Path) -> Path:
    """A new folder beside the one that it is to become."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))


def replace_folder(fresh: Path, place: Path) -> None:
    """Move a finished folder into place; what was there is gone only once the new one stands."""
    old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    if place.exists():
        os.replace(place, old / "was")
    os.replace(fresh, place)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file at once. Raises: MissingFolder."""
    write_text(path, dump(value))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it is not there, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}.") from error
