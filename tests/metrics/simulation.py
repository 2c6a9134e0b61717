"""Do the statistics keep their word? Simulated runs of which the truth is known: intervals, false gains, power, bias.

A user's wins go together: behind each text lies a latent difference, part of which is the user's own. Its share is set
so that wins of one user correlate by ``icc``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hyperalign_dspy.metrics.stats import ICC, Estimate, paired, smallest_win, verdict

Floats = NDArray[np.float64]
CONFIGURATIONS = 50


@dataclass(frozen=True)
class Rate:
    """A share of simulated runs with its exact 95% interval (Clopper and Pearson, 1934)."""

    share: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Bias:
    """Mean of reported minus true win rate, with the 95% interval of the simulation itself; nan of no run."""

    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class SearchTrial:
    """What simulated searches among configurations of one true worth ended with.

    ``gains``: how often a gain was declared. ``reported``: bias of the sealed figure over all runs; ``validation``:
    of the winner's validation figure; ``declared``: of the sealed figure in those runs that declared a gain.
    """

    true_win: float
    gains: Rate
    reported: Bias
    validation: Bias
    declared: Bias


def coverage(users: int, requests: int, replications: int, seed: int, true_win: float = 0.5) -> Rate:
    """How often the 95% interval over users holds the true win rate."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(replications):
        estimate = _estimate(_wins(rng, users, requests, true_win))
        held += estimate.low <= true_win <= estimate.high
    return _rate(held, replications)


def search_trial(
    true_win: float, runs: int, seed: int, *, searched: int = 14, sealed: int = 24, requests: int = 3
) -> SearchTrial:
    """Searches among 50 configurations that are all equally good, each confirmed once on sealed users.

    The best mean is chosen: where all were visited alike, drawing means to each other does not change their order.
    """
    rng = np.random.default_rng(seed)
    outcomes = [_one_search(rng, true_win, searched, sealed, requests) for _ in range(runs)]
    declared = [sealed_ for _, sealed_, gained in outcomes if gained]
    return SearchTrial(
        true_win=true_win,
        gains=_rate(len(declared), runs),
        reported=_bias([sealed_ for _, sealed_, _ in outcomes], true_win),
        validation=_bias([seen for seen, _, _ in outcomes], true_win),
        declared=_bias(declared, true_win),
    )


def planted(sealed: int = 24, requests: int = 3) -> float:
    """The win rate that so many users and requests can show in 80% of runs."""
    return smallest_win(sealed, requests)


def _one_search(
    rng: np.random.Generator, true_win: float, searched: int, sealed: int, requests: int
) -> tuple[float, float, bool]:
    """The winner's validation figure, its sealed figure, and whether a gain was declared."""
    seen = [_wins(rng, searched, requests, true_win) for _ in range(CONFIGURATIONS)]
    best = max(float(wins.mean()) for wins in seen)
    confirmed = _estimate(_wins(rng, sealed, requests, true_win))
    shifted = Estimate(
        confirmed.mean - 0.5, confirmed.low - 0.5, confirmed.high - 0.5, confirmed.n_users, confirmed.n_instances
    )
    return best, confirmed.mean, verdict(shifted) == "gain"


def _wins(rng: np.random.Generator, users: int, requests: int, true_win: float) -> Floats:
    """users x requests: 1 for a win."""
    own = math.sin(math.pi * ICC / 2)
    latent = rng.normal(0, math.sqrt(own), (users, 1)) + rng.normal(0, math.sqrt(1 - own), (users, requests))
    return np.asarray(latent + stats.norm.ppf(true_win) > 0, dtype=float)


def _estimate(wins: Floats) -> Estimate:
    users, requests = wins.shape
    return paired(wins.ravel().tolist(), [str(user) for user in range(users) for _ in range(requests)])


def _rate(count: int, runs: int) -> Rate:
    found = stats.binomtest(count, runs).proportion_ci(0.95, method="exact")
    return Rate(count / runs, float(found.low), float(found.high), runs)


def _bias(reported: Sequence[float], true_win: float) -> Bias:
    found = paired([value - true_win for value in reported], [str(n) for n in range(len(reported))])
    return Bias(found.mean, found.low, found.high, len(reported))
