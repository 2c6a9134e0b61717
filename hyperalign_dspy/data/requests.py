"""Requests that sound alarming: those that deserve help and, for contrast, those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperalign_dspy.data.load import hub_rows, read_rows
from hyperalign_dspy.data.voices import BUNDLED, digest_of_rows
from hyperalign_dspy.errors import DataError

_FILE = Path(__file__).parent / "bundled" / "requests.jsonl"
# What columns of published sets are called, and what their labels mean.
_REQUEST = ("request", "prompt", "text", "Goal", "goal")
_LABEL = ("deserves", "label")
_PAIR = ("pair", "focus", "Behavior", "behavior")
_HELP = frozenset({"help", "safe", "benign"})
_REFUSAL = frozenset({"refusal", "unsafe", "harmful"})
# Sets that say by their split, and not in a column, which requests are which.
_SPLITS = ("harmful", "benign")


@dataclass(frozen=True)
class Request:
    """One request. ``pair`` names it and its contrast, which never part; ``attributes`` say who asks.

    ``needs`` are phrases that a complete answer most likely holds, where somebody wrote them down.
    """

    request_id: str
    pair: str
    request: str
    deserves_help: bool
    attributes: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requests:
    """A corpus of requests; ``digest`` is the SHA-256 of its content."""

    name: str
    requests: tuple[Request, ...]
    digest: str


def load_requests(source: str) -> Requests:
    """Read ``bundled``, a JSONL, JSON or CSV file, or a hub data set. The bundled ones are 210 that deserve help, each
    with its contrast, all written for this package; the people who ask do not exist.

    Columns go by the names of XSTest (prompt, label, focus) and JailbreakBench (text or Goal, label or the splits
    harmful and benign) as well as by our own (request, deserves, pair, attributes, needs).

    Raises:
        DataError: no such columns, a label that means nothing here, or requests of one kind only.
    """
    if source == BUNDLED:
        return _corpus(BUNDLED, read_rows(_FILE))
    path = Path(source).expanduser()
    rows = list(read_rows(path)) if path.is_file() else _from_hub(source, path)
    return _corpus(path.stem or source, rows)


def _from_hub(source: str, path: Path) -> list[Mapping[str, Any]]:
    if "@" in source:
        return list(hub_rows(source, path))
    try:
        return [{**row, "label": split} for split in _SPLITS for row in hub_rows(f"{source}@{split}", path)]
    except DataError:
        return list(hub_rows(source, path))


def _corpus(name: str, rows: Iterable[Mapping[str, Any]]) -> Requests:
    found = tuple(_request(row, number, name) for number, row in enumerate(rows, 1))
    kinds = {request.deserves_help for request in found}
    if len(kinds) < 2:
        raise DataError(
            f"{name} holds requests of one kind only: helpfulness is never shown without harm.",
            fix="Add requests that deserve a refusal (or help), with a label.",
        )
    return Requests(name, found, digest_of_rows([vars(request) for request in found]))


def _request(row: Mapping[str, Any], number: int, name: str) -> Request:
    text = _first(row, _REQUEST, number, name)
    label = _first(row, _LABEL, number, name).strip().lower()
    if label not in _HELP | _REFUSAL:
        raise DataError(
            f"Row {number} of {name} has the label {label!r}.",
            fix=f"Known: {', '.join(sorted(_HELP))} for help, {', '.join(sorted(_REFUSAL))} for refusal.",
        )
    pair = next((str(row[column]) for column in _PAIR if row.get(column)), f"row-{number}")
    return Request(
        f"{pair}/{number}",
        pair,
        " ".join(text.split()),
        label in _HELP,
        {str(k): str(v) for k, v in (row.get("attributes") or {}).items()},
        tuple(row.get("needs") or ()),
    )


def _first(row: Mapping[str, Any], names: Iterable[str], number: int, corpus: str) -> str:
    for column in names:
        if row.get(column):
            return str(row[column])
    raise DataError(
        f"Row {number} of {corpus} has none of the columns {', '.join(names)}.",
        fix=f"It has {', '.join(map(str, row)) or 'none'}.",
    )
