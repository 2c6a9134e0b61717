"""Takes one user's texts out of what runs have recorded.

A record is theirs if it holds any of their texts (`hyperalign_dspy.metrics.traces`) or others by a user of the corpus
who wrote one of these, if it is of such a user or of one who goes by their name, or if it holds whole what a model said
in answer to such a record: hypotheses about them, drafts in their name; or if it is what came of such calls. Rather
too many than too few: what is struck beyond is only asked again.

Records go line by line; pages and logs as a whole. Where anything else of a run holds their texts
(candidates or a program made of them), the run cannot be kept, and goes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.metrics.traces import SHORTEST, Traces, letters
from hyperalign_dspy.search.record.outcomes import OUTCOMES
from hyperalign_dspy.search.record.outputs import OUTPUTS
from hyperalign_dspy.search.record.runs import home
from hyperalign_dspy.shelf.files import write_text, writing
from hyperalign_dspy.shelf.locate import PROGRAMS, folders

CALLS = "calls.jsonl"
# Made from the rest, and made again on request.
_PAGES = frozenset({".html", ".log"})
# One JSON object a line.
_LINES = frozenset({".jsonl", ".journal"})


@dataclass(frozen=True)
class Person:
    """Whose texts are to go: the name, what they wrote, and what is believed of them."""

    name: str
    texts: tuple[str, ...]
    claims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """What one folder holds of a person: file -> the lines to strike, the pages to delete, and ``whole``: the file for
    whose sake all of it has to go, or "".
    """

    folder: Path
    lines: Mapping[str, frozenset[int]] = field(default_factory=dict)
    pages: tuple[str, ...] = ()
    whole: str = ""


def held(person: Person, homes: Iterable[Path] = ()) -> list[Held]:
    """Every folder of recorded calls that holds anything of a person, among this project's runs and in ``homes``."""
    found = [_in(folder, person) for folder in _record_folders([home(), *homes])]
    return [one for one in found if one.lines or one.pages or one.whole]


def purge(found: Sequence[Held]) -> None:
    """Strike, delete and remove what was found.

    Raises:
        UsageError: a run is at work. MissingFolder: a folder cannot be written.
    """
    for one in found:
        guard = FileLock(f"{one.folder / CALLS}.lock")
        try:
            with guard.acquire(timeout=0), writing(one.folder):
                _purge(one)
        except Timeout as error:
            raise UsageError(
                f"{one.folder.name} is in use by another process.",
                fix="Stop it, or wait for it; then give the same command again.",
            ) from error


def frozen_with(person: Person) -> list[Path]:
    """Frozen programs on any shelf that hold texts of a person. They are not changed: none would load any more."""
    traces = Traces(person.texts)
    manifests = {m.resolve() for _, root in folders(PROGRAMS) for m in root.glob("*/frozen/[!.]*/manifest.json")}
    return sorted(m.parent for m in manifests if any(traces(_text(path)) for path in _files(m.parent)))


def _purge(one: Held) -> None:
    if one.whole:
        shutil.rmtree(one.folder)
        return
    for name, struck in one.lines.items():
        path = one.folder / name
        lines = _lines(path)
        write_text(path, "".join(line for number, line in enumerate(lines) if number not in struck))
    for name in one.pages:
        (one.folder / name).unlink(missing_ok=True)


