"""Hypotheses as lines that a person can read, strike and write: one JSON object a line.

    {"facet": "style", "text": "Writes in a plain, clipped way."}

A measured one says also what was measured, and in which numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.metrics.features import FEATURES
from hyperalign_dspy.types import FACETS, Hypothesis

_FIX = 'Mend or delete that line. One looks like {"facet": "style", "text": "Writes in a plain, clipped way."}'


def hypothesis_of(row: Any, where: str) -> Hypothesis:
    """A hypothesis from plain data; a facet of style is taken where none is said. ``where`` begins the error.

    Raises:
        DataError: with what is wrong with it.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where} is not a JSON object.", fix=_FIX)
    known = [field.name for field in fields(Hypothesis)]
    strange = next((name for name in row if name not in known), None)
    if strange is not None:
        raise DataError(f"{where} has {strange!r}, which no hypothesis has.", fix=f"There are {', '.join(known)}.")
    found = {"facet": "style", **row}
    text = found.get("text")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where} has no text.", fix=_FIX)
    if found["facet"] not in FACETS:
        raise DataError(f"{where} has the facet {found['facet']!r}.", fix=f"There are {', '.join(FACETS)}.")
    kind = found.setdefault("kind", "inferred")
    if kind not in ("inferred", "measured"):
        raise DataError(f"{where} is of the kind {kind!r}.", fix="There are inferred and measured; leave it out.")
    if kind == "measured":
        _check_measured(found, where)
    return Hypothesis(**{**found, "text": " ".join(text.split())})


def _check_measured(row: Mapping[str, Any], where: str) -> None:
    if row.get("feature") not in FEATURES:
        raise DataError(f"{where} measures {row.get('feature')!r}.", fix=f"There are {', '.join(FEATURES)}.")
    for name, usual in (("value", 0.0), ("typical", 0.0), ("spread", 1.0)):
        value = row.get(name, usual)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DataError(f"{where} has the {name} {value!r}, which is no number.", fix=_FIX)
    if row.get("spread", 1.0) <= 0:
        raise DataError(f"{where} has a spread of {row['spread']}.", fix="It is above 0.")
    if row.get("direction", "") not in ("more", "less", "same", ""):
        raise DataError(f"{where} has the direction {row['direction']!r}.", fix="There are more, less and same.")


def read_hypotheses(path: Path) -> list[Hypothesis]:
    """Hypotheses from a file: one a line, or a JSON list of them, or what `hyperalign run --json` prints.

    Raises:
        DataError: what is wrong, with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} holds no hypotheses: {error}.",
            fix="Write them with `hyperalign run ... --json > FILE`, edit or strike some, and give FILE.",
        ) from error
    return parse_hypotheses(text, str(path))


def parse_hypotheses(text: str, source: str) -> list[Hypothesis]:
    """Hypotheses from text; see `read_hypotheses`. ``source`` is named in errors."""
    return [hypothesis_of(row, where) for where, row in _rows(text, source)]


def _rows(text: str, source: str) -> Iterator[tuple[str, Any]]:
    """Where each hypothesis stands, and what stands there: in one JSON document, or else line by line."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    listed = whole.get("hypotheses") if isinstance(whole, dict) else whole
    if isinstance(listed, list):
        yield from ((f"Hypothesis {n} of {source}", row) for n, row in enumerate(listed, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        where = f"Line {number} of {source}"
        if line.strip():
            try:
                yield where, json.loads(line)
            except ValueError as error:
                raise DataError(f"{where} is not JSON: {error}.", fix=_FIX) from error


def lines_of(hypotheses: Iterable[Hypothesis]) -> str:
    """One line a hypothesis; what is as it always is of an inferred one is left out."""
    rows = []
    for hypothesis in hypotheses:
        row = {"facet": hypothesis.facet, "text": hypothesis.text}
        rows.append(row if hypothesis.kind != "measured" else {**row, **asdict(hypothesis)})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
