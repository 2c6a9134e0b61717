"""What numbers bear: intervals over users, the smallest gain that can be seen, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from scipy import optimize, stats

Verdict = Literal["gain", "no gain", "loss"]
LEVEL = 0.95
# Fewer users bear no interval.
LEAST_USERS = 3
# Spread of a paired difference between users, in log-odds, where there is only one user to go by.
_UNKNOWN_SPREAD = 2.0


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval over users; nan where there are too few users for one."""

    mean: float
    low: float
    high: float
    n_users: int
    n_instances: int


def per_user(values: Sequence[float], users: Sequence[str]) -> list[float]:
    """Each user's mean, users in order of appearance: texts of one user are not independent."""
    groups: dict[str, list[float]] = {}
    for value, user in zip(values, users, strict=True):
        groups.setdefault(user, []).append(value)
    return [fmean(group) for group in groups.values()]


def paired(values: Sequence[float], users: Sequence[str], level: float = LEVEL) -> Estimate:
    """Student's t interval on per-user means."""
    means = per_user(values, users)
    n = len(means)
    mean = fmean(means) if means else math.nan
    if n < LEAST_USERS:
        return Estimate(mean, math.nan, math.nan, n, len(values))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * stdev(means) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n, len(values))


def verdict(estimate: Estimate) -> Verdict:
    """Gain or loss where the interval excludes 0, and no gain otherwise."""
    if estimate.low > 0:
        return "gain"
    return "loss" if estimate.high < 0 else "no gain"


def smallest_gain(n_users: int, sd: float, power: float = 0.8, level: float = LEVEL) -> float:
    """The smallest mean difference that a t-test over users finds with this power.

    ``sd`` is the standard deviation of per-user means. Exact, by the noncentral t distribution (Cohen, Statistical
    Power Analysis, 1988, chapter 2).
    """
    if n_users < LEAST_USERS or sd <= 0:
        return math.inf if sd > 0 else 0.0
    degrees = n_users - 1
    critical = stats.t.ppf((1 + level) / 2, degrees)
    shift = optimize.brentq(lambda d: 1 - stats.nct.cdf(critical, degrees, d) - power, 1e-6, 2 * critical + 3)
    return float(shift) * sd / math.sqrt(n_users)


def shrunk_mean(values: Sequence[float], users: Sequence[str], prior_sd: float) -> float:
    """A mean drawn towards 0 by how little is known of it: normal prior around 0, error over users."""
    means = per_user(values, users)
    if not means:
        return 0.0
    spread = stdev(means) if len(means) > 1 else _UNKNOWN_SPREAD
    error = max(spread**2, 1e-12) / len(means)
    return fmean(means) * prior_sd**2 / (prior_sd**2 + error)
