"""Reads corpora: files of rows, folders of texts, and data sets on a hub, all into users with samples."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import json
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hyperalign_dspy.data.brief import request_for
from hyperalign_dspy.data.mask import mask
from hyperalign_dspy.data.voices import BUNDLED, bundled_corpus, digest_of
from hyperalign_dspy.errors import DataError
from hyperalign_dspy.types import Corpus, Sample, User

_Row = Mapping[str, Any]
USUAL = {
    "user": ("user", "user_id", "author", "writer"),
    "text": ("text", "body", "content"),
    "request": ("request", "prompt", "title", "question"),
}
# Texts that begin alike for so many characters are one text, cut or lengthened.
_SAME_BEGINNING = 200
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_HUB = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?(?:@[\w.-]+)?")
_ROLES = ("user", "text", "request", "group")
_CORPUS_FILE = (
    'A corpus file begins with schema = 1 and source = "...", and may have user, text, request, group, mask, [where].'
)


@dataclass(frozen=True)
class Columns:
    """Which column is what; empty: the usual names are tried (never for ``group``). ``where`` keeps rows by value.

    ``masks`` are taken out of every text (see `hyperalign_dspy.data.mask`).
    """

    user: str = ""
    text: str = ""
    request: str = ""
    group: str = ""
    where: tuple[tuple[str, str], ...] = ()
    masks: tuple[str, ...] = ()


def load_corpus(source: str, columns: Columns | None = None, *, words: int = 80) -> Corpus:
    """Read a corpus: ``bundled``, a JSONL, JSON, CSV, TSV or Parquet file, a folder with one folder of texts a user, or
    a hub data set (``owner/name``, ``owner/name:config``, ``...@split``).

    Texts are trimmed, empty and repeated ones dropped. ``words`` is the budget in requests that are made here.

    Raises:
        DataError: what is wrong with the file or its columns, and what to type.
    """
    columns = columns or Columns()
    if source == BUNDLED:
        return _masked(bundled_corpus(), columns)
    path = Path(source).expanduser()
    if path.is_dir() and (texts := _texts(path)):
        rows: Iterable[_Row] = ({"user": t.parent.name, "text": _decoded(t)} for t in texts)
    elif path.is_file():
        rows = read_rows(path)
    else:
        rows = hub_rows(source, path)
    users = _users(rows, columns, words, source)
    return _masked(Corpus(path.stem or source, users, digest_of(users)), columns)


def _masked(corpus: Corpus, columns: Columns) -> Corpus:
    """The corpus without what is to be taken out of its texts: another corpus."""
    users = mask(corpus.users, columns.masks)
    return replace(corpus, users=users, digest=digest_of(users)) if columns.masks else corpus


def _texts(folder: Path) -> list[Path]:
    """The texts in one folder a user; one that is hidden, or holds files of rows, is no user."""
    users = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    people = [p for p in users if not any(file.suffix.lower() in _READERS for file in p.iterdir())]
    return [text for end in ("*.txt", "*.md") for person in people for text in sorted(person.glob(end))]


def read_samples(source: Path) -> tuple[Sample, ...]:
    """One person's samples: a text file, a folder of them, or a JSONL file with a text column.

    Raises:
        DataError: nothing to read there.
    """
    if source.is_dir():
        paths = sorted([*source.glob("*.txt"), *source.glob("*.md")])
        found = [Sample(_decoded(path).strip()) for path in paths]
    elif source.suffix.lower() in _READERS:
        rows = list(read_rows(source))
        names = _found(rows[0] if rows else {}, Columns(), ("text",), str(source))
        request = next((n for n in USUAL["request"] if any(n in row for row in rows)), "")
        for number, row in enumerate(rows, 1):
            if names["text"] not in row:
                raise DataError(f"Row {number} of {source} has no {names['text']!r}.", fix="Give it one, or delete it.")
        found = [Sample(_string(row[names["text"]]), str(row.get(request) or "")) for row in rows]
    else:
        found = [Sample(_decoded(source).strip())] if source.is_file() else []
    found = [sample for sample in found if sample.text]
    if not found:
        raise DataError(f"There are no texts in {source}.", fix="Give a text file, a folder of .txt files, or JSONL.")
    return tuple(found)


def read_rows(path: Path) -> Iterator[_Row]:
    """The rows of a file, by its ending.

    Raises:
        DataError: a missing, empty, binary or malformed file, with the line where there is one.
    """
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file():
        raise _absent(str(path), path)
    if reader is None:
        raise DataError(f"{path} has an ending that is not read here.", fix=f"Known: {', '.join(_READERS)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.", fix="Give a file with rows.")
    return reader(path)


def _json_lines(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"Line {number} of {path}"
        try:
            value = _loaded(line)
        except ValueError as error:
            raise DataError(f"{where} is not JSON: {error}.", fix="Mend or delete that line.") from error
        if not isinstance(value, dict):
            fix = 'Write one object a line: {"user": "a", "text": "..."}'
            raise DataError(f"{where} is not a JSON object.", fix=fix)
        yield value


def _loaded(text: str) -> Any:
    """What JSON says. Half a character, which it can spell and no file could hold, becomes a ?."""
    value = json.loads(text)
    if not _ESCAPED_HALF.search(text):
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _json_list(path: Path) -> Iterator[_Row]:
    try:
        value = _loaded(_decoded(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.", fix="One object a line? Then name it .jsonl.") from error
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path} is not a list of objects.", fix='Write [{"user": "a", "text": "..."}, ...]')
    yield from value


def _separated(separator: str) -> Callable[[Path], Iterator[_Row]]:
    def read(path: Path) -> Iterator[_Row]:
        lines = csv.DictReader(io.StringIO(_decoded(path), newline=""), delimiter=separator)
        try:
            yield from lines
        except csv.Error as error:
            where = f"Line {lines.line_num + 1} of {path}"
            raise DataError(f"{where} cannot be read: {error}.", fix="Store such texts as .jsonl.") from error

    return read


def _parquet(path: Path) -> Iterator[_Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        reason = _reason(error)
        raise DataError(f"{path} cannot be read as Parquet: {reason}", fix="Write the file again.") from error
    yield from table.to_pylist()


_READERS: Mapping[str, Callable[[Path], Iterator[_Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_list,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}


def _decoded(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            # The beginning is looked at first, so that a huge binary file is refused without being read.
            _refuse_zero(path, head)
            codecs.getincrementaldecoder("utf-8")().decode(head)
            data = head + file.read()
        _refuse_zero(path, data)
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start} cannot be read.", fix="Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _refuse_zero(path: Path, data: bytes) -> None:
    if (place := data.find(b"\0")) >= 0:
        raise DataError(f"{path} is not text: byte {place} is zero.", fix="Give a text file in UTF-8.")


def _reason(error: Exception) -> str:
    """The first line of what a library says, and of its cause, cut to a screen's width or two."""
    said = f"{error}".strip() or type(error).__name__
    cause = f": {error.__cause__}" if error.__cause__ else ""
    return f"{said}{cause}".splitlines()[0][:200]


