"""Lets configurations answer instances, scores what came, and keeps a record, so that a run that goes on scores none
anew. What code of one's own reads nobody knows: it is scored again, from recorded calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from hyperalign_dspy.errors import BudgetReached, MissingFolder, ModelError, TooManyFailures
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.records import drop_torn_line, uncollected
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, ThreadPool
from hyperalign_dspy.program.code_hash import is_ours, package_digest
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Answer, Arm, HasUser, Score, TaskData
from hyperalign_dspy.types import Cost

_SCORE = tuple(part.name for part in fields(Score) if part.name != "others")
_NONE: Mapping[str, float] = MappingProxyType({})
_NOTHING = Limits(max_calls=0)
# An answer, what it cost, and the calls that it took; or why there is none.
_Paid = tuple[Answer, Cost, tuple[str, ...]]


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
    """Scored instances in a JSON-lines file, one a line, written as a visit ends, by what made them (see `Evaluator`).

    What cannot be read is made again from recorded calls. Raises: MissingFolder: the file cannot be written.
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

    def __exit__(self, *_: object) -> None:
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
        """Write what was scored by recorded calls. Raises: MissingFolder: there is no room left."""
        rows = [
            {
                "arm": name,
                "instance": outcome.instance.instance_id,
                "user": outcome.instance.user_id,
                "text": outcome.text,
                "asked": outcome.asked,
                **{part: getattr(outcome.score, part) for part in _SCORE},
                "others": dict(outcome.score.others),
            }
            for outcome in outcomes
            if outcome.score and outcome.asked
        ]
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


def outcomes_of(run: Run, program: ProgramSpec) -> AbstractContextManager[OutcomeRecord | None]:
    """A run's record, open; None where the program has code of one's own. Raises: MissingFolder."""
    ours = all(map(is_ours, (program.task, program.module, program.metric)))
    return OutcomeRecord(run.path("outcomes.jsonl")) if ours else nullcontext()


def _scored(row: Mapping[str, Any]) -> _Scored:
    text, asked = row["text"], tuple(row["asked"])
    score = Score(**{part: row[part] for part in _SCORE}, others=dict(row["others"]) or _NONE)
    numbers = (score.value, score.rank, score.longest, score.overlap, *score.others.values())
    whole = isinstance(text, str) and all(isinstance(key, str) for key in asked)
    if not whole or not all(isinstance(number, (int, float)) for number in numbers):
        raise ValueError("This is not an outcome.")
    return _Scored(text, score, asked)


class Evaluator(ThreadPool):
    """Threads that answer, and what scores the answers.

    ``tick`` hears of every instance that is done; ``given`` holds modules that are not to be built anew from their
    configuration; what is in the ``record``, where there is one, is neither answered nor scored again.
    """

    def __init__(self, task_data: TaskData, lm: Any, ledger: Ledger, concurrency: int) -> None:
        super().__init__(lm, concurrency)
        self.task_data, self.ledger = task_data, ledger
        self.tick: Callable[[str], None] = lambda name: None
        self.given: dict[Configuration, Any] = {}
        self.record: OutcomeRecord | None = None

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> Callable[[], list[Outcome]]:
        """Begin to answer instances; what is returned waits and scores, once: an outcome an instance, in their order.

        It raises `TooManyFailures` where more than a fifth got no answer, and `BudgetReached` at a cap.
        """
        tick, module = self.tick, self._module(arm)
        name = self._name(module, arm, sealed=sealed)
        known = self._recorded(name, instances, phase)
        for _ in known:
            tick(arm.name)
        open_ones = [instance for instance in instances if instance.instance_id not in known]
        futures = self._submit(arm, module, open_ones, phase, lambda: tick(arm.name))

        @cache
        def result() -> list[Outcome]:
            answers = [future.result() for future in futures]
            errors = [answer for answer in answers if isinstance(answer, ModelError)]
            if len(errors) > MOST_MISSING * len(instances):
                raise TooManyFailures(
                    f"{arm.name}: {len(errors)} of {len(instances)} instances got no answer. "
                    f"The first: {str(errors[0])[:300]}",
                    fix="Try the model with `hyperalign doctor --model MODEL`, or take another adapter.",
                )
            made = self._scored(open_ones, answers, sealed=sealed)
            if self.record and name:
                self.record.keep(name, made)
            found = known | {outcome.instance.instance_id: outcome for outcome in made}
            return [found[instance.instance_id] for instance in instances]

        return result

    def outcomes(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> list[Outcome]:
        """Answer instances and wait for them. Raises: see `start`."""
        return self.start(arm, instances, sealed=sealed, phase=phase)()

    def lacking(self, arm: Arm, instances: Sequence[HasUser], phase: str) -> int:
        """How many sealed instances no record answers by itself; nothing is sent."""
        module = self._module(arm)
        known = self.record.known(self._name(module, arm, sealed=True)) if self.record else frozenset[str]()
        left = [instance for instance in instances if instance.instance_id not in known]
        with self.ledger.within(_NOTHING):
            futures = self._submit(arm, module, left, phase, lambda: None)
            return sum(isinstance(future.exception(), BudgetReached) for future in futures)

    def _module(self, arm: Arm) -> Any:
        return self.given.get(arm.configuration) or self.task_data.module(arm.configuration)

    def _name(self, module: Any, arm: Arm, *, sealed: bool) -> str:
        """What the arm's outcomes are recorded by: all that they depend on within a run but the instance; the arm's own
        name keeps equal arms apart. Empty where they are not recorded: an adapter may be anybody's code.
        """
        if not self.record or not is_ours(str(arm.configuration.as_dict().get("adapter", ""))):
            return ""
        parts = [arm.name, arm.configuration.digest, module.dump_state(), arm.context]
        return digest([*parts, str(self.lm.model), sealed, package_digest()])[:16]

    def _recorded(self, name: str, instances: Sequence[HasUser], phase: str) -> dict[str, Outcome]:
        """instance id -> what came of it in an earlier session; its calls count as asked for in this phase."""
        found = {}
        with self.ledger.phase(phase):
            for instance in instances:
                one = self.record.take(name, instance.instance_id) if self.record else None
                calls = self.ledger.recall(one.asked) if one is not None else None
                if one is not None and calls is not None:
                    asked, cost = calls
                    found[instance.instance_id] = Outcome(instance, one.text, one.score, cost=cost, asked=asked)
        return found

    def _submit(
        self, arm: Arm, module: Any, instances: Sequence[HasUser], phase: str, tick: Callable[[], None]
    ) -> list[Future[_Paid | ModelError]]:
        def answer(instance: HasUser) -> _Paid:
            with self.ledger.metered() as asked:
                given = self.task_data.answer(module, instance, context=arm.context)
            return given, self.ledger.cost_of(asked), tuple(dict.fromkeys(asked))

        with self.ledger.phase(phase):
            return self.submit(answer, instances, tick)

    def _scored(
        self, instances: Sequence[HasUser], answers: Sequence[_Paid | ModelError], *, sealed: bool
    ) -> list[Outcome]:
        answered = [(i, a) for i, a in zip(instances, answers, strict=True) if not isinstance(a, ModelError)]
        given = [answer for _, (answer, _, _) in answered]
        scores = iter(self.task_data.score(given, [instance for instance, _ in answered], sealed=sealed))
        found = []
        for instance, one in zip(instances, answers, strict=True):
            if isinstance(one, ModelError):
                found.append(Outcome(instance, "", None, str(one)))
            else:
                answer, cost, asked = one
                found.append(Outcome(instance, answer.text, next(scores), cost=cost, asked=asked))
        return found