def _record_folders(homes: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for runs in homes:
        own = [path for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
        for folder in sorted([*own, runs.parent / "judge"]):
            # Whatever else lies beside them is none of ours: a run has a plan, and whoever called a model a record.
            ours = any((folder / name).is_file() for name in ("plan.json", CALLS))
            if ours and folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder


def _in(folder: Path, person: Person) -> Held:
    records = {path: [_row(line) for line in _lines(path)] for path in sorted(folder.rglob("*.jsonl"))}
    told = [row for path, rows in records.items() if path.name in (OUTPUTS, OUTCOMES) for row in rows]
    theirs, texts = _theirs(told, person)
    traces = Traces([*person.texts, *texts])
    struck = {
        path: {n for n, row in enumerate(rows) if _id(row) in theirs or _holds(row, traces)}
        for path, rows in records.items()
    }
    gone = set[str]()
    for path in (path for path in records if path.name == CALLS):
        struck[path] |= _answering(records[path], struck[path], person.claims)
        gone |= {str(_cell(records[path][n], "key")) for n in struck[path]}
    for path in (path for path in records if path.name == OUTCOMES):
        struck[path] |= _made_of(records[path], gone)
    lines = {str(path.relative_to(folder)): frozenset(found) for path, found in struck.items() if found}
    others = [path for path in _files(folder) if path not in records and path.suffix != ".lock"]
    pages = [path for path in others if path.suffix in _PAGES]
    whole = next((path for path in others if path not in pages and traces(_text(path))), None)
    stale = tuple(str(path.relative_to(folder)) for path in pages if lines or traces(_text(path)))
    return Held(folder, lines, stale, str(whole.relative_to(folder)) if whole else "")


def _theirs(told: Sequence[Any], person: Person) -> tuple[set[str], list[str]]:
    """Who of a corpus the person is, and everything that these wrote as far as it is recorded.

    Whoever merely goes by their name may be another: of such a user only the lines go.
    """
    traces = Traces(person.texts)
    wrote = {_id(row) for row in told if traces(str(_cell(row, "reference")))} - {""}
    named = {_id(row) for row in told if _id(row).casefold() == person.name.casefold()} - {""}
    return wrote | named, [str(_cell(row, "reference")) for row in told if _id(row) in wrote]


def _holds(row: Any, traces: Traces) -> bool:
    """Whether a record holds any of the texts, or one of its messages or its reference is one, however short."""
    messages = _cell(_cell(row, "request"), "messages") or []
    alone = [str(_cell(row, "reference")), *(str(_cell(message, "content")) for message in messages)]
    return any(map(traces, _strings(row))) or any(map(traces.one, alone))


def _answering(rows: Sequence[Any], struck: set[int], claims: Sequence[str]) -> set[int]:
    """The calls that hold whole what was said in answer to struck ones, or to these, and so on."""
    asked = [" ".join(letters(text) for text in _strings(_cell(row, "request"))) for row in rows]
    found: set[int] = set()
    told = _told(claims)
    fresh = set(struck)
    while told or fresh:
        told |= {text for number in fresh for text in _told(_said(rows[number]))}
        fresh = {n for n, text in enumerate(asked) if n not in struck | found and any(t in text for t in told)}
        found |= fresh
        told = set()
    return found


def _made_of(rows: Sequence[Any], gone: set[str]) -> set[int]:
    """The outcomes of calls that are struck."""
    return {n for n, row in enumerate(rows) if not gone.isdisjoint(map(str, _cell(row, "asked")))}


def _told(texts: Iterable[str]) -> set[str]:
    return {plain for text in texts if len(plain := letters(text)) >= 2 * SHORTEST}


def _said(row: Any) -> Iterator[str]:
    """An answer, and where it is JSON, each text in it."""
    answer = str(_cell(row, "text"))
    yield answer
    yield from _strings(_row(answer))


def _id(row: Any) -> str:
    return str(_cell(row, "user"))


def _cell(row: Any, name: str) -> Any:
    return row.get(name) or "" if isinstance(row, dict) else ""


def _strings(value: Any) -> Iterator[str]:
    """Every text in plain data; keys too, since anything may be one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _row(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def _lines(path: Path) -> list[str]:
    # Not `splitlines`, which ends a line at signs that a text may hold.
    return re.findall(r"[^\n]*\n|[^\n]+", path.read_text(encoding="utf-8", errors="replace"))


def _text(path: Path) -> str:
    """What a file says: of JSON, with what it spells out in escapes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in _LINES:
        return "\n".join(said for line in text.split("\n") for said in _strings(_row(line)))
    return "\n".join(_strings(_row(text))) if path.suffix == ".json" else text


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
