"""What a compile is going to do, what it took, and what it ends with, as values and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.confirm import Confirmation
from hyperalign_dspy.experiment.reserve import Reserve
from hyperalign_dspy.experiment.verifier_power import recorded_power
from hyperalign_dspy.lm.records import Sessions, read_calls
from hyperalign_dspy.metrics.stats import smallest_win
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run, all_runs
from hyperalign_dspy.tasks.protocol import TaskData
from hyperalign_dspy.types import Cost

# A run with fewer calls says little of how long a call takes.
_ENOUGH = 20
_Rows = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Plan:
    """What a compile will do and can show, known before the first call.

    ``calls`` is the most that it can cost, ``confirm_calls`` the part reserved for the confirmation, ``propose_calls``
    the prompt model's part. ``smallest_win`` is the win rate over the baseline that is found in 80% of runs (see
    `hyperalign_dspy.metrics.stats.smallest_win`), ``replayed`` the share of confirmations of this size that find what
    samples gain, replayed on recorded scores of so many users (None: nobody has measured it here). Tokens, money
    (dollars) and time (seconds) are estimates for so many calls; None is unknown. ``paid_visits`` is how many visits
    the caps buy at their worst.
    """

    run_id: str
    users: int
    instances: int
    validation_instances: int
    visits: int
    configurations: int
    calls: int
    confirm_calls: int
    propose_calls: int
    smallest_win: float
    replayed: tuple[float, int] | None
    unit: str
    input_tokens: int
    output_tokens: int
    money: float | None
    time: float | None
    paid_visits: int

    @classmethod
    def of(cls, task_data: TaskData, model: str, reserve: Reserve, searched: int, **parts: Any) -> Self:
        """A plan for so many priced calls of a search, and the confirmation that the reserve is for; ``parts`` are the
        other fields.
        """
        users = len({i.user_id for i in task_data.sealed})
        each = len(task_data.sealed) / users
        confirmed = reserve.calls + reserve.judge_calls
        pace = _seconds_a_call(model)
        return cls(
            users=users,
            instances=len(task_data.sealed),
            validation_instances=len(task_data.validation),
            confirm_calls=confirmed,
            smallest_win=smallest_win(users, each),
            replayed=recorded_power(task_data, model, users, round(each)),
            unit=task_data.unit,
            **reserve.estimate(searched),
            time=None if pace is None else pace * (searched + confirmed),
            **parts,
        )


def _seconds_a_call(model: str) -> float | None:
    """Wall time a call in the newest run of a model here, several in flight as they were; None where there is none."""
    for run in all_runs():
        path = run.path("calls.jsonl")
        if run.plan.get("model") != model or not path.is_file():
            continue
        try:
            calls, sessions = 0, Sessions()
            for row in read_calls(path):
                calls += 1
                sessions.heard(row)
        except DataError:
            continue
        if calls >= _ENOUGH and sessions.seconds > 0:
            return sessions.seconds / calls
    return None


@dataclass(frozen=True)
class Ending:
    """What was confirmed, what came of it, and what it took; ``capped``: a cap ended the search before the recipe did.

    ``module`` is the program where no configuration builds it, and ``private`` says that it holds texts of a corpus
    that is not public. ``top`` and ``pareto`` are of the search, as plain data. ``asked``: somebody chose this point
    of the Pareto set, so it is what is frozen, whatever the verdict, and stays off the shelf.
    """

    chosen: Configuration
    confirmation: Confirmation
    cost: Cost
    seconds: float
    capped: bool = False
    module: Any = None
    private: bool = False
    top: _Rows = ()
    pareto: _Rows = ()
    asked: bool = False


@dataclass(frozen=True, kw_only=True)
class Compiled(Ending):
    """What a compile ends with."""

    run: Run
    plan: Plan
    changes: dict[str, Any]
    facts: dict[str, Any]
    frozen: Path
    frozen_is: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data, the same in result.json and in ``--json``."""
        return {
            "schema": "hyperalign/result/1",
            "run": self.run.run_id,
            "plan": asdict(self.plan),
            "chosen": self.chosen.as_dict(),
            "changes": self.changes,
            "confirmation": self.confirmation.as_dict(),
            "facts": self.facts,
            "cost": asdict(self.cost),
            "seconds": self.seconds,
            "frozen": str(self.frozen),
            "frozen_is": self.frozen_is,
            "top": list(self.top),
            "pareto": list(self.pareto),
            "capped": self.capped,
        }


def standings(visits: Visits, chosen: Configuration) -> tuple[_Rows, _Rows]:
    """The top of a search's ranking, and its Pareto set, as plain data.

    Points are numbered from 1, and under 0 is the baseline; there are none where the value is the only objective.
    ``objectives`` are differences to the baseline.
    """
    baseline, names = visits.baseline, visits.objectives
    top = tuple(
        {
            "changes": summary.configuration.differs(baseline),
            "estimate": asdict(summary.estimate),
            "shrunk": summary.shrunk,
            "blocks": summary.blocks,
        }
        for summary in visits.ranking()[:3]
    )
    if not names:
        return top, ()

    def point(number: int, configuration: Configuration, value: float, rises: Mapping[str, float]) -> dict[str, Any]:
        return {
            "point": number,
            "name": configuration.digest,
            "changes": configuration.differs(baseline),
            "objectives": {"value": value, **rises},
            "chosen": configuration == chosen,
        }

    found = [point(n, s.configuration, s.shrunk, s.rises) for n, s in enumerate(visits.front(), 1)]
    return top, (*found, point(0, baseline, 0.0, dict.fromkeys(names, 0.0)))
