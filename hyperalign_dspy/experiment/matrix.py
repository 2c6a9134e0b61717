"""Every frozen program of a program on every model, all on the same sealed users.

One run holds the whole matrix, whatever models are asked for: another model later pays for its own cells only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import BudgetReached, RunMismatch, TooManyFailures, UsageError
from hyperalign_dspy.experiment.confirm import BASELINE, ArmRow, equal_to
from hyperalign_dspy.experiment.evaluate_frozen import check_sealed
from hyperalign_dspy.experiment.sealed_counts import count_judgings
from hyperalign_dspy.experiment.session import Session, counter
from hyperalign_dspy.files import digest, read_json, write_json
from hyperalign_dspy.lm.connect import describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.optimize.study import Space
from hyperalign_dspy.program.code_hash import own_code
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import TASKS, Arm, Job, TaskData
from hyperalign_dspy.types import Cost, Watcher

MATRIX_SCHEMA = "hyperalign/matrix/1"
# Which weights or server each model of the matrix is.
_MODELS = "models.json"


@dataclass(frozen=True)
class _Cell:
    """One program on one model; the row's differences are to that model's baseline at the program's drafts, temperature
    and length. Without a row it was not measured, or ``error`` says why it could not be.
    """

    program: str
    model: str
    row: ArmRow | None = None
    error: str = ""


class Matrix:
    """Programs by the name of the model that each was frozen for.

    Raises:
        UsageError: a program was made on this corpus with another split than another, or than this one.
    """

    def __init__(self, job: Job, programs: Mapping[str, Frozen], watcher: Watcher, command: Sequence[str]) -> None:
        self.job, self.programs, self.watcher, self.command = job, programs, watcher, list(command)
        self.task_data: TaskData = registry.resolve("task", job.program.task, TASKS)(job)
        _refuse_several_splits(programs, self.task_data.facts)
        for frozen in programs.values():
            check_sealed(frozen, self.task_data.facts)
        baseline = Space(job.program, replace(job.recipe, slots={})).baseline
        self.baseline = Arm(BASELINE, baseline)
        self.lines = [Arm(name, Configuration.of(f.manifest["configuration"])) for name, f in programs.items()]
        rivals = dict.fromkeys(equal_to(line.configuration, baseline) for line in self.lines)
        self.rivals = [Arm(f"baseline {c.digest}", c) for c in rivals if c != baseline]
        recipe = job.recipe
        self.identity = {
            "program": job.program.name,
            "program_digest": digest(job.program),
            "recipe": "matrix",
            "recipe_digest": digest([recipe.confirm_users, recipe.confirm_requests, recipe.max_tokens]),
            "data_digest": self.task_data.digest,
            "source": job.source,
            "model": "several",
            "seed": job.seed,
            **own_code(job.program),
        }

    def measure(self, models: Sequence[str], expected: str = "") -> dict[str, Any]:
        """The whole matrix as plain data, which is also the run's result.json once every cell is there.

        Where a cap ends it, ``capped`` says so and the cells that are left have no row; the same again goes on.

        Raises:
            RunMismatch: it is not the run that was ``expected``, or a model is not what it was when its cells were
            measured.
        """
        start = time.monotonic()
        every, sealed = [self.baseline, *self.rivals, *self.lines], len(self.task_data.sealed)
        most = len(models) * sealed * sum(self.task_data.calls(line.configuration) for line in every)
        shape = f"{len(self.lines)} programs and the baseline on {len(models)} models"
        cells: list[_Cell] = []
        capped = False
        with Session.open(self.job, self.identity, self.command, expected=expected) as session:
            run, ledger = session.run, session.ledger
            self.watcher.say(f"Run {run.run_id}: {shape}, {sealed} instances each, at most {most} calls.")
            tick = counter(self.watcher, ledger, "matrix", len(models) * len(every) * sealed)
            for model in models:
                _same_as_before(run, model)
                found = self._column(model, session, tick)
                # That every program was judged on this model by these users: they wear out.
                for line in self.lines:
                    count_judgings(run, self.task_data, f"{public_name(line.name)} on {model}")
                capped = capped or len(found) < len(every)
                cells += self._cells(model, found, ledger)
            cost = ledger.cost()
        result = self._result(run, models, cells, cost)
        result |= {"seconds": time.monotonic() - start, "capped": capped}
        if not capped:
            write_json(run.path("result.json"), result)
        return result

    def _column(self, model: str, session: Session, tick: Callable[[str], None]) -> dict[str, list[Outcome] | str]:
        """Line -> its outcomes on a model, or why there are none; lines that a cap left out are not there."""
        found: dict[str, list[Outcome] | str] = {}
        with session.evaluator(self.task_data, model) as evaluator:
            evaluator.tick = tick
            batches: list[tuple[Arm, Callable[[], list[Outcome]]]] = []
            # Most drafts first: a line with fewer of the same then finds its texts in the record.
            for line in sorted([self.baseline, *self.rivals, *self.lines], key=_drafts, reverse=True):
                own = self.programs.get(line.name)
                evaluator.given = {line.configuration: own.module} if own else {}
                phase = _phase(line.name, model)
                batches.append((line, evaluator.start(line, self.task_data.sealed, sealed=True, phase=phase)))
            for line, batch in batches:
                try:
                    found[line.name] = batch()
                except TooManyFailures as error:
                    found[line.name] = error.message
                except BudgetReached as error:
                    # Other lines may be on record, and are shown then.
                    self.watcher.say(f"{public_name(line.name)} on {public_name(model)}: {error.message}")
        return found

    def _cells(self, model: str, found: Mapping[str, list[Outcome] | str], ledger: Ledger) -> list[_Cell]:
        """The cells of one model: the baseline's, then each program's."""
        names = {line.configuration: line.name for line in self.rivals}
        cells = []
        for line in [self.baseline, *self.lines]:
            rival = names.get(equal_to(line.configuration, self.baseline.configuration), BASELINE)
            mine, theirs = found.get(line.name), found.get(rival)
            row, error = None, next((each for each in (mine, theirs) if isinstance(each, str)), "")
            if isinstance(mine, list) and isinstance(theirs, list):
                row = ArmRow.of(line, mine, ledger.cost(_phase(line.name, model)), theirs)
            cells.append(_Cell(public_name(line.name), public_name(model), row, error))
        return cells

    def _result(self, run: Run, models: Sequence[str], cells: Sequence[_Cell], cost: Cost) -> dict[str, Any]:
        facts = dict(self.task_data.facts)
        return {
            "schema": MATRIX_SCHEMA,
            "run": run.run_id,
            "program": self.job.program.name,
            "unit": self.task_data.unit,
            "models": [public_name(model) for model in models],
            "programs": [
                {
                    "name": public_name(name),
                    "frozen": frozen.manifest["frozen"],
                    "verdict": frozen.manifest["measured"]["verdict"],
                    "manifest_sha256": frozen.manifest["manifest_sha256"],
                    "corpus": frozen.manifest["data"]["corpus"],
                    "same_corpus": frozen.manifest["data"]["corpus_digest"] == facts["corpus_digest"],
                }
                for name, frozen in self.programs.items()
            ],
            "cells": [asdict(cell) for cell in cells],
            "users": len({i.user_id for i in self.task_data.sealed}),
            "instances": len(self.task_data.sealed),
            "facts": facts,
            "cost": asdict(cost),
        }


def _refuse_several_splits(programs: Mapping[str, Frozen], facts: Mapping[str, Any]) -> None:
    """Who is sealed from one program may have been searched on for another: they have no users in common to be
    measured on.
    """
    own = {n: f.manifest for n, f in programs.items() if f.manifest["data"]["corpus_digest"] == facts["corpus_digest"]}
    splits = {manifest["data"]["split_digest"] for manifest in own.values()}
    if len(splits) < 2:
        return
    by_seed: dict[int, list[str]] = {}
    for name, manifest in own.items():
        by_seed.setdefault(manifest["identity"]["seed"], []).append(name)
    fix = "Compile them anew with one --seed."
    # Where a seed does not stand for one split, the split itself has changed since.
    if len(by_seed) == len(splits):
        apart = " and by ".join(f"--models {','.join(names)} --seed {seed}" for seed, names in by_seed.items())
        fix = f"Measure those of one split together, by {apart}. Or: {fix}"
    raise UsageError(
        "These programs were made on this corpus with different splits: users sealed from one were searched on for "
        "another.",
        fix=fix,
    )


def _phase(line: str, model: str) -> str:
    return f"matrix:{public_name(model)}:{public_name(line)}"


def _drafts(line: Arm) -> int:
    return int(line.configuration.as_dict().get("drafts", 1))


def _same_as_before(run: Run, model: str) -> None:
    """Refuse a model whose weights or server are others than when cells of it were measured."""
    path, now = run.path(_MODELS), digest(describe_model(model))
    known = read_json(path) if path.is_file() else {}
    if known.get(model, now) != now:
        raise RunMismatch(
            f"{model} is not what it was when this matrix was measured on it.",
            fix=f"Give other weights another name, or measure all anew: hyperalign runs remove {run.run_id}",
        )
    write_json(path, {**known, model: now})
