"""Searchers compared on score tables: true gain on sealed users against calls, over many replays.

Intervals resample both seeds and the users on whom a choice is judged: a table has few, and which of them it has is
luck too. What a search would have chosen on other users is not in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.bench.replay import World, replayed
from hyperalign_dspy.experiment.bench.tables import ScoreTable
from hyperalign_dspy.optimize.study import SamplerMaker

_Floats = NDArray[np.float64]
_RESAMPLES = 1000
_POINTS = 24
_RIVAL = "miprov2"
# With fewer, a half of them is nobody to judge by.
_LEAST_USERS = 8
# What is to be had by knowing all, and by knowing nothing.
_CONTROLS = ("everything", "blind")


@dataclass(frozen=True)
class _Figure:
    """A mean over replays with its 95% interval over seeds and users."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class _Curve:
    """A searcher's mean true gain after so many calls; ``spent`` is what its runs cost on average to their end, ``end``
    the gain there and ``below`` the share of runs that end with a loss on their sealed users.
    """

    calls: tuple[float, ...]
    gains: tuple[_Figure, ...]
    spent: float
    end: _Figure
    below: _Figure


@dataclass(frozen=True)
class _Against:
    """A searcher beside MIPROv2.

    ``reaches``: the calls from which on its mean gain is MIPROv2's at the end, as a share of MIPROv2's calls (infinite
    where it is not within 1.5 of them). ``gap`` and ``ratio``: its gain minus, and over, MIPROv2's at equal calls.
    ``below``: the share of its runs that lie below the baseline there; ``rival_below``: of MIPROv2's. Where MIPROv2's
    gain does not exclude 0 there is nothing to reach and nothing to divide by: then ``reaches`` and ``ratio`` are None.
    Controls are no searches: they are taken at their end, whatever it cost, and reach nothing.
    """

    reaches: _Figure | None
    gap: _Figure
    ratio: _Figure | None
    below: _Figure
    rival_below: _Figure


@dataclass(frozen=True)
class Comparison:
    """What replays of several searchers on one table gave."""

    seeds: int
    users: int
    best: float
    curves: Mapping[str, _Curve]
    against: Mapping[str, _Against]


class _Replays:
    """All replays on one table, and gains drawn from them."""

    def __init__(
        self,
        table: ScoreTable,
        seeds: int,
        names: Sequence[str],
        samplers: Mapping[str, SamplerMaker],
        tick: Callable[[str, int], None],
    ) -> None:
        self.table, self.seeds, self.worth = table, seeds, table.gaps_by_user()
        worlds = [World(table, seed) for seed in range(seeds)]
        self.sealed = np.array([[float(u in world.sealed) for u in sorted(set(table.users))] for world in worlds])
        self.traces = replayed(table, seeds, names, samplers, tick)
        rng, count = np.random.default_rng(0), self.worth.shape[1]
        self._seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLES) / seeds
        self._user_weights = rng.multinomial(count, np.full(count, 1 / count), _RESAMPLES).astype(float)

    def spent(self, name: str) -> _Floats:
        """What each run cost to its end."""
        return np.array([trace.calls[-1] for trace in self.traces[name]], dtype=float)

    def chosen(self, name: str, calls: _Floats) -> list[int]:
        """What each run had chosen after so many calls."""
        pairs = zip(self.traces[name], calls, strict=True)
        return [trace.at(spent, self.table.baseline) for trace, spent in pairs]

    def gains(self, chosen: Sequence[int]) -> _Floats:
        """Each run's true gain: the mean over its sealed users."""
        worth = self.worth[list(chosen)]
        return np.asarray((worth * self.sealed).sum(axis=1) / self.sealed.sum(axis=1))

    def resampled(self, chosen: Sequence[int]) -> _Floats:
        """resamples x runs: each run's true gain over resampled sealed users."""
        worth = self.worth[list(chosen)] * self.sealed
        return np.asarray((self._user_weights @ worth.T) / np.maximum(self._user_weights @ self.sealed.T, 1.0))

    def figure(self, chosen: Sequence[int], of: Callable[[_Floats], _Floats] = lambda gains: gains) -> _Figure:
        """The mean over runs, of their gains or of what is asked of these."""
        drawn = (of(self.resampled(chosen)) * self._seed_weights).sum(axis=1)
        return _figure(float(of(self.gains(chosen)).mean()), drawn)

    def means(self, chosen: Sequence[int]) -> _Floats:
        """The mean gain in every resample."""
        return np.asarray((self.resampled(chosen) * self._seed_weights).sum(axis=1))


