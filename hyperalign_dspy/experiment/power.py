"""Before a search is paid for: how noisy is a block, what can be told apart, and is there anything to be gained?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from scipy import stats

from hyperalign_dspy.metrics.stats import LEVEL, smallest_gain

_POWER = 0.8


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
