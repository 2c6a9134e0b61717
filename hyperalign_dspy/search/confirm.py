"""The one confirmation: every arm on the sealed users, paired differences, and the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from hyperalign_dspy.metrics.stats import Estimate, paired, proportion, verdict
from hyperalign_dspy.search.evaluate import Evaluator, Outcome
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Arm, Bench, Score, difference, win
from hyperalign_dspy.types import Cost

BASELINE, EQUAL, COMPILED = "baseline", "baseline, equal drafts", "compiled"


@dataclass(frozen=True)
class Row:
    """One arm on the sealed users.

    ``value`` is the mean score, ``gap`` the paired difference to the baseline at equal drafts and ``wins`` the win rate
    over it; ``second_gap`` is the difference by the second judge. ``copied`` is the share of texts that copy.
    """

    name: str
    note: str
    drafts: int
    value: Estimate
    gap: Estimate
    wins: Estimate
    second_gap: Estimate
    rank: float
    accuracy: float
    copied: float
    missing: int
    cost: Cost


@dataclass(frozen=True)
class Confirmation:
    """All rows, the verdict ("gain", "no gain", "loss") and the margins of the compiled program over each control."""

    rows: tuple[Row, ...]
    verdict: str
    margins: dict[str, tuple[Estimate, Estimate]]

    def row(self, name: str) -> Row:
        """The row of one arm."""
        return next(row for row in self.rows if row.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for files."""
        return asdict(self)


def arms_of(bench: Bench, baseline: Configuration, compiled: Configuration) -> list[Arm]:
    """What is measured: controls, the baseline, the baseline at the compiled drafts and temperature, the compiled."""
    theirs = compiled.as_dict()
    equal = {slot: theirs[slot] for slot in ("drafts", "temperature") if slot in theirs}
    return [
        *bench.controls(compiled),
        Arm(BASELINE, baseline, note="as published, 1 draft"),
        Arm(EQUAL, baseline.changed(**equal), note="what the verdict is against"),
        Arm(COMPILED, compiled),
    ]


def confirm(bench: Bench, evaluator: Evaluator, arms: Sequence[Arm]) -> Confirmation:
    """Measure all arms once on the sealed users."""
    measured: dict[str, tuple[list[Outcome], Cost]] = {}
    # Most drafts first: an arm with fewer of the same then finds its texts in the record, and no prompt is read twice.
    for arm in sorted(arms, key=_drafts, reverse=True):
        phase = f"confirm:{arm.name}"
        found = evaluator.outcomes(arm, bench.sealed, sealed=True, phase=phase)
        measured[arm.name] = (found, evaluator.ledger.cost(phase))
    rival = measured[EQUAL][0]
    rows = tuple(_row(arm, *measured[arm.name], rival) for arm in arms)
    compiled = measured[COMPILED][0]
    margins = {
        arm.name: (_gap(compiled, measured[arm.name][0]), _wins(compiled, measured[arm.name][0]))
        for arm in arms
        if arm.name not in (BASELINE, EQUAL, COMPILED)
    }
    same = (
        next(arm for arm in arms if arm.name == COMPILED).configuration
        == next(arm for arm in arms if arm.name == EQUAL).configuration
    )
    return Confirmation(rows, "no gain" if same else verdict(_gap(compiled, rival)), margins)


def _drafts(arm: Arm) -> int:
    return int(arm.configuration.as_dict().get("drafts", 1))


def _row(arm: Arm, outcomes: Sequence[Outcome], cost: Cost, rival: Sequence[Outcome]) -> Row:
    scores = [(o.score, o.instance.user_id) for o in outcomes if o.score]
    return Row(
        name=arm.name,
        note=arm.note,
        drafts=_drafts(arm),
        value=paired([s.value for s, _ in scores], [user for _, user in scores]),
        gap=_gap(outcomes, rival),
        wins=_wins(outcomes, rival),
        second_gap=_second(outcomes, rival),
        rank=fmean([1 / s.rank if s.rank else 0.0 for s, _ in scores]),
        accuracy=fmean([float(s.rank == 1) for s, _ in scores]),
        copied=fmean([float(s.copied) for s, _ in scores]),
        missing=len(outcomes) - len(scores),
        cost=cost,
    )


def _pairs(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> list[tuple[Score, Score, str]]:
    both = zip(mine, rival, strict=True)
    return [(m.score, r.score, m.instance.user_id) for m, r in both if m.score and r.score]


def _gap(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> Estimate:
    pairs = _pairs(mine, rival)
    return paired([difference(m, r) for m, r, _ in pairs], [user for *_, user in pairs])


def _wins(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> Estimate:
    pairs = _pairs(mine, rival)
    return proportion([win(m, r) for m, r, _ in pairs], [user for *_, user in pairs])


def _second(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> Estimate:
    pairs = _pairs(mine, rival)
    return paired([m.second - r.second for m, r, _ in pairs], [user for *_, user in pairs])
