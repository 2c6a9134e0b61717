"""The pilot: does the baseline answer, how noisy are visits, and is there anything that could be shown?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats

from hyperalign_dspy.errors import GateFailed
from hyperalign_dspy.metrics.stats import LEVEL, smallest_gain
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import HasUser, TaskData

# The baseline must answer so much of the pilot: beating a program that cannot be parsed is no gain.
_ANSWERED = 0.95
# Fewer users tell too little of how far they lie apart.
_LEAST_USERS = 6
_POWER = 0.8

_Blocks = Sequence[Sequence[HasUser]]


def pilot_blocks(blocks: _Blocks) -> _Blocks:
    """The first blocks, as many as it takes to meet six users."""
    users: set[str] = set()
    for place, block in enumerate(blocks):
        users |= {instance.user_id for instance in block}
        if len(users) >= _LEAST_USERS:
            return blocks[: place + 1]
    return blocks


def pilot(
    task_data: TaskData,
    visits: Visits,
    first: Configuration | None,
    force: bool,
    say: Callable[[str], None],
    planned: int,
) -> None:
    """Let the baseline answer the pilot's blocks, and beside it what is to be visited first, where anything is.

    Its visits count: the search begins with what they told. ``planned`` is how many visits are paid for after them.

    Raises:
        GateFailed: the baseline does not answer; or no gain could be shown, and nobody said to go on ``force``.
    """
    blocks = pilot_blocks(visits.blocks)
    outcomes = [outcome for place in range(len(blocks)) for outcome in visits.on_block(place)]
    share = sum(outcome.score is not None for outcome in outcomes) / len(outcomes)
    if share < _ANSWERED:
        raise GateFailed(
            f"The baseline answered {share:.0%} of the pilot's calls; a search starts at {_ANSWERED:.0%}.",
            fix="Declare another adapter for the baseline in program.toml, or take another model.",
        )
    if first is None:
        return
    for begun in [visits.begin(first) for _ in blocks]:
        visits.end(begun)
    instances = [instance for block in blocks for instance in block]
    found = pilot_power(
        visits.gaps(first), (planned, len(blocks)), _shape(task_data, instances), _room(task_data, outcomes)
    )
    say(found.words(task_data.unit))
    if found.hopeless and not force:
        raise GateFailed(
            "Even by the most hopeful reading of the pilot the confirmation could show no gain below "
            f"{found.mde_lower:.2f} {task_data.unit}, and the baseline lies only {found.headroom:.2f} below the "
            "best that can be hoped for.",
            fix="Take more users or requests (see `--plan`), or search all the same with --force.",
        )


def _shape(task_data: TaskData, instances: Sequence[HasUser]) -> tuple[int, float]:
    """Sealed users, and how many requests each has for one of the pilot's."""
    sealed, met = ([i.user_id for i in part] for part in (task_data.sealed, instances))
    each = [len(ids) / len(set(ids)) for ids in (sealed, met)]
    return len(set(sealed)), each[0] / each[1]


def _room(task_data: TaskData, outcomes: Sequence[Outcome]) -> float | None:
    """How far the baseline lies below the best that can be hoped for."""
    values = [o.score.value for o in outcomes if o.score and not o.score.harm]
    return task_data.ceiling - fmean(values) if task_data.ceiling is not None and values else None


@dataclass(frozen=True)
class _PilotPower:
    """What a pilot says of a run, all in the task's unit.

    ``block_sd``: the standard deviation of a block's mean difference, by luck alone. ``detectable_difference``: the
    difference between the two candidates of a slot that all visits together would find in 80% of searches, were every
    visit to speak for one or the other. ``mde``: the smallest gain that the confirmation finds in 80% of runs;
    ``mde_lower``: the same, were users as alike as the pilot leaves possible (the lower end of a one-sided 95% interval
    of their spread). ``headroom``: how far the baseline lies below the best that can be hoped for (people's own text);
    None where nobody knows.
    """

    block_sd: float
    detectable_difference: float
    mde: float
    mde_lower: float
    headroom: float | None

    @property
    def hopeless(self) -> bool:
        """Whether even the best that can be hoped for could not be shown."""
        return self.headroom is not None and self.mde_lower > self.headroom

    def words(self, unit: str) -> str:
        """All of it, on one line."""
        known = self.headroom is not None
        best = f"; the best that can be hoped for lies {self.headroom:.2f} above the baseline" if known else ""
        return (
            f"Pilot: a block's mean is off by {self.block_sd:.2f} {unit} by luck (one standard deviation); all visits "
            f"together tell two candidates apart that differ by {self.detectable_difference:.2f}; the confirmation "
            f"shows a gain of {self.mde:.2f} or more{best}."
        )


def pilot_power(
    gaps: Sequence[float], visits: tuple[int, int], sealed: tuple[int, float], headroom: float | None
) -> _PilotPower:
    """From the pilot's paired differences, one a user, between the baseline and something unlike it.

    ``visits``: how many are paid for, and how many blocks the pilot met. ``sealed``: the number of sealed users, and
    how many requests each has for one of the pilot's. The spread between users holds what users truly differ in, so it
    errs on the side of caution.
    """
    (planned, blocks), (users, requests), count = visits, sealed, len(gaps)
    spread = stdev(gaps) if count > 1 else math.inf
    block_sd = spread / math.sqrt(max(1.0, count / blocks))
    quantiles = float(stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(_POWER))
    # Of more requests a user the noise is less, and what users truly differ in is not: half of it counted so.
    finer = math.sqrt((1 + 1 / max(requests, 1.0)) / 2)
    least = spread * math.sqrt((count - 1) / float(stats.chi2.ppf(0.95, count - 1))) if count > 1 else 0.0
    return _PilotPower(
        block_sd=block_sd,
        detectable_difference=quantiles * 2 * block_sd / math.sqrt(planned),
        mde=smallest_gain(users, spread * finer),
        mde_lower=smallest_gain(users, least * finer),
        headroom=headroom,
    )
