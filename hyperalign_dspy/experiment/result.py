"""What a compile is going to do, what it took, and what it ends with, as values and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.experiment.confirm import Confirmation
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.types import Cost


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


@dataclass(frozen=True)
class Spent:
    """What a compile took: ``capped`` says that a cap ended its search."""

    cost: Cost
    seconds: float
    capped: bool


@dataclass(frozen=True)
class Ending:
    """What was confirmed, what came of it, and what it took.

    ``module`` is the program where no configuration builds it, and ``private`` says that it holds texts of a corpus
    that is not public. ``top`` and ``pareto`` are of the search, as plain data. ``asked``: somebody chose this point
    of the Pareto set, so it is what is frozen, whatever the verdict, and stays off the shelf.
    """

    chosen: Configuration
    confirmation: Confirmation
    spent: Spent
    module: Any = None
    private: bool = False
    top: tuple[dict[str, Any], ...] = ()
    pareto: tuple[dict[str, Any], ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class Compiled:
    """What a compile ends with. ``capped``: a cap ended the search before the recipe did."""

    run: Run
    plan: Plan
    chosen: Configuration
    changes: dict[str, Any]
    confirmation: Confirmation
    facts: dict[str, Any]
    cost: Cost
    seconds: float
    frozen: Path
    frozen_is: str
    top: tuple[dict[str, Any], ...]
    pareto: tuple[dict[str, Any], ...]
    capped: bool


def summary(summary: Any, baseline: Configuration) -> dict[str, Any]:
    """One configuration's place in the ranking as plain data."""
    return {
        "changes": summary.configuration.differs(baseline),
        "estimate": asdict(summary.estimate),
        "shrunk": summary.shrunk,
        "blocks": summary.blocks,
    }


def pareto_of(
    front: Sequence[Any], names: Sequence[str], baseline: Configuration, chosen: Configuration
) -> tuple[dict[str, Any], ...]:
    """The Pareto set as plain data, numbered from 1, and under 0 the baseline; nothing where the value is the only
    objective. ``objectives`` are differences to the baseline.
    """
    if not names:
        return ()

    def point(number: int, configuration: Configuration, value: float, rises: Mapping[str, float]) -> dict[str, Any]:
        return {
            "point": number,
            "name": configuration.digest,
            "changes": configuration.differs(baseline),
            "objectives": {"value": value, **rises},
            "chosen": configuration == chosen,
        }

    found = [point(n, s.configuration, s.shrunk, s.rises) for n, s in enumerate(front, 1)]
    return (*found, point(0, baseline, 0.0, dict.fromkeys(names, 0.0)))


def result_of(compiled: Compiled) -> dict[str, Any]:
    """A finished compile as plain data, the same in result.json and in ``--json``."""
    return {
        "schema": "hyperalign/result/1",
        "run": compiled.run.run_id,
        "plan": asdict(compiled.plan),
        "chosen": compiled.chosen.as_dict(),
        "changes": compiled.changes,
        "confirmation": compiled.confirmation.as_dict(),
        "facts": compiled.facts,
        "cost": asdict(compiled.cost),
        "seconds": compiled.seconds,
        "frozen": str(compiled.frozen),
        "frozen_is": compiled.frozen_is,
        "top": list(compiled.top),
        "pareto": list(compiled.pareto),
        "capped": compiled.capped,
    }
