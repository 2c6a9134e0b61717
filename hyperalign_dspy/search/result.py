"""What a compile is going to do, what it took, and what it ends with, as values and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.search.confirm import Confirmation
from hyperalign_dspy.search.runs import Run
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.types import Cost


@dataclass(frozen=True)
class Plan:
    """What a compile will do and can show, known before the first call.

    ``calls`` is the most that it can cost, ``confirm_calls`` the part reserved for the confirmation, ``propose_calls``
    the prompt model's part. ``smallest_win`` is the win rate over the baseline that is found in 80% of runs (see
    `hyperalign_dspy.metrics.stats.smallest_win`). Tokens, money (dollars) and time (seconds) are estimates for so many
    calls; None is unknown. ``paid_visits`` is how many visits the caps buy at their worst.
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
    capped: bool


def summary(standing: Any, baseline: Configuration) -> dict[str, Any]:
    """One configuration's place in the ranking as plain data."""
    return {
        "changes": standing.configuration.differs(baseline),
        "estimate": asdict(standing.estimate),
        "shrunk": standing.shrunk,
        "blocks": standing.blocks,
    }


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
        "capped": compiled.capped,
    }
