"""Which judges have been tried on pairs of which people know the better one, and how they did: kept beside the runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hyperalign_dspy.files import digest, writing
from hyperalign_dspy.lm.connect import describe
from hyperalign_dspy.runs import home
from hyperalign_dspy.types import Purpose

How = Literal["pairs", "grades"]
# The adapter and the words to which texts are cut, as a judge is asked for its opinion: a trial in another form tells
# nothing of this one.
GATING_FORM = ("turns", 150)


def judge_folder() -> Path:
    """Where judges' verdicts and trials are recorded; ignored by git. Raises: MissingFolder."""
    place = home().parent / "judge"
    with writing(place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / ".gitignore").write_text("*\n", encoding="utf-8")
    return place


def remember(found: Mapping[str, Any], how: How) -> None:
    """Add one trial, a result of `hyperalign judge qualify`, to the record."""
    row = {**found, "how": how, "model_digest": _model_digest(str(found["judge"]))}
    with (judge_folder() / "qualifications.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def last_trial(judge: str, purpose: Purpose, how: How = "pairs") -> dict[str, Any] | None:
    """The latest trial of a judge for a purpose, None where it was never tried with these weights or this server."""
    path = home().parent / "judge" / "qualifications.jsonl"
    if not path.is_file():
        return None
    wanted = (_model_digest(judge), judge, purpose, how, *GATING_FORM)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = ("model_digest", "judge", "purpose", "how", "adapter", "words")
    own = [row for row in rows if tuple(row.get(name) for name in names) == wanted]
    return dict(own[-1]) if own else None


def _model_digest(model: str) -> str:
    return digest(describe(model))
