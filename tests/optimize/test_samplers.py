"""Our sampler in Optuna's own suite, and what sets it apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from hyperalign_dspy.optimize.samplers import BLOCK, KnowledgeSampler

SLOTS = {"a": [0, 1, 2, 3], "b": ["x", "y", "z"], "c": [False, True]}


class TestKnowledgeSampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        return KnowledgeSampler


def worth(params: dict[str, Any]) -> float:
    return float(params["a"]) + {"x": 0.0, "y": 1.0, "z": -1.0}[params["b"]] + params["c"] / 2


def searched(sampler: Callable[[int], Any], seed: int, visits: int = 40, noise: float = 1.0) -> optuna.Study:
    """A study of noisy visits; what a block does to all is shared."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rng = np.random.default_rng(seed)
    luck, seen = rng.normal(0, 2, 50), Counter[tuple[Any, ...]]()
    study = optuna.create_study(direction="maximize", sampler=sampler(seed))
    for _ in range(visits):
        trial = study.ask({name: optuna.distributions.CategoricalDistribution(c) for name, c in SLOTS.items()})
        block = seen[tuple(trial.params.values())]
        seen[tuple(trial.params.values())] += 1
        trial.set_user_attr(BLOCK, block)
        study.tell(trial, worth(trial.params) + luck[block] + rng.normal(0, noise))
    return study


def favourite(study: optuna.Study) -> float:
    """What the configuration that was visited most is worth."""
    visits = Counter(tuple(trial.params.values()) for trial in study.trials)
    return worth(dict(zip(SLOTS, max(visits, key=lambda key: visits[key]), strict=True)))


def test_visits_go_to_what_is_good() -> None:
    # All 24 configurations are worth 1.75 on average, the best of them 4.5.
    assert np.mean([favourite(searched(KnowledgeSampler, seed)) for seed in range(8)]) > 3.0


def test_the_same_seed_visits_the_same() -> None:
    first, again, other = (searched(KnowledgeSampler, seed) for seed in (3, 3, 4))
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_what_a_dear_and_a_cheap_configuration_share_is_learnt_from_the_cheap_one() -> None:
    def dear(params: Any) -> float:
        return 10.0 if params["c"] else 1.0

    shares = []
    for cost in (None, dear):
        study = searched(lambda seed, cost=cost: KnowledgeSampler(seed, cost), 2)  # type: ignore[misc]
        shares.append(np.mean([trial.params["c"] for trial in study.trials]))
    assert shares[1] < shares[0] - 0.1


def test_in_a_large_pool_too_the_dear_are_visited_only_where_they_tell_more() -> None:
    slots = {"a": list(range(16)), "b": list(range(16)), "c": [False, True]}
    rng = np.random.default_rng(0)
    # That the dear are better is seen at once; then they are all that is hopeful, and the cheap tell as much of "a".
    study = optuna.create_study(
        direction="maximize", sampler=KnowledgeSampler(0, lambda params: 50.0 if params["c"] else 1.0)
    )
    for _ in range(24):
        trial = study.ask({name: optuna.distributions.CategoricalDistribution(c) for name, c in slots.items()})
        study.tell(trial, 20.0 * trial.params["c"] + rng.normal())
    late = [trial.params["c"] for trial in study.trials[10:]]
    assert np.mean(late) < 0.5
