"""A point of a run's Pareto set, confirmed and frozen in its own right, beside what the run ended with."""

from __future__ import annotations

import time

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.search.compiler import Compiler
from hyperalign_dspy.search.result import Compiled, Ending, Spent
from hyperalign_dspy.search.runs import Run
from hyperalign_dspy.search.visits import Visits
from hyperalign_dspy.shelf.configure import Configuration


def point_run(run: Run, name: str) -> Run:
    """The folder of one point of a run, laid out as a run's own: outputs, result and frozen program.

    Its name is that of the configuration: a run that goes on numbers its points anew.
    """
    return Run(run.path("points") / name)


def confirm_point(compiler: Compiler, number: int) -> Compiled:
    """Measure the number-th point of the Pareto set, from 1, on the sealed users, and freeze it into its folder.

    The search is walked again from the record, at no cost. Sealed users that are looked at more than once judge more
    strictly (see `hyperalign_dspy.search.confirm.Terms`). The point is what is frozen, whatever the verdict, since it
    was asked for.

    Raises:
        UsageError: there is no such point, or it is what the run confirmed already. BudgetReached: a cap.
    """
    start, plan = time.monotonic(), compiler.plan()
    with compiler.searched() as found:
        chosen = _point(found.visits, number)
        own = point_run(found.run, chosen.digest)
        own.folder.mkdir(parents=True, exist_ok=True)
        confirmation = compiler.confirm(found.run, found.evaluator, chosen, compiler.judge(found.evaluator.ledger), own)
        spent = Spent(found.evaluator.ledger.cost(), time.monotonic() - start, capped=False)
    return compiler.finish(own, plan, Ending(chosen, confirmation, spent, asked=True))


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
