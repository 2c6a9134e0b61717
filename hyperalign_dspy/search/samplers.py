"""Samplers by name. Each is an ordinary Optuna sampler, made anew for every visit with that visit's own seed."""

from __future__ import annotations

import optuna


def tpe(seed: int) -> optuna.samplers.BaseSampler:
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


def random(seed: int) -> optuna.samplers.BaseSampler:
    """Uniform choice: what any other sampler has to beat."""
    return optuna.samplers.RandomSampler(seed=seed)
