"""One line of requests: who is to be written as, and what is to be written.

    {"id": "1", "user": "ada", "request": "Write about the rain."}
    {"id": "2", "samples": ["A text of mine.", "Another one!"], "request": "Write about the rain.", "seed": 7}

A user's samples stand in any one of their lines, or in their profile. ``hypotheses`` are taken in place of what would
be inferred. Without an id, a line goes by its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.hypotheses import hypothesis_of
from hyperalign_dspy.artifacts.profiles import Profile
from hyperalign_dspy.data.load import read_rows
from hyperalign_dspy.errors import DataError
from hyperalign_dspy.files import digest
from hyperalign_dspy.types import Hypothesis, Sample

KNOWN = ("id", "user", "samples", "request", "hypotheses", "seed")


@dataclass(frozen=True)
class Line:
    """One request. ``samples`` are the user's where no ``profile`` holds them; ``digest`` is of the line as given."""

    line_id: str
    user: str
    request: str
    samples: tuple[Sample, ...]
    profile: Profile | None
    hypotheses: tuple[Hypothesis, ...] | None
    seed: int
    digest: str


def read_lines(path: Path, seed: int = 0) -> list[Line]:
    """Every line of a file, checked before anything is paid; ``seed`` is that of lines without one.

    Raises:
        DataError: what is wrong with which row. UnknownName: a user without samples and without a profile.
    """
    rows = [(f"Row {number} of {path}", str(number), row) for number, row in enumerate(read_rows(path), 1)]
    if not rows:
        raise DataError(f"{path} is empty.", fix='Write one object a line: {"user": "ada", "request": "..."}')
    own = _own_samples(rows)
    profiles: dict[str, Profile] = {}
    lines = [_line(where, number, row, own, profiles, seed) for where, number, row in rows]
    seen: dict[str, str] = {}
    for (where, _, _), line in zip(rows, lines, strict=True):
        if line.line_id in seen:
            raise DataError(f"{where} has the id {line.line_id!r} of {seen[line.line_id]}.", fix="Give it another.")
        seen[line.line_id] = where
    return lines


def _own_samples(rows: Sequence[tuple[str, str, Mapping[str, Any]]]) -> dict[str, tuple[Sample, ...]]:
    """user -> the samples that stand in one of their lines."""
    found: dict[str, tuple[Sample, ...]] = {}
    for where, _, row in rows:
        user = _user(row, where)
        if user and row.get("samples"):
            samples = _samples(row["samples"], where)
            if found.setdefault(user, samples) != samples:
                raise DataError(f"{where} has other samples of {user!r} than a row before it.", fix="Give them once.")
    return found


def _line(
    where: str,
    number: str,
    row: Mapping[str, Any],
    own: Mapping[str, tuple[Sample, ...]],
    profiles: dict[str, Profile],
    seed: int,
) -> Line:
    strange = next((name for name in row if name not in KNOWN), None)
    if strange is not None:
        raise DataError(f"{where} has {strange!r}, which no request has.", fix=f"There are {', '.join(KNOWN)}.")
    user, request = _user(row, where), row.get("request")
    if not isinstance(request, str) or not request.strip():
        raise DataError(f"{where} has no request.", fix="Say what is to be written, or delete the row.")
    hypotheses = _hypotheses(row, where)
    samples = own.get(user) or (_samples(row["samples"], where) if row.get("samples") else ())
    profile = None
    if user and not samples:
        profile = profiles[user] = profiles.get(user) or Profile.load(user)
    if not user and not samples and hypotheses is None:
        raise DataError(f"{where} says of nobody to write as.", fix="Name a user with a profile, or give samples.")
    chosen = row.get("seed", seed)
    if type(chosen) is not int:
        raise DataError(f"{where} has the seed {chosen!r}.", fix="Give a whole number.")
    name = number if row.get("id") is None else str(row["id"])
    return Line(name, user, request, samples, profile, hypotheses, chosen, digest([dict(row), chosen, number])[:12])


def _user(row: Mapping[str, Any], where: str) -> str:
    user = row.get("user") or ""
    if not isinstance(user, str):
        raise DataError(f"{where} has the user {user!r}, which is no name.", fix="Give a text.")
    return user.strip()


def _samples(value: Any, where: str) -> tuple[Sample, ...]:
    listed = value if isinstance(value, list) else [value]
    found = [_sample(item) for item in listed]
    samples = tuple(sample for sample in found if sample)
    if len(samples) != len(listed):
        raise DataError(f"{where} has a sample that is no text.", fix='Give texts, or {"text": ..., "request": ...}.')
    return samples


def _sample(value: Any) -> Sample | None:
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.strip():
        return None
    return Sample(text.strip(), str(value.get("request") or "") if isinstance(value, dict) else "")


def _hypotheses(row: Mapping[str, Any], where: str) -> tuple[Hypothesis, ...] | None:
    given = row.get("hypotheses")
    if given is None:
        return None
    if not isinstance(given, list):
        raise DataError(f"{where} has hypotheses that are no list.", fix="Give a list of texts or objects.")
    rows = [{"text": item} if isinstance(item, str) else item for item in given]
    return tuple(hypothesis_of(item, f"Hypothesis {n} in {where}") for n, item in enumerate(rows, 1))
