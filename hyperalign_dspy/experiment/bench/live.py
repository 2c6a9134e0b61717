"""Optimisers side by side on one program, corpus, metric and budget: each a run of its own, each confirmed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from hyperalign_dspy import registry
from hyperalign_dspy.errors import HyperalignError
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.confirm import COMPILED, OUTPUTS
from hyperalign_dspy.experiment.teleprompters import TeleprompterCompiler
from hyperalign_dspy.lm.records import read_calls
from hyperalign_dspy.metrics.stats import Estimate, paired
from hyperalign_dspy.optimize.teleprompters import DSPY_OPTIMIZERS, Optimizer
from hyperalign_dspy.runs import Run, expect, find_run
from hyperalign_dspy.tasks.protocol import Job
from hyperalign_dspy.types import Watcher

# Our own search, among the names of optimisers.
_SEARCH = "search"
OPTIMIZERS: tuple[str, ...] = (_SEARCH, *DSPY_OPTIMIZERS)


@dataclass(frozen=True)
class _Entry:
    """How one optimiser did. ``failed`` says why it has no result; then all figures are None.

    ``value`` is the compiled program's on sealed users, ``gap`` and ``wins`` are over the baseline at equal drafts,
    ``beside`` is its paired difference to our own search's program. ``calls`` are all of the run's, ``searched`` those
    before the confirmation; ``capped``: a cap ended the search, and its best until then is what was confirmed.
    """

    name: str
    failed: str = ""
    run: str = ""
    verdict: str = ""
    value: Estimate | None = None
    gap: Estimate | None = None
    wins: Estimate | None = None
    beside: Estimate | None = None
    calls: int = 0
    searched: int = 0
    seconds: float = 0.0
    capped: bool = False


def compete(
    job: Job, model: str, names: Sequence[str], watcher: Watcher, command: Sequence[str] = (), expected: str = ""
) -> list[_Entry]:
    """Run every optimiser, each under the job's caps, and confirm each on the same sealed users.

    Nothing goes on the shelf. An optimiser that cannot run says why, and the others go on. Given again, as ``command``
    gives it, finished runs cost nothing.

    Raises:
        UnknownName: no optimiser by that name. RunMismatch: the run that was ``expected`` is none of these.
        HyperalignError: none could run; of the last one.
    """
    for name in names:
        if name != _SEARCH and ":" not in name:
            registry.resolve("optimizer", name, DSPY_OPTIMIZERS)
    if expected:
        own = find_run(expected).plan.get("optimizer", _SEARCH)
        expect(expected, _compiler(job, model, own, watcher, command).identity)
    found: list[tuple[_Entry, dict[str, tuple[str, float]]]] = []
    last: HyperalignError | None = None
    for name in names:
        watcher.say(f"== {name}")
        try:
            found.append(_entry(_compiler(job, model, name, watcher, command), name))
        except HyperalignError as error:
            watcher.say(error.message)
            found.append((_Entry(name, failed=error.message), {}))
            last = error
    if last and all(entry.failed for entry, _ in found):
        raise last
    ours = next((values for entry, values in found if entry.name == _SEARCH), {})
    return [replace(entry, beside=_beside(values, ours)) for entry, values in found]


def _entry(compiler: Compiler, name: str) -> tuple[_Entry, dict[str, tuple[str, float]]]:
    """An optimiser's figures, and its compiled program's value on every sealed instance, with the user."""
    compiled = compiler.run()
    row, calls = compiled.confirmation.row(COMPILED), read_calls(compiled.run.path("calls.jsonl"))
    entry = _Entry(
        name=name,
        run=compiled.run.run_id,
        verdict=compiled.confirmation.verdict,
        value=row.value,
        gap=row.gap,
        wins=row.wins,
        calls=compiled.cost.calls,
        searched=sum(not str(row.get("phase", "")).startswith("confirm") for row in calls),
        seconds=compiled.seconds,
        capped=compiled.capped,
    )
    return entry, _values(compiled.run)


def _compiler(job: Job, model: str, name: str, watcher: Watcher, command: Sequence[str]) -> Compiler:
    job = replace(job, shelve=False)
    if name == _SEARCH:
        made = Compiler(job, model, watcher, command)
    else:
        made = TeleprompterCompiler(
            job, model, watcher, Optimizer(name, {}, job.prompt_model, job.allow_private_demos), command
        )
    # A contest under a cap is no run of the user's own, and is not gone on with under another cap.
    made.identity |= {"contest": asdict(job.limits)}
    return made


def _values(run: Run) -> dict[str, tuple[str, float]]:
    """Instance -> user and value, of the compiled program's texts on the sealed users; harm is left out."""
    rows = [json.loads(line) for line in run.path(OUTPUTS).read_text(encoding="utf-8").splitlines()]
    return {
        row["instance"]: (row["user"], float(row["value"]))
        for row in rows
        if row["arm"] == COMPILED and row["value"] is not None and not row["harm"]
    }


def _beside(mine: Mapping[str, tuple[str, float]], ours: Mapping[str, tuple[str, float]]) -> Estimate | None:
    both = [name for name in mine if name in ours]
    if not both or mine is ours:
        return None
    return paired([mine[name][1] - ours[name][1] for name in both], [mine[name][0] for name in both])
