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
class _Headroom:
    """What a pilot says of a run, all in the task's unit.

    ``noise``: the standard deviation of a block's mean difference, by luck alone. ``apart``: the difference between the
    two candidates of a slot that all visits together would find in 80% of searches, were every visit to speak for one
    or the other. ``showable``: the smallest gain that the confirmation finds in 80% of runs; ``sure``: the same, were
    users as alike as the pilot leaves possible (the lower end of a one-sided 95% interval of their spread). ``room``:
    how far the baseline lies below the best that can be hoped for (people's own text); None where nobody knows.
    """

    noise: float
    apart: float
    showable: float
    sure: float
    room: float | None

    @property
    def hopeless(self) -> bool:
        """Whether even the best that can be hoped for could not be shown."""
        return self.room is not None and self.sure > self.room

    def words(self, unit: str) -> str:
        """All of it, on one line."""
        room = "" if self.room is None else f"; the best that can be hoped for lies {self.room:.2f} above the baseline"
        return (
            f"Pilot: a block's mean is off by {self.noise:.2f} {unit} by luck (one standard deviation); all visits "
            f"together tell two candidates apart that differ by {self.apart:.2f}; the confirmation shows a gain of "
            f"{self.showable:.2f} or more{room}."
        )


def headroom(
    gaps: Sequence[float], visits: tuple[int, int], sealed: tuple[int, float], room: float | None
) -> _Headroom:
    """From the pilot's paired differences, one a user, between the baseline and something unlike it.

    ``visits``: how many are paid for, and how many blocks the pilot met. ``sealed``: the number of sealed users, and
    how many requests each has for one of the pilot's. The spread between users holds what users truly differ in, so it
    errs on the side of caution.
    """
    (planned, blocks), (users, requests), count = visits, sealed, len(gaps)
    spread = stdev(gaps) if count > 1 else math.inf
    noise = spread / math.sqrt(max(1.0, count / blocks))
    quantiles = float(stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(_POWER))
    # Of more requests a user the noise is less, and what users truly differ in is not: half of it counted so.
    finer = math.sqrt((1 + 1 / max(requests, 1.0)) / 2)
    least = spread * math.sqrt((count - 1) / float(stats.chi2.ppf(0.95, count - 1))) if count > 1 else 0.0
    return _Headroom(
        noise=noise,
        apart=quantiles * 2 * noise / math.sqrt(planned),
        showable=smallest_gain(users, spread * finer),
        sure=smallest_gain(users, least * finer),
        room=room,
    )
