"""Who is visited next: an ordinary Optuna sampler, of use in anyone's study.

A trial is a visit: its value is what a configuration was worth on one block of instances. Trials may say more in their
user attributes: ``block``, which instances they met (all configurations that met the same share its luck), and
``instances``, how many these were. Where a trial says nothing, its place among its configuration's visits stands for
the block. A failed trial that says ``exhausted`` names a configuration that is not to be suggested again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.optimize.surrogate import Levels, LinearMixedModel, Observation

# What makes a sampler of a seed.
SAMPLERS: Mapping[str, str] = {
    "knowledge": "hyperalign_dspy.optimize.samplers:KnowledgeSampler",
    "tpe": "hyperalign_dspy.optimize.samplers:_tpe",
    "nsga2": "hyperalign_dspy.optimize.samplers:_nsga2",
    "random": "optuna.samplers:RandomSampler",
}
# What a trial is told.
BLOCK, INSTANCES, EXHAUSTED = "block", "instances", "exhausted"
# A larger space is not looked through whole.
_MOST = 2048
# So many visits are made before the model is asked.
_STARTUP = 4
# So many of the most hopeful configurations are thought of as the best that there may be.
_KEENLY = 256
_Space = Mapping[str, BaseDistribution]


class KnowledgeSampler(optuna.samplers.BaseSampler):
    """Visits what is expected to tell most about the best choice, for what it costs (the knowledge gradient).

    It chooses among whole configurations of the categorical parameters, by `LinearMixedModel`; any other parameter is
    drawn at random. ``cost`` says what a visit costs. The first four visits are as unlike as can be. Visits under way
    count as if they ended as expected.
    """

    def __init__(self, seed: int | None = None, cost: Callable[[Mapping[str, Any]], float] | None = None) -> None:
        self._independent = optuna.samplers.RandomSampler(seed=seed)
        self._rng = np.random.default_rng(seed)
        self._intersection = optuna.search_space.IntersectionSearchSpace()
        self.cost = cost

    def reseed_rng(self) -> None:
        """New random numbers, as Optuna asks for in each of its workers."""
        self._independent.reseed_rng()
        self._rng = np.random.default_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The categorical parameters that all trials so far have."""
        found = self._intersection.calculate(study)
        return {n: d for n, d in found.items() if isinstance(d, CategoricalDistribution) and not d.single()}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        """What is no slot, or of which nothing is known yet: at random."""
        self._single(study)
        return self._independent.sample_independent(study, trial, name, distribution)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next configuration, or nothing where no visit has ended yet."""
        self._single(study)
        slots = {name: d for name, d in search_space.items() if isinstance(d, CategoricalDistribution)}
        rest = {name: d for name, d in search_space.items() if name not in slots}
        others = {name: self.sample_independent(study, trial, name, d) for name, d in rest.items()}
        visits = _visits(study, slots)
        if not slots or not visits:
            return others
        flying = [levels for levels, other in _met(study, slots, TrialState.RUNNING) if other.number != trial.number]
        failed = _met(study, slots, TrialState.FAIL)
        barred = {levels for levels, other in failed if other.user_attrs.get(EXHAUSTED)}
        pool = _pool(slots, [v.levels for v in visits], self._rng)
        levels = self._next(visits, flying, [c for c in pool if c not in barred] or pool, sorted(slots))
        return {**others, **dict(zip(sorted(slots), levels, strict=True))}

    def _single(self, study: optuna.Study) -> None:
        if len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__} is for one objective; take NSGA-II for several.")

    def _next(
        self, visits: Sequence[Observation], flying: Sequence[Levels], pool: Sequence[Levels], names: Sequence[str]
    ) -> Levels:
        met = [v.levels for v in visits] + list(flying)
        if len(met) < _STARTUP:
            return _unlike(met, pool, self._rng)
        model = LinearMixedModel(visits)
        if flying:
            weight = float(np.mean([v.n for v in visits]))
            expected = zip(flying, model.means(flying), strict=True)
            under_way = (Observation(levels, "under way", float(mean), weight) for levels, mean in expected)
            model = LinearMixedModel([*visits, *under_way])
        worth = model.knowledge_gradient(pool, _KEENLY)
        if self.cost:
            worth = worth / np.array([self.cost(dict(zip(names, levels, strict=True))) for levels in pool])
        best = np.flatnonzero(worth >= worth.max() * (1 - 1e-9))
        return pool[int(self._rng.choice(best))]


def _met(study: optuna.Study, space: _Space, state: TrialState) -> list[tuple[Levels, FrozenTrial]]:
    """The trials in a state that have every slot, in the order of their numbers, each with its configuration."""
    names = sorted(space)
    trials = study.get_trials(deepcopy=False, states=(state,))
    return [(tuple(t.params[name] for name in names), t) for t in trials if all(name in t.params for name in names)]


def _visits(study: optuna.Study, space: _Space) -> list[Observation]:
    """Finished trials with a number to their name; a higher value is better."""
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
    seen: Counter[Levels] = Counter()
    found = []
    for levels, trial in _met(study, space, TrialState.COMPLETE):
        if math.isfinite(trial.value):
            block = trial.user_attrs.get(BLOCK, seen[levels])
            seen[levels] += 1
            found.append(Observation(levels, block, sign * trial.value, float(trial.user_attrs.get(INSTANCES, 1))))
    return found


def _pool(space: _Space, met: Sequence[Levels], rng: np.random.Generator) -> list[Levels]:
    """Every configuration; of a space too large for that, those met, their neighbours in one slot, and random ones."""
    choices = [space[name].choices for name in sorted(space)]
    if math.prod(len(c) for c in choices) <= _MOST:
        return list(product(*choices))
    near = [
        (*levels[:place], candidate, *levels[place + 1 :])
        for levels in met
        for place, candidates in enumerate(choices)
        for candidate in candidates
    ]
    some = [tuple(c[rng.integers(len(c))] for c in choices) for _ in range(_MOST)]
    return list(dict.fromkeys([*met, *near, *some]))[: 2 * _MOST]


def _unlike(met: Sequence[Levels], pool: Sequence[Levels], rng: np.random.Generator) -> Levels:
    """A configuration whose candidates have been met least; among equals, any."""
    counts = [Counter(column) for column in zip(*met, strict=True)] if met else []
    load = [sum(counts[n][level] for n, level in enumerate(levels)) if counts else 0 for levels in pool]
    least = [place for place, value in enumerate(load) if value == min(load)]
    return pool[int(rng.choice(least))]


def refuse_several(name: str) -> None:
    """Raises: UsageError: the sampler takes one objective only."""
    if isinstance(registry.resolve("sampler", name, SAMPLERS)(0), KnowledgeSampler):
        raise UsageError(
            f"The sampler {name} takes one objective.", fix='Put `sampler = "tpe"` or "nsga2" into the recipe.'
        )


def _tpe(seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's TPE. Every argument is written out, since their defaults change between versions.

    ``constant_liar`` stays off: it counts running trials as bad ones.
    """
    return optuna.samplers.TPESampler(
        n_startup_trials=6,
        n_ei_candidates=24,
        multivariate=False,
        group=False,
        constant_liar=False,
        seed=seed,
    )


def _nsga2(seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's NSGA-II, for several objectives; a small population, since visits are few."""
    return optuna.samplers.NSGAIISampler(population_size=8, seed=seed)
