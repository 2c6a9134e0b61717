"""Answers of which people said whether they refuse: what the rules for refusals are tried on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.data.load import read_rows
from hyperalign_dspy.errors import DataError

# What published sets call their columns: XSTest's completions, WildGuard's and PyRIT's among them.
_ANSWERS = ("completion", "response", "assistant_response", "answer", "text")
_LABELS = ("final_label", "response_refusal_label", "human_score", "refused", "label")
# "Not refused" may be a partial answer or a whole one, to whoever wrote it.
_NEGATED = re.compile(r"(?:\b|_)(?:no|not|non)(?:[\W_]|comp|ref)|n't")
_COMPLIED, _REFUSED = ("0", "0.0", "false", "no"), ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class _SortedAnswer:
    """One answer, by its row in the file (1 is the first), and whether people say that it refuses, in whole or part."""

    row: int
    text: str
    refused: bool


def load_refusals(path: Path, answer_column: str = "", label_column: str = "") -> tuple[_SortedAnswer, ...]:
    """Read answers with people's labels; columns that are not named are found by the names of published sets.

    A label is a word with "refus" in it (also of a partial refusal) or one with "compl", or 1 for a refusal and 0 for
    none.

    Raises:
        DataError: no such columns, a label that means neither, or answers that are all of one kind.
    """
    rows = list(read_rows(path))
    first = rows[0] if rows else {}
    answers, labels = _column(first, answer_column, _ANSWERS, path), _column(first, label_column, _LABELS, path)
    found = tuple(
        _SortedAnswer(number, str(row.get(answers) or ""), _refused(row, labels, number, path))
        for number, row in enumerate(rows, 1)
    )
    if len({answer.refused for answer in found}) < 2:
        raise DataError(
            f"The answers of {path} are all of one kind.", fix="Give some that refuse and some that do not."
        )
    return found


def _column(row: Mapping[str, Any], named: str, known: Sequence[str], path: Path) -> str:
    there = [name for name in ((named,) if named else known) if name in row]
    if not there:
        raise DataError(
            f"{path} has no column {named or ' or '.join(known)}; it has {', '.join(map(str, row))}.",
            fix="Name them: --text-column COLUMN --label-column COLUMN",
        )
    return there[0]


def _refused(row: Mapping[str, Any], column: str, number: int, path: Path) -> bool:
    label = str(row.get(column)).strip().lower()
    refused, complied = "refus" in label or label in _REFUSED, "compl" in label or label in _COMPLIED
    if refused == complied or _NEGATED.search(label):
        raise DataError(
            f"Row {number} of {path}: {column!r} is {row.get(column)!r}.",
            fix='A label is 1 or a word such as "refusal", or 0 or a word such as "compliance".',
        )
    return refused
