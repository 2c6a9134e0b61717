"""What numbers bear: intervals over users, the smallest gain that can be seen, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from scipy import optimize, stats

Verdict = Literal["gain", "no gain", "loss", "harm not excluded", "constraint not met"]
# A rise of harm by so much or more has to be excluded before help counts as a gain.
_MOST_HARM = 0.1
LEVEL = 0.95
# How far wins of one user's texts go together, where a plan has to guess.
ICC = 0.2
# Fewer users bear no interval.
LEAST_USERS = 3


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


def widened(estimate: Estimate, level: float = LEVEL) -> Estimate:
    """An estimate of a share, or of its change, that is never without width: where all users say the same, the exact
    bound for what none of so many has shown (Clopper and Pearson, 1934).
    """
    if estimate.high > estimate.low or estimate.low != estimate.low:
        return estimate
    room = 1 - ((1 - level) / 2) ** (1 / estimate.n_users)
    return replace(estimate, low=estimate.mean - room, high=estimate.mean + room)


@dataclass(frozen=True)
class Agreement:
    """How far two judges see the same differences: the share with one sign (nan of none), and Spearman's correlation
    over instances (nan where one of them sees no differences)."""

    same_sign: Estimate
    correlation: float


def agreement(first: Sequence[float], second: Sequence[float], users: Sequence[str]) -> Agreement:
    """Compare two judges' differences on the same instances; where either sees none, the sign is half the same."""
    same = [0.5 if a * b == 0 else float(a * b > 0) for a, b in zip(first, second, strict=True)]
    varied = len(set(first)) > 1 and len(set(second)) > 1
    return Agreement(proportion(same, users), float(stats.spearmanr(first, second).statistic) if varied else math.nan)


def verdict(estimate: Estimate, harm: Estimate | None = None, level: float = LEVEL) -> Verdict:
    """Gain or loss where the interval excludes 0, and no gain otherwise; unless the interval of ``harm``, the rise of
    what should not be, ends below ten points, a gain is "harm not excluded". ``level`` is that of both intervals.
    """
    if estimate.low > 0:
        excluded = harm is None or widened(harm, level).high < _MOST_HARM
        return "gain" if excluded else "harm not excluded"
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


def smallest_win(n_users: int, requests: float, power: float = 0.8) -> float:
    """The smallest win rate above a half that is found with this power, over so many users with so many requests each.

    Wins of one user are taken to correlate by `ICC`. The spread is that at the win rate itself, so it is solved for.
    """
    shared = ICC + (1 - ICC) / requests

    def lacking(win: float) -> float:
        return smallest_gain(n_users, math.sqrt(win * (1 - win) * shared), power) - (win - 0.5)

    top = 1 - 1e-6
    return 1.0 if lacking(top) > 0 else float(optimize.brentq(lacking, 0.5, top))
