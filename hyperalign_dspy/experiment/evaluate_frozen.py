"""Measures a frozen program, or changes to it, without any search."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.confirm import Terms, arms_of, confirm, instances_of
from hyperalign_dspy.experiment.sealed_counts import count_judgings
from hyperalign_dspy.experiment.session import Session
from hyperalign_dspy.files import write_json
from hyperalign_dspy.program.configuration import Configuration, with_candidates
from hyperalign_dspy.program.specs import Value
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Job, TaskData
from hyperalign_dspy.types import Watcher


@dataclass(frozen=True)
class Evaluation:
    """What is measured: a frozen program, with ``changes`` to its slots, which no sealed user may judge."""

    frozen: Frozen
    changes: Mapping[str, Value] = field(default_factory=dict)


def evaluate_frozen(
    job: Job, model: str, measured: Evaluation, watcher: Watcher, command: Sequence[str], expected: str = ""
) -> dict[str, Any]:
    """The confirmation's table for a frozen program as it was loaded, as plain data of the form of result.json.

    It is a run of its own: what has been answered is recorded, and the same command goes on where it was cut off.
    ``expected`` is the run that it has to be, where one is to be gone on with. ``job.on`` says whose users are judged.

    Raises:
        RunMismatch: it is not the run that was expected.
        UsageError: this corpus is the one that it was made on, but these are not the users that were sealed from it;
        or a change that the program does not know, or one that sealed users are to judge.
    """
    start, frozen = time.monotonic(), measured.frozen
    compiler = Compiler(job, model, watcher)
    task_data, baseline = compiler.task_data, compiler.space.baseline
    check_sealed(frozen, task_data.facts)
    configuration = _laid_out(job, task_data, measured)
    arms = arms_of(task_data, baseline, configuration)
    identity = {**compiler.identity, "recipe": "eval", "frozen": frozen.manifest["manifest_sha256"]}
    if job.on == "validation":
        identity |= {"on": job.on, "changes": dict(measured.changes)}
    parts = {arm.name: len(instances_of(task_data, arm, arms)) for arm in arms}
    most = sum(parts[arm.name] * task_data.calls(arm.configuration) for arm in arms)
    total = sum(parts.values())
    with (
        Session.open(job, identity, command, expected=expected) as session,
        session.evaluator(task_data, model) as evaluator,
    ):
        run, ledger = session.run, session.ledger
        watcher.say(f"Run {run.run_id}: {len(arms)} arms, {total} instances in all, at most {most} calls.")
        if not measured.changes:
            evaluator.given[configuration] = frozen.module
        compiler.watch(evaluator, "confirm", total)
        terms = Terms(job.recipe.constraints, judged=_judged(job, run, task_data, frozen))
        confirmation = confirm(task_data, evaluator, arms, compiler.judge(evaluator), terms, run)
        cost = ledger.cost()
    result = {
        "schema": "hyperalign/result/1",
        "run": run.run_id,
        "on": job.on,
        "plan": {"unit": task_data.unit},
        "changes": dict(configuration.differs(baseline)),
        "confirmation": confirmation.as_dict(),
        "facts": dict(task_data.facts),
        "cost": asdict(cost),
        "seconds": time.monotonic() - start,
    }
    write_json(run.path("result.json"), result)
    return result


def _laid_out(job: Job, task_data: TaskData, measured: Evaluation) -> Configuration:
    """What is measured, tried before anything is paid; the bench knows the candidates that were made for it.

    Raises:
        UsageError: sealed users are to judge what is still being tried.
    """
    manifest = measured.frozen.manifest
    made = manifest.get("candidates", {})
    # Controls are changes to the frozen configuration, whose ids the program's own library may not have.
    task_data.extend(with_candidates(job.program, {slot: {m["id"]: m["content"]} for slot, m in made.items()}))
    configuration = Configuration.of(manifest["configuration"]).changed(**measured.changes)
    if measured.changes:
        if job.on == "sealed":
            raise UsageError(
                "Changes to a program are tried on users that a search may see.",
                fix="Add --on validation to the command.",
            )
        task_data.module(configuration)
    return configuration


def _judged(job: Job, run: Run, task_data: TaskData, frozen: Frozen) -> list[int]:
    """How often each sealed user was judged before; nobody is where none is touched."""
    return [] if job.on == "validation" else count_judgings(run, task_data, frozen.manifest["manifest_sha256"])


def check_sealed(frozen: Frozen, facts: Any) -> None:
    """Refuse users of the corpus that a program was made on, but for those that were sealed from it.

    Raises:
        UsageError: the split is another.
    """
    made = frozen.manifest["data"]
    if made["corpus_digest"] == facts["corpus_digest"] and made["split_digest"] != facts["split_digest"]:
        seed = frozen.manifest["identity"]["seed"]
        raise UsageError(
            f"The program for {frozen.manifest['model']['name']} was made on this corpus with another split: its "
            "search has seen some of these users.",
            fix=f"Leave --seed out, or give --seed {seed}. If the split itself has changed since, compile again.",
        )