def hub_rows(source: str, path: Path) -> Iterable[_Row]:
    """Rows of a hub data set, or of a local folder laid out like one."""
    if not path.is_dir() and (not _HUB.fullmatch(source) or path.suffix in _READERS):
        raise _absent(source, path)
    import datasets

    name, _, split = source.partition("@")
    name, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(str(path) if path.is_dir() else name, config or None, split=split or "train")
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        here = "Give it one folder of .txt files a user, or files of rows (.jsonl, .csv, .parquet)."
        afar = "Check the name and your connection, or give a file: --data FILE"
        raise DataError(
            f"The data set {source!r} cannot be loaded: {_reason(error)}", fix=here if path.is_dir() else afar
        ) from error
    return cast("Iterable[_Row]", loaded)


def _absent(source: str, path: Path) -> DataError:
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    meant = " or ".join(str(folder / name) for name in near)
    fix = f"Did you mean {meant}?" if near else "Give a file, folder or hub name."
    return DataError(f"There is no {source}.", fix=fix)


def _found(row: _Row, columns: Columns, wanted: Iterable[str], source: str) -> dict[str, str]:
    """The column of each wanted meaning; the error for a missing one names those there are."""
    found = {}
    for meaning in wanted:
        given = getattr(columns, meaning)
        name = given or next((usual for usual in USUAL.get(meaning, ()) if usual in row), "")
        if name not in row:
            raise DataError(
                f"{source} has no column {given!r}." if given else f"{source} has no column for the {meaning}.",
                fix=f"Its columns: {', '.join(map(str, row)) or 'none'}. Name one: --column {meaning}=NAME",
            )
        found[meaning] = name
    return found


