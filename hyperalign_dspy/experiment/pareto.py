"""A point of a run's Pareto set, confirmed and frozen in its own right, beside what the run ended with."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.experiment.budget import Budget
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.confirm import instances_of
from hyperalign_dspy.experiment.reserve import Reserve
from hyperalign_dspy.experiment.result import Compiled, Ending
from hyperalign_dspy.lm.limits import CallUsage, Limits
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Evaluator


def pareto_run(run: Run, name: str) -> Run:
    """The folder of one point of a run, laid out as a run's own: outputs, result and frozen program.

    Its name is that of the configuration: a run that goes on numbers its points anew.
    """
    return Run(run.path("points") / name)


def confirm_pareto_point(compiler: Compiler, number: int, caps: Limits | None = None) -> Compiled:
    """Measure the number-th point of the Pareto set, from 1, on the sealed users, and freeze it into its folder.

    The search is walked again from the record, at no cost. Sealed users that are looked at more than once judge more
    strictly (see `hyperalign_dspy.experiment.confirm.Terms`). The point is what is frozen, whatever the verdict,
    since it was asked for. Each of ``caps`` takes the place of the run's own for this confirmation.

    Raises:
        UsageError: there is no such point, or it is what the run confirmed already, or a cap does not cover the whole
        confirmation. BudgetReached: a cap, all the same.
    """
    start, plan = time.monotonic(), compiler.plan()
    with compiler.searched() as found:
        chosen = _point(found.visits, number)
        own, ledger = pareto_run(found.run, chosen.digest), found.evaluator.ledger
        given = {name: cap for name, cap in asdict(caps or Limits()).items() if cap is not None}
        with ledger.within(replace(compiler.limits, **given)):
            _demand(compiler, found.evaluator, chosen, own)
            own.folder.mkdir(parents=True, exist_ok=True)
            confirmation = compiler.confirm(found.run, found.evaluator, chosen, own)
        ending = Ending(chosen, confirmation, ledger.cost(), time.monotonic() - start, asked=True)
    return compiler.finish(own, plan, ending)


def _demand(compiler: Compiler, evaluator: Evaluator, chosen: Configuration, own: Run) -> None:
    """Refuse caps that do not cover what the record lacks of a confirmation; an opinion that was begun counts whole.

    Raises:
        UsageError: with the least that the cap has to be.
    """
    task_data, job, arms = compiler.task_data, compiler.job, compiler.arms(chosen)
    each = [task_data.calls(arm.configuration) for arm in arms]
    parts = [instances_of(task_data, arm, arms) for arm in arms]
    missing = [evaluator.lacking(arm, part, f"confirm:{arm.name}") for arm, part in zip(arms, parts, strict=True)]
    calls = sum(map(math.prod, zip(each, missing, strict=True)))
    whole = Reserve.of(job, compiler.model, task_data, arms, calls, [compiler.space.baseline, chosen])
    share = calls / sum(map(math.prod, zip(each, map(len, parts), strict=True)))
    rest = replace(
        whole,
        instances=math.ceil(share * whole.instances),
        judge_calls=0 if own.result and not calls else whole.judge_calls,
    )
    if rest.calls + rest.judge_calls:
        _Rest(evaluator.ledger, rest, evaluator.concurrency).demand_whole()


def _point(visits: Visits, number: int) -> Configuration:
    front = visits.front()
    if not 1 <= number <= len(front):
        raise UsageError(
            f"The Pareto set has {len(front)} points, numbered from 1.", fix="`hyperalign runs show RUN` lists them."
        )
    chosen = front[number - 1].configuration
    if chosen == visits.winner():
        raise UsageError("This point is what the run confirmed.", fix="hyperalign runs show RUN")
    return chosen


class _Rest(Budget):
    """The caps as a confirmation by itself meets them: all that was ever used counts, and all the time."""

    def demand_whole(self) -> None:
        """Refuse caps that the confirmation could meet.

        Raises:
            UsageError: with the least that the cap has to be.
        """
        need = self._lacking(0)
        if need is None:
            return
        cap, used, reserve = map(need.words, (need.cap, need.search, need.reserve))
        raise UsageError(
            f"A cap of {cap} is too low: {used} are used, and this confirmation can take {reserve}.",
            fix=f"Give at least {need.option}={need.form(need.search + need.reserve)}: that covers all of it.",
        )

    def _spent(self) -> tuple[CallUsage, float]:
        return self.ledger.used, self.ledger.seconds()
