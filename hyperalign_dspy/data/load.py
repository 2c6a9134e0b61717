"""Reads corpora: files of rows, folders of texts, and data sets on a hub, all into users with samples."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.data.brief import asked, brief_for
from hyperalign_dspy.data.identity import digest_of
from hyperalign_dspy.data.voices import NAME, bundled_corpus
from hyperalign_dspy.errors import DataError
from hyperalign_dspy.types import Corpus, Sample, User

Row = Mapping[str, Any]
USUAL = {
    "user": ("user", "user_id", "author", "writer"),
    "text": ("text", "body", "content"),
    "request": ("request", "prompt", "title", "question"),
}
# Texts that begin alike for so many characters are one text, cut or lengthened.
_SAME_BEGINNING = 200
_HUB = re.compile(r"[\w.-]+/[\w.-]+(?::[\w.-]+)?(?:@[\w.-]+)?")


@dataclass(frozen=True)
class Columns:
    """Which column is what; empty: the usual names are tried (never for ``group``). ``where`` keeps rows by value."""

    user: str = ""
    text: str = ""
    request: str = ""
    group: str = ""
    where: tuple[tuple[str, str], ...] = ()


def load_corpus(source: str, columns: Columns | None = None, *, words: int = 80) -> Corpus:
    """Read a corpus: ``bundled``, a JSONL, JSON, CSV, TSV or Parquet file, a folder with one folder of texts a user, or
    a hub data set (``owner/name``, ``owner/name:config``, ``...@split``).

    Texts are trimmed, empty and repeated ones dropped. ``words`` is the budget in requests that are made here.

    Raises:
        DataError: what is wrong with the file or its columns, and what to type.
    """
    if source == NAME:
        return bundled_corpus()
    path, columns = Path(source).expanduser(), columns or Columns()
    if path.is_dir() and (texts := sorted(path.glob("*/*.txt")) + sorted(path.glob("*/*.md"))):
        rows: Iterable[Row] = ({"user": t.parent.name, "text": _decoded(t)} for t in texts)
    elif path.is_file():
        rows = read_rows(path)
    else:
        rows = _hub_rows(source, path)
    users = _users(rows, columns, words, source)
    return Corpus(path.stem or source, users, digest_of(users))


def read_samples(source: Path) -> tuple[Sample, ...]:
    """One person's samples: a text file, a folder of them, or a JSONL file with a text column.

    Raises:
        DataError: nothing to read there.
    """
    if source.is_dir():
        paths = sorted([*source.glob("*.txt"), *source.glob("*.md")])
        found = [Sample(_decoded(path).strip()) for path in paths]
    elif source.suffix in READERS:
        rows = list(read_rows(source))
        names = _found(rows[0] if rows else {}, Columns(), ("text",), str(source))
        request = next((n for n in USUAL["request"] if rows and n in rows[0]), "")
        found = [Sample(str(r[names["text"]]).strip(), str(r.get(request) or "")) for r in rows]
    else:
        found = [Sample(_decoded(source).strip())] if source.is_file() else []
    found = [sample for sample in found if sample.text]
    if not found:
        raise DataError(f"There are no texts in {source}.", fix="Give a text file, a folder of .txt files, or JSONL.")
    return tuple(found)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its ending.

    Raises:
        DataError: a missing, empty, binary or malformed file, with the line where there is one.
    """
    reader = READERS.get(path.suffix.lower())
    if not path.is_file():
        raise _absent(str(path), path)
    if reader is None:
        raise DataError(f"{path} has an ending that is not read here.", fix=f"Known: {', '.join(READERS)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    return reader(path)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if line.strip():
            yield _object(line, f"Line {number} of {path}")


def _object(text: str, where: str) -> Row:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise DataError(f"{where} is not a JSON object.")
    return value


def _json_list(path: Path) -> Iterator[Row]:
    try:
        value = json.loads(_decoded(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.", fix="One object a line? Then name it .jsonl.") from error
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path} is not a list of objects.")
    yield from value


def _separated(separator: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        yield from csv.DictReader(io.StringIO(_decoded(path), newline=""), delimiter=separator)

    return read


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error)[:200]}") from error
    yield from table.to_pylist()


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
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
            if b"\0" in head:
                raise DataError(f"{path} is not text: byte {head.index(0)} is zero.", fix="Give a text file in UTF-8.")
            return (head + file.read()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start} cannot be read.", fix="Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _hub_rows(source: str, path: Path) -> Iterable[Row]:
    """Rows of a hub data set, or of a local folder laid out like one."""
    if not path.is_dir() and (not _HUB.fullmatch(source) or path.suffix in READERS):
        raise _absent(source, path)
    import datasets

    name, _, split = source.partition("@")
    name, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(str(path) if path.is_dir() else name, config or None, split=split or "train")
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise DataError(
            f"The data set {source!r} cannot be loaded: {reason}",
            fix="Check the name and your connection, or give a file: --data FILE",
        ) from error
    rows: Iterable[Row] = loaded
    return rows


def _absent(source: str, path: Path) -> DataError:
    folder = path.parent
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    fix = f"Did you mean {' or '.join(str(folder / n) for n in near)}?" if near else "Give a file, folder or hub name."
    return DataError(f"There is no {source}.", fix=fix)


def _found(row: Row, columns: Columns, wanted: Iterable[str], source: str) -> dict[str, str]:
    """The column of each wanted meaning.

    Raises:
        DataError: naming the columns there are, and the option to type.
    """
    found = {}
    for meaning in wanted:
        given = getattr(columns, meaning)
        name = given or next((usual for usual in USUAL.get(meaning, ()) if usual in row), "")
        if name not in row:
            raise DataError(
                f"{source} has no column {given!r}." if given else f"{source} has no column for the {meaning}.",
                fix=f"Its columns: {', '.join(map(str, row)) or 'none'}. Name one: --{meaning}-column NAME",
            )
        found[meaning] = name
    return found


def _users(rows: Iterable[Row], columns: Columns, words: int, source: str) -> tuple[User, ...]:
    names: dict[str, str] = {}
    seen: set[str] = set()
    samples: dict[str, list[Sample]] = {}
    for row in rows:
        names = names or _names(row, columns, source)
        text = unicodedata.normalize("NFC", str(row.get(names["text"]) or "")).strip()
        start = " ".join(text.split()).casefold()[:_SAME_BEGINNING]
        kept = all(str(row.get(column)) == value for column, value in columns.where)
        if text and kept and start not in seen:
            seen.add(start)
            samples.setdefault(str(row[names["user"]]), []).append(_sample(row, text, names, words))
    if not samples:
        raise DataError(f"{source} has no texts" + (" in the rows that were asked for." if columns.where else "."))
    return tuple(User(user_id, tuple(found)) for user_id, found in sorted(samples.items()))


def _names(row: Row, columns: Columns, source: str) -> dict[str, str]:
    wanted = [
        "user",
        "text",
        *(["request"] if columns.request else []),
        *(["group"] if columns.group else []),
    ]
    names = _found(row, columns, wanted, source)
    for column, _ in columns.where:
        if column not in row:
            raise DataError(f"{source} has no column {column!r}.", fix=f"Its columns: {', '.join(map(str, row))}.")
    guessed = next((name for name in USUAL["request"] if name in row), "")
    return {**names, "request": names.get("request", guessed), "group": names.get("group", "")}


def _sample(row: Row, text: str, names: Mapping[str, str], words: int) -> Sample:
    own = str(row.get(names["request"]) or "").strip() if names["request"] else ""
    group = row.get(names["group"]) if names["group"] else ""
    listed = " ".join(map(str, group)) if isinstance(group, list) else str(group or "")
    return Sample(text, asked(own, words) if own else brief_for(text, words), listed)
