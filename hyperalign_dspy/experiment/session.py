"""A run that is open: its folder, its ledger, and the record that its evaluators share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.connect import concurrency_of, connect, describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.program.code_hash import own_code
from hyperalign_dspy.program.specs import recipe_digest
from hyperalign_dspy.runs import Run, expect, open_run
from hyperalign_dspy.tasks.evaluate import Evaluator, OutcomeRecord, outcomes_of
from hyperalign_dspy.tasks.protocol import Job, TaskData
from hyperalign_dspy.types import Watcher


@dataclass(frozen=True)
class Session:
    """A job's run, open; ``executor`` makes the calls, if not this process's own threads."""

    job: Job
    run: Run
    ledger: Ledger
    record: OutcomeRecord | None
    executor: Executor | None = None

    @classmethod
    @contextmanager
    def open(
        cls,
        job: Job,
        identity: Mapping[str, Any],
        command: Sequence[str],
        *,
        expected: str = "",
        executor: Executor | None = None,
    ) -> Iterator[Session]:
        """The run of this identity, new or gone on with, under the job's caps. ``command`` gives it again, and
        ``expected`` is the run that it has to be, where one is to be gone on with.

        Raises:
            RunMismatch: it is not the run that was expected. MissingFolder: it cannot be written.
        """
        if expected:
            expect(expected, identity)
        run = open_run(identity, command)
        with Ledger(run.path("calls.jsonl"), job.limits, job.prices) as ledger, outcomes_of(run, job.program) as record:
            yield cls(job, run, ledger, record, executor)

    def evaluator(self, task_data: TaskData, model: str) -> Evaluator:
        """Lets a model answer, on the record; to be closed."""
        lm = connect(
            model,
            ledger=self.ledger,
            max_tokens=self.job.recipe.max_tokens,
            concurrency=self.job.concurrency,
            executor=self.executor,
        )
        made = Evaluator(task_data, lm, self.ledger, concurrency_of(lm))
        made.record = self.record
        return made


def counter(watcher: Watcher, ledger: Ledger, phase: str, total: int) -> Callable[[str], None]:
    """What tells a watcher of every instance that is done, by the name of its arm."""
    done = 0

    def tick(name: str) -> None:
        nonlocal done
        done += 1
        watcher.step(f"{phase}: {name}" if phase == "confirm" else phase, done, total, ledger.cost())

    return tick


def identity_of(job: Job, data_digest: str, model: str) -> dict[str, Any]:
    """What a compile's run is: program, recipe, corpus, model and seed, by name and by digest.

    Two commands with one identity go on with one run, and any other begins another.
    """
    # Without a prompt model the one that is compiled for proposes.
    given = job.prompt_model
    proposer = {"prompt_model": given, "prompt_model_digest": digest(describe_model(given))} if given else {}
    return {
        "program": job.program.name,
        "program_digest": digest(job.program),
        "recipe": job.recipe.name,
        "recipe_digest": recipe_digest(job.recipe),
        "data_digest": data_digest,
        "source": job.source,
        "model": model,
        "model_digest": digest(describe_model(model)),
        "seed": job.seed,
        "judge": job.judge,
        **own_code(job.program, job.recipe),
        **proposer,
    }
