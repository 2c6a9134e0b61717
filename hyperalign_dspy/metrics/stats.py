"""What numbers bear: intervals over users, the smallest gain that can be seen, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


def proportion(values: Sequence[float], users: Sequence[str]) -> Estimate:
    """`paired` for values between 0 and 1, the interval cut to what can be."""
    found = paired(values, users)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high)) if found.low == found.low else found


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


def shrink(groups: Sequence[Sequence[float]]) -> list[float]:
    """Each group's mean, drawn towards the mean of all groups by as much as its distance may be luck.

    Empirical Bayes with normal errors: the noise of one value is pooled over the groups, and how far groups truly lie
    apart is learnt from how far their means do (DerSimonian and Laird, Meta-analysis in clinical trials, 1986). Groups
    that lie no further apart than noise would put them all get the common mean.
    """
    if not groups:
        return []
    means = [fmean(group) for group in groups]
    noise = _pooled_variance(groups)
    weights = [len(group) / noise for group in groups]
    common = _weighted(means, weights)
    excess = sum(w * (m - common) ** 2 for w, m in zip(weights, means, strict=True)) - (len(groups) - 1)
    scale = sum(weights) - sum(w * w for w in weights) / sum(weights)
    spread = max(0.0, excess / scale) if scale > 0 else 0.0
    common = _weighted(means, [1 / (spread + 1 / w) for w in weights])
    return [common + spread / (spread + 1 / w) * (m - common) for w, m in zip(weights, means, strict=True)]


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def _pooled_variance(groups: Sequence[Sequence[float]]) -> float:
    """The variance within groups; where no group has two values, a wide guess."""
    degrees = sum(len(group) - 1 for group in groups)
    if degrees == 0:
        return _UNKNOWN_SPREAD**2
    within = sum((len(group) - 1) * stdev(group) ** 2 for group in groups if len(group) > 1)
    return max(within / degrees, 1e-12)
