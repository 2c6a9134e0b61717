"""What came of an instance under an arm, and the record of it: a run that goes on need not answer and score anew what
it has scored before, though every call is on record too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from hyperalign_dspy.errors import DataError, MissingFolder
from hyperalign_dspy.lm.records import drop_torn_line, uncollected
from hyperalign_dspy.shelf.sources import package_digest
from hyperalign_dspy.shelf.specs import digest
from hyperalign_dspy.tasks.protocol import Arm, HasUser, Score
from hyperalign_dspy.types import Cost

OUTCOMES = "outcomes.jsonl"
_SCORE = tuple(part.name for part in fields(Score))
_NONE: Mapping[str, float] = {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One instance under one arm; without an answer ``score`` is None and ``error`` says why.

    ``cost`` is what its calls cost when they were made, be it for another arm or in an earlier session; ``asked`` are
    their keys in the ledger: outcomes that asked for the same call share it.
    """

    instance: HasUser
    text: str
    score: Score | None
    error: str = ""
    cost: Cost = field(default_factory=Cost)
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """A recorded outcome as it is held until somebody asks for it, without its instance."""

    text: str
    score: Score
    asked: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Scored:
        """From a line. Raises KeyError or TypeError where it is of another form."""
        others = row["others"] or _NONE
        score = Score(**{part: row[part] for part in _SCORE if part != "others"}, others=others)
        return cls(row["text"], score, tuple(row["asked"]))


class OutcomeRecord:
    """Scored instances in a JSON-lines file, one a line, written as a visit ends.

    They go by what made them: the program as it is, its configuration, whom it knows, which judge scored it, and the
    files of this package. Of what has changed since, nothing is found, and so it is made again from recorded calls.

    Raises:
        DataError: a malformed line. MissingFolder: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, dict[str, Scored]] = {}
        try:
            path.touch(mode=0o600)
            drop_torn_line(path)
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise MissingFolder(f"Cannot write {path}: {error.strerror}.", fix="Go to a folder of your own.") from error
        with ExitStack() as undo:
            undo.callback(self._file.close)
            self._read()
            undo.pop_all()

    def __enter__(self) -> OutcomeRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, name: str, instance: HasUser) -> Scored | None:
        """What is recorded of an instance under a name (see `name_of`); it is held here no longer."""
        return self._held.get(name, {}).pop(instance.instance_id, None)

    def keep(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Write what was scored; what has no answer may have one next time.

        Raises:
            MissingFolder: there is no room left.
        """
        rows = [_row(name, outcome, outcome.score) for outcome in outcomes if outcome.score]
        try:
            self._file.write("".join(json.dumps(row) + "\n" for row in rows))
            self._file.flush()
        except OSError as error:
            raise MissingFolder(
                f"{self._path} cannot be written: {error.strerror}.",
                fix="Free some room and give the same command again.",
            ) from error

    def _read(self) -> None:
        with self._path.open(encoding="utf-8") as file, uncollected():
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    self._held.setdefault(row["arm"], {})[row["instance"]] = Scored.of(row)
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"Line {number} of {self._path} is not a recorded outcome.",
                        fix=f"Delete the file: it is made again from the recorded calls. rm {self._path}",
                    ) from error


def name_of(module: Any, model: str, arm: Arm, *, sealed: bool) -> str:
    """What an arm's outcomes go by: sixteen hexadecimal digits of all that they depend on within one run, but for the
    instance. ``sealed``: they are scored by the confirmation's judge.
    """
    made = [arm.configuration.digest, module.dump_state(), arm.knows, model, sealed, package_digest()]
    return digest(made)[:16]


def _row(name: str, outcome: Outcome, score: Score) -> dict[str, Any]:
    return {
        "arm": name,
        "instance": outcome.instance.instance_id,
        "user": outcome.instance.user_id,
        "text": outcome.text,
        "asked": outcome.asked,
        **{part: getattr(score, part) for part in _SCORE},
    }
