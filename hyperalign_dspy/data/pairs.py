"""Pairs of texts of which people know the better one: what a judge is tried on before it may judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hyperalign_dspy.data.load import Columns, load_corpus, read_rows
from hyperalign_dspy.data.split import Needs, portion
from hyperalign_dspy.errors import DataError, NotEnoughData
from hyperalign_dspy.types import Corpus, TextPair

_Row = Mapping[str, Any]
# Samples of a person that a judge of authorship is shown.
SHOWN = 3
_NEEDS = Needs(shown=SHOWN, evaluated=2, verifier=0, users=3)


def load_pairs(source: str, columns: Columns, seed: int) -> tuple[TextPair, ...]:
    """Read labelled pairs.

    Three kinds are told by their columns: rows with ``input``, ``output_1``, ``output_2`` and ``label`` (as in
    LLMBar) are answers of which people preferred one; rows with ``Anchor 1``, ``Alternative 1.1``, ``Alternative
    1.2`` and ``Correct Alternative`` (as in STEL) ask which of two paraphrases has the anchor's style; and any corpus
    with users gives a user's own held-out text against another user's, on the same request where there is one.

    Raises:
        DataError: a label that is neither 1 nor 2, or a file that cannot be read. NotEnoughData: too few users.
    """
    path = Path(source).expanduser()
    first = next(iter(read_rows(path)), {}) if path.is_file() else {}
    for mark, read in _KINDS.items():
        if mark in first:
            return tuple(read(path))
    return _authors(load_corpus(source, columns), seed)


def _answers(path: Path) -> Iterator[TextPair]:
    for number, row in enumerate(read_rows(path), 1):
        label = _label(row, "label", number, path)
        yield TextPair(
            "helpfulness", f"row-{number}", str(row["output_1"]), str(row["output_2"]), label, str(row["input"])
        )


def _styles(path: Path) -> Iterator[TextPair]:
    for number, row in enumerate(read_rows(path), 1):
        label = _label(row, "Correct Alternative", number, path)
        texts = str(row["Alternative 1.1"]), str(row["Alternative 1.2"])
        yield TextPair("style", f"row-{number}", *texts, label, samples=(str(row["Anchor 1"]),))


_KINDS: Mapping[str, Callable[[Path], Iterator[TextPair]]] = {"output_1": _answers, "Anchor 1": _styles}


def _label(row: _Row, column: str, number: int, path: Path) -> bool:
    """Whether the first of two is the right one."""
    value = str(row.get(column)).strip()
    if value not in ("1", "2"):
        raise DataError(f"Row {number} of {path}: {column!r} is {value!r}; it is 1 or 2.")
    return value == "1"


def _authors(corpus: Corpus, seed: int) -> tuple[TextPair, ...]:
    parts = portion(corpus.users, _NEEDS, seed)
    able = [user for user in corpus.users if user.user_id in parts]
    if len(able) < _NEEDS.users:
        raise NotEnoughData(
            f"{corpus.name} has {len(able)} users with {_NEEDS.samples} texts or more; {_NEEDS.users} are needed."
        )
    pairs = []
    for place, user in enumerate(able):
        mine = parts[user.user_id]
        for turn, own in enumerate(mine.evaluated[: _NEEDS.evaluated]):
            other = able[(place + 1 + turn) % len(able)]
            # Another user's text on the same request, or else any.
            rival = next((s.text for s in other.samples if s.request == own.request), other.samples[0].text)
            samples = tuple(sample.text for sample in mine.shown)
            first = (place + turn) % 2 == 0
            texts = (own.text, rival) if first else (rival, own.text)
            pairs.append(TextPair("authorship", user.user_id, *texts, first, own.request, samples))
    return tuple(pairs)


def paired_outputs(ours: Sequence[_Row], theirs: Sequence[_Row], key: str) -> list[tuple[_Row, _Row]]:
    """Rows of two files that answer the same, by a column that both have.

    Raises:
        DataError: a repeated key, or no key in common.
    """
    mine, other = _keyed(ours, key, "ours"), _keyed(theirs, key, "theirs")
    both = [name for name in mine if name in other]
    if not both:
        raise DataError(f"No row of the two files has the same {key!r}.", fix="Name the column that both share: --key")
    return [(mine[name], other[name]) for name in both]


def outputs_as_pairs(rows: Sequence[tuple[_Row, _Row]], corpus: Corpus) -> list[TextPair]:
    """Two systems' outputs as pairs for a judge of authorship, beside samples of the user's; which is right nobody
    knows.
    """
    samples = {user.user_id: tuple(sample.text for sample in user.samples[:SHOWN]) for user in corpus.users}
    return [
        TextPair("authorship", user, str(ours["text"]), str(theirs["text"]), None, request, samples[user])
        for ours, theirs in rows
        for user, request in [(str(ours["user"]), str(ours.get("request") or ""))]
    ]


def _keyed(rows: Sequence[_Row], key: str, which: str) -> dict[str, _Row]:
    found: dict[str, _Row] = {}
    for number, row in enumerate(rows, 1):
        if key not in row:
            raise DataError(f"Row {number} of {which} has no column {key!r}; it has {', '.join(row)}.")
        if str(row[key]) in found:
            raise DataError(f"{which} has two rows with {key} = {row[key]!r}.")
        found[str(row[key])] = row
    return found
