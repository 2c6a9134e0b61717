"""What visits tell of configurations that share candidates: a linear model with random effects.

    value = common + an effect of each candidate + the configuration's own + the block's + noise

Configurations with a common candidate so share strength; and what all configurations met on one block (the baseline's
own luck there, since values are differences to it) is taken out. Variances are learnt from the visits by expectation
maximisation (Laird and Ware, Random-effects models for longitudinal data, 1982), each held by a weak prior.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_Floats = NDArray[np.float64]
Levels = tuple[Hashable, ...]
# How many observations the prior of a variance weighs.
_WEIGHT = 2.0
_ROUNDS = 15
# Prior standard deviations in units of the values' own: a candidate's effect, a configuration's, a block's, noise.
_CANDIDATE, _OWN, _BLOCK, _NOISE = 0.5, 0.25, 0.6, 0.8
_COMMON = 10.0
# Where a standard normal variable is looked at: the middles of so many equally likely parts.
_POINTS = stats.norm.ppf((np.arange(31) + 0.5) / 31)


@dataclass(frozen=True)
class Observation:
    """One value of a configuration: a candidate for each slot, and the block (or user) on which it was met; ``n``
    weighs it, as the mean of so many."""

    levels: Levels
    block: Hashable
    value: float
    n: float = 1.0


class LinearMixedModel:
    """Fitted to what was seen. Values keep their own scale outside."""

    def __init__(self, seen: Sequence[Observation]) -> None:
        # The values' own spread; 1 where they have none.
        self._scale = float(np.sqrt(np.mean(np.array([s.value for s in seen]) ** 2))) or 1.0
        self._own = {levels: place for place, levels in enumerate(dict.fromkeys(s.levels for s in seen))}
        self._candidates = [
            {level: place for place, level in enumerate(dict.fromkeys(s.levels[slot] for s in seen))}
            for slot in range(len(seen[0].levels))
        ]
        self._blocks = {block: place for place, block in enumerate(dict.fromkeys(s.block for s in seen))}
        self._sizes = [1, *(len(c) for c in self._candidates), len(self._own), len(self._blocks)]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._variances = np.array([_COMMON**2, *[_CANDIDATE**2] * len(self._candidates), _OWN**2, _BLOCK**2])
        self._priors = self._variances.copy()
        self._fit(seen)

    def means(self, configurations: Sequence[Levels]) -> _Floats:
        """The expected value of each configuration, seen or not."""
        return np.asarray(self._rows(configurations) @ self._mean * self._scale)

    def knowledge_gradient(self, configurations: Sequence[Levels], most: int) -> _Floats:
        """What one more visit to each configuration is expected to add to the best of their means: the knowledge
        gradient for correlated beliefs (Frazier, Powell and Dayanik, 2009).

        Only the ``most`` hopeful are thought of as the best; any can be what tells of them.
        """
        rows, unseen = self._rows(configurations), self._unseen(configurations)
        means, half = rows @ self._mean, rows @ self._covariance
        alone = (half * rows).sum(axis=1) + unseen
        hopeful = np.argsort(-(means + np.sqrt(alone)), kind="stable")[:most]
        shared = half @ rows[hopeful].T
        shared[hopeful, np.arange(len(hopeful))] = alone[hopeful]
        moved = shared / np.sqrt(alone + self._noise)[:, None]
        rivals = means[hopeful][:, None]
        found = [np.max(rivals + row[:, None] * _POINTS, axis=0).mean() - rivals.max() for row in moved]
        return np.asarray(np.maximum(found, 0.0) * self._scale)

    def _fit(self, seen: Sequence[Observation]) -> None:
        values = np.array([s.value for s in seen]) / self._scale
        weights = np.array([s.n for s in seen]) / np.mean([s.n for s in seen])
        design = self._rows([s.levels for s in seen])
        for row, s in enumerate(seen):
            design[row, self._starts[-2] + self._blocks[s.block]] = 1.0
        noise, weighed = _NOISE**2, design.T * weights
        # All that is ever asked of the values: so a round takes no longer for many.
        square, moment, whole = weighed @ design, weighed @ values, float(weights @ values**2)
        for _ in range(_ROUNDS):
            self._solve(square, moment, noise)
            self._learn()
            left = whole + float(self._mean @ (square @ self._mean - 2 * moment))
            spread = float((square * self._covariance).sum())
            noise = (max(left, 0.0) + spread + _WEIGHT * _NOISE**2) / (len(values) + _WEIGHT)
        self._solve(square, moment, noise)
        self._noise = noise

    def _solve(self, square: _Floats, moment: _Floats, noise: float) -> None:
        prior = np.repeat(1 / self._variances, self._sizes)
        self._covariance = np.linalg.inv(square / noise + np.diag(prior))
        self._mean = self._covariance @ moment / noise

    def _learn(self) -> None:
        """Each group's variance from its effects and what is not known of them; the common value keeps its own."""
        found = self._mean**2 + np.diag(self._covariance)
        for group in range(1, len(self._sizes)):
            part = found[self._starts[group] : self._starts[group + 1]]
            self._variances[group] = (part.sum() + _WEIGHT * self._priors[group]) / (len(part) + _WEIGHT)

    def _rows(self, configurations: Sequence[Levels]) -> _Floats:
        """One row for each configuration: which effects make its value. A candidate never met has none."""
        rows = np.zeros((len(configurations), self._starts[-1]))
        rows[:, 0] = 1.0
        for row, levels in enumerate(configurations):
            for slot, level in enumerate(levels):
                if level in self._candidates[slot]:
                    rows[row, self._starts[slot + 1] + self._candidates[slot][level]] = 1.0
            if levels in self._own:
                rows[row, self._starts[-3] + self._own[levels]] = 1.0
        return rows

    def _unseen(self, configurations: Sequence[Levels]) -> _Floats:
        """The variance of what was never met of each configuration: candidates, and its own effect."""
        slots, own = self._variances[1:-2], self._variances[-2]
        return np.array(
            [
                sum(slots[n] for n, level in enumerate(levels) if level not in self._candidates[n])
                + (0.0 if levels in self._own else own)
                for levels in configurations
            ]
        )