def _users(rows: Iterable[_Row], columns: Columns, words: int, source: str) -> tuple[User, ...]:
    names: dict[str, str] = {}
    seen: set[str] = set()
    samples: dict[str, list[Sample]] = {}
    for number, row in enumerate(rows, 1):
        names = names or _names(row, columns, source)
        text = _string(row.get(names["text"]))
        start = " ".join(text.split()).casefold()[:_SAME_BEGINNING]
        kept = all(str(row.get(column)) == value for column, value in columns.where)
        if text and kept and start not in seen:
            seen.add(start)
            user_id = _string(row.get(names["user"]))
            if not user_id:
                fix = f"Fill its column {names['user']!r}, or delete the row."
                raise DataError(f"Row {number} of {source} names no user.", fix=fix)
            samples.setdefault(user_id, []).append(_sample(row, text, names, words))
    if not samples:
        asked_for = " in the rows that were asked for" if columns.where else ""
        raise DataError(f"{source} has no texts{asked_for}.", fix="Look at its text column, and at --where.")
    return tuple(User(user_id, tuple(found)) for user_id, found in sorted(samples.items()))


def _names(row: _Row, columns: Columns, source: str) -> dict[str, str]:
    wanted = ["user", "text", *(name for name in ("request", "group") if getattr(columns, name))]
    names = _found(row, columns, wanted, source)
    for column, _ in columns.where:
        if column not in row:
            raise DataError(f"{source} has no column {column!r}.", fix=f"Its columns: {', '.join(map(str, row))}.")
    guessed = next((name for name in USUAL["request"] if name in row), "")
    return {**names, "request": names.get("request", guessed), "group": names.get("group", "")}


def _sample(row: _Row, text: str, names: Mapping[str, str], words: int) -> Sample:
    own = str(row.get(names["request"]) or "") if names["request"] else ""
    group = row.get(names["group"]) if names["group"] else ""
    listed = " ".join(map(str, group)) if isinstance(group, list) else _string(group)
    return Sample(text, request_for(text, words, own), listed)


def _string(value: Any) -> str:
    """A cell as trimmed text. Only a missing cell is empty: 0 is a name like any other."""
    return "" if value is None else unicodedata.normalize("NFC", str(value)).strip()


def described(source: str, columns: Columns) -> tuple[str, Columns]:
    """The source and columns that a TOML file says, as options would have said them; any other source as it is:

        schema = 1
        source = "letters.jsonl"   # beside this file; or bundled, or a hub data set's name
        user = "author"            # the columns; those that go by a usual name need not be named
        text = "body"
        request = "title"
        group = "book"
        mask = ["names"]
        [where]
        kind = "sample"

    ``columns`` are what is given beside the file: each wins over the file's own, and rows have to pass both ``where``.

    Raises:
        DataError: the file cannot be read, or describes no corpus.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() != ".toml":
        return source, columns
    said = _described_in(path)
    names = {role: getattr(columns, role) or said.get(role, "") for role in _ROLES}
    where = tuple((column, str(value)) for column, value in said.get("where", {}).items())
    masks = columns.masks or tuple(said.get("mask", ()))
    return _located(said["source"], path.parent), Columns(**names, where=where + columns.where, masks=masks)


def _described_in(path: Path) -> dict[str, Any]:
    try:
        said = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", fix=_CORPUS_FILE) from error
    except ValueError as error:
        raise DataError(f"{path} is not valid TOML: {error}.", fix=_CORPUS_FILE) from error
    if not said.get("source"):
        raise DataError(f"{path} names no source.", fix=_CORPUS_FILE)
    for key, value in {"schema": None, **said}.items():
        if not _fits(key, value):
            raise DataError(f"{path}: {key} is {value!r}, which a corpus file does not have.", fix=_CORPUS_FILE)
    return said


def _fits(key: str, value: Any) -> bool:
    """Whether a corpus file may have this; rows are kept by a text or a whole number."""
    if key == "schema":
        return type(value) is int and value == 1
    if key == "mask":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == "where":
        return isinstance(value, dict) and all(type(each) in (str, int) for each in value.values())
    return key in ("source", *_ROLES) and isinstance(value, str)


def _located(source: str, folder: Path) -> str:
    """A source as an option would name it: by its path where it lies beside the file."""
    beside = folder / Path(source).expanduser()
    on_hub = _HUB.fullmatch(source) and Path(source).suffix not in _READERS
    return source if source == BUNDLED or (on_hub and not beside.exists()) else str(beside)
