"""A corpus that is described once, in a TOML file, and not by options each time.

schema = 1
source = "letters.jsonl"   # beside this file; or bundled, or a hub data set's name
user = "author"            # the columns; those that go by a usual name need not be named
text = "body"
request = "title"
group = "book"
mask = ["names"]
[where]
kind = "sample"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hyperalign_dspy.data.load import _HUB, _READERS, Columns
from hyperalign_dspy.data.voices import BUNDLED
from hyperalign_dspy.errors import DataError

_ROLES = ("user", "text", "request", "group")
_FIX = (
    'A corpus file begins with schema = 1 and source = "...", and may have user, text, request, group, mask, [where].'
)


def described(source: str, columns: Columns) -> tuple[str, Columns]:
    """The source and columns that a TOML file says, as options would have said them; any other source as it is.

    ``columns`` are what is given beside the file: each wins over the file's own, and rows have to pass both ``where``.

    Raises:
        DataError: the file cannot be read, or describes no corpus.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() != ".toml":
        return source, columns
    said = _read(path)
    names = {role: getattr(columns, role) or said.get(role, "") for role in _ROLES}
    where = tuple((column, str(value)) for column, value in said.get("where", {}).items())
    masks = columns.masks or tuple(said.get("mask", ()))
    return _located(said["source"], path.parent), Columns(**names, where=where + columns.where, masks=masks)


def _read(path: Path) -> dict[str, Any]:
    try:
        said = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", fix=_FIX) from error
    except ValueError as error:
        raise DataError(f"{path} is not valid TOML: {error}.", fix=_FIX) from error
    if not said.get("source"):
        raise DataError(f"{path} names no source.", fix=_FIX)
    for key, value in {"schema": None, **said}.items():
        if not _fits(key, value):
            raise DataError(f"{path}: {key} is {value!r}, which a corpus file does not have.", fix=_FIX)
    return said


def _fits(key: str, value: Any) -> bool:
    """Whether a corpus file may have this; a value that rows are kept by is a text or a whole number."""
    if key == "schema":
        return type(value) is int and value == 1
    if key == "mask":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == "where":
        return isinstance(value, dict) and all(type(each) in (str, int) for each in value.values())
    return key in ("source", *_ROLES) and isinstance(value, str)


def _located(source: str, folder: Path) -> str:
    """A source as an option would name it: what lies beside the file by its path, all else as it is."""
    beside = folder / Path(source).expanduser()
    on_hub = _HUB.fullmatch(source) and Path(source).suffix not in _READERS
    return source if source == BUNDLED or (on_hub and not beside.exists()) else str(beside)