def compare(
    table: ScoreTable,
    seeds: int,
    names: Sequence[str],
    tick: Callable[[str, int], None] = lambda name, done: None,
    samplers: Mapping[str, SamplerMaker] | None = None,
) -> Comparison:
    """Replay every searcher on a table, with so many partings of its users.

    ``names`` are of `hyperalign_dspy.experiment.bench.replay.SEARCHERS`; ``samplers``, by names of your own, make an
    Optuna sampler of a seed, and run in our search. ``tick`` hears which has been replayed how often.

    Raises:
        UnknownName: a name that no searcher goes by. DataError: too few users, or a pool without a choice.
    """
    _refuse_small(table)
    replays = _Replays(table, seeds, names, samplers or {}, tick)
    names = list(replays.traces)
    top = max(float(replays.spent(name).max()) for name in names)
    grid = np.unique(np.round(np.geomspace(top / 60, top, _POINTS)))
    return Comparison(
        seeds=seeds,
        users=len(set(table.users)),
        best=float(replays.worth.mean(axis=1).max()),
        curves={name: _curve(replays, name, grid) for name in names},
        against={name: _against(replays, name) for name in names if _RIVAL in names and name != _RIVAL},
    )


def _refuse_small(table: ScoreTable) -> None:
    users, pool = len(set(table.users)), len(table.choices)
    if users < _LEAST_USERS or pool < 2 or pool != math.prod(map(len, table.slots.values())):
        raise DataError(
            f"This table has {users} users and {pool} configurations: replays want {_LEAST_USERS} users or more, and "
            "every combination of two candidates or more.",
            fix="Make a larger one: hyperalign bench tabulate --out FILE",
        )


def _curve(replays: _Replays, name: str, grid: _Floats) -> _Curve:
    spent = replays.spent(name)
    calls = [c for c in grid if c <= spent.mean()] + [spent.mean()]
    end = replays.chosen(name, spent)
    return _Curve(
        calls=tuple(float(c) for c in calls),
        gains=tuple(replays.figure(replays.chosen(name, np.full(len(spent), c))) for c in calls),
        spent=float(spent.mean()),
        end=replays.figure(end),
        below=replays.figure(end, _below),
    )


def _against(replays: _Replays, name: str) -> _Against:
    equal, control = replays.spent(_RIVAL), name in _CONTROLS
    theirs, mine = replays.chosen(_RIVAL, equal), replays.chosen(name, replays.spent(name) if control else equal)
    rival, own = replays.means(theirs), replays.means(mine)
    goal, reached = float(replays.gains(theirs).mean()), float(replays.gains(mine).mean())
    proven = replays.figure(theirs).low > 0
    return _Against(
        reaches=_reaches(replays, name, goal, rival) if proven and not control else None,
        gap=_figure(reached - goal, own - rival),
        ratio=_figure(reached / goal, own / rival) if proven else None,
        below=replays.figure(mine, _below),
        rival_below=replays.figure(theirs, _below),
    )


def _reaches(replays: _Replays, name: str, goal: float, rival: _Floats) -> _Figure:
    equal = float(replays.spent(_RIVAL).mean())
    shares = np.linspace(0.01, 1.5, 150)
    paths = [replays.chosen(name, np.full(replays.seeds, equal * s)) for s in shares]
    means = np.array([replays.gains(path).mean() for path in paths])
    drawn = np.stack([replays.means(path) for path in paths])
    firsts = [_first(shares, drawn[:, n] >= rival[n]) for n in range(len(rival))]
    return _figure(_first(shares, means >= goal), np.array(firsts))


def _first(shares: _Floats, there: NDArray[np.bool_]) -> float:
    """The share from which on it is there to the end."""
    missing = np.flatnonzero(~there)
    start = missing[-1] + 1 if len(missing) else 0
    return float(shares[start]) if start < len(shares) else float("inf")


def _below(gains: _Floats) -> _Floats:
    return np.asarray(gains < 0, dtype=float)


def _figure(mean: float, drawn: _Floats) -> _Figure:
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return _Figure(mean, float(low), float(high))
