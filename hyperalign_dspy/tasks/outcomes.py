"""What came of an instance under an arm, and the record of it: a run that goes on need not answer and score anew what
it has scored before, though every call is on record too.

It is kept where all that answers and scores is part of this package. Of code of one's own nobody knows what it reads,
or how it makes its calls: there every instance is answered and scored again, from recorded calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any

from hyperalign_dspy.errors import MissingFolder
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.records import drop_torn_line, uncollected
from hyperalign_dspy.program.code_hash import is_ours, package_digest
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Arm, HasUser, Score
from hyperalign_dspy.types import Cost

OUTCOMES = "outcomes.jsonl"
_SCORE = tuple(part.name for part in fields(Score))
_NONE: Mapping[str, float] = MappingProxyType({})


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
class _Scored:
    """A recorded outcome as it is held until somebody asks for it, without its instance."""

    text: str
    score: Score
    asked: tuple[str, ...]


class OutcomeRecord:
    """Scored instances in a JSON-lines file, one a line, written as a visit ends.

    They go by what made them: see `name_of`. What has changed since is not found, and what cannot be read is left out:
    it is made again from recorded calls.

    Raises:
        MissingFolder: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, dict[str, _Scored]] = {}
        try:
            path.touch(mode=0o600)
            drop_torn_line(path)
            with path.open("rb") as file, uncollected():
                for line in file:
                    self._read(line)
            self._file: IO[str] = path.open("a", encoding="utf-8")
        except OSError as error:
            raise MissingFolder(
                f"Cannot write {path}: {error.strerror}.", fix="Free some room, or go to a folder that you may write."
            ) from error

    def __enter__(self) -> OutcomeRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What a full disk kept out was said when it was written.
        with suppress(OSError):
            self._file.close()

    def known(self, name: str) -> Set[str]:
        """The ids of the instances that are recorded under a name and were not taken yet."""
        return self._held.get(name, {}).keys()

    def take(self, name: str, instance_id: str) -> _Scored | None:
        """What is recorded of an instance under a name; it is held here no longer."""
        return self._held.get(name, {}).pop(instance_id, None)

    def keep(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Write what was scored by recorded calls; what has no answer may have one next time.

        Raises:
            MissingFolder: there is no room left.
        """
        rows = [_row(name, outcome, outcome.score) for outcome in outcomes if outcome.score and outcome.asked]
        try:
            self._file.write("".join(json.dumps(row) + "\n" for row in rows))
            self._file.flush()
        except OSError as error:
            raise MissingFolder(
                f"{self._path} cannot be written: {error.strerror}.",
                fix="Free some room and give the same command again.",
            ) from error

    def _read(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            self._held.setdefault(str(row["arm"]), {})[str(row["instance"])] = _scored(row)
        except (ValueError, LookupError, TypeError, RecursionError):
            # Of another version, or not ours: whatever it is of is made again from its calls.
            return


@contextmanager
def outcomes_of(run: Run, program: ProgramSpec) -> Iterator[OutcomeRecord | None]:
    """The record of a run's outcomes, open; None where the program has code of one's own.

    Raises:
        MissingFolder: it cannot be written.
    """
    if not all(map(is_ours, (program.task, program.module, program.metric))):
        yield None
        return
    with OutcomeRecord(run.path(OUTCOMES)) as record:
        yield record


def name_of(module: Any, model: str, arm: Arm, *, sealed: bool) -> str:
    """What an arm's outcomes go by: sixteen hexadecimal digits of all that they depend on within one run, but for the
    instance: the program as it is, its configuration, whom it knows, which judge scores it (``sealed``: the
    confirmation's), the model, and the files of this package. The arm's own name keeps equal arms apart.
    """
    made = [arm.name, arm.configuration.digest, module.dump_state(), arm.context, model, sealed, package_digest()]
    return digest(made)[:16]


def _scored(row: Mapping[str, Any]) -> _Scored:
    text, asked = row["text"], tuple(row["asked"])
    score = Score(**{part: row[part] for part in _SCORE if part != "others"}, others=dict(row["others"]) or _NONE)
    numbers = (score.value, score.rank, score.longest, score.overlap, *score.others.values())
    whole = isinstance(text, str) and all(isinstance(key, str) for key in asked)
    if not whole or not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError("This is not an outcome.")
    return _Scored(text, score, asked)


def _row(name: str, outcome: Outcome, score: Score) -> dict[str, Any]:
    return {
        "arm": name,
        "instance": outcome.instance.instance_id,
        "user": outcome.instance.user_id,
        "text": outcome.text,
        "asked": outcome.asked,
        **{part: getattr(score, part) for part in _SCORE if part != "others"},
        "others": dict(score.others),
    }
