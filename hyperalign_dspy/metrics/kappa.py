"""How far two who sort the same things agree beyond what chance would have it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyperalign_dspy.metrics.stats import Estimate

_RESAMPLES = 4000
Floats = NDArray[np.float64]


def kappa(first: Sequence[bool], second: Sequence[bool], seed: int = 0) -> Estimate:
    """Cohen's kappa of two sortings into two kinds (A coefficient of agreement for nominal scales, 1960): 1 where they
    always agree, 0 where no more than by chance; nan where each has one kind only.

    Its 95% interval is a percentile bootstrap over the things that were sorted.
    """
    n = len(first)
    cells = np.bincount([2 * a + b for a, b in zip(first, second, strict=True)], minlength=4)
    drawn = _kappa(np.random.default_rng(seed).multinomial(n, cells / n, _RESAMPLES))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (math.nan, math.nan)
    return Estimate(float(_kappa(cells[None])[0]), float(low), float(high), n, n)


def _kappa(cells: NDArray[np.int64]) -> Floats:
    """Of tables, one a row: neither, second only, first only, both."""
    share = cells / cells.sum(axis=1, keepdims=True)
    agreed = share[:, 0] + share[:, 3]
    mine, theirs = share[:, 2] + share[:, 3], share[:, 1] + share[:, 3]
    chance = mine * theirs + (1 - mine) * (1 - theirs)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((agreed - chance) / (1 - chance))
