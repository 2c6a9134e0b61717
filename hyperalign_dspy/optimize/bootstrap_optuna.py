"""DSPy's BootstrapFewShotWithOptuna with a seeded sampler: without one it never walks the same path twice, and a run
that was cut off could not go on with what it has recorded."""

from __future__ import annotations

from typing import Any

import optuna
from dspy.teleprompt import BootstrapFewShot
from dspy.teleprompt.teleprompt_optuna import BootstrapFewShotWithOptuna

from hyperalign_dspy.errors import UsageError


class SeededBootstrapOptuna(BootstrapFewShotWithOptuna):
    """Takes every argument of DSPy's own, and ``seed``."""

    def __init__(self, metric: Any, *, seed: int = 0, **arguments: Any) -> None:
        super().__init__(metric, **arguments)
        self.seed = seed

    def compile(
        self, student: Any, *, trainset: list[Any], max_demos: int, teacher: Any = None, valset: Any = None
    ) -> Any:
        """Bootstrap demonstrations, then choose one for each predictor.

        Raises:
            UsageError: no demonstration for some predictor, which is more than its search can bear.
        """
        self.trainset, self.valset, self.student = trainset, valset or trainset, student.reset_copy()
        bootstrap = BootstrapFewShot(
            metric=self.metric,
            max_bootstrapped_demos=max_demos,
            max_labeled_demos=self.max_labeled_demos,
            teacher_settings=self.teacher_settings,
            max_rounds=self.max_rounds,
        )
        self.compiled_teleprompter = bootstrap.compile(
            self.student, teacher=teacher or student.reset_copy(), trainset=trainset
        )
        for name, predictor in self.compiled_teleprompter.named_predictors():
            if not predictor.demos:
                raise UsageError(
                    f"bootstrap-optuna found no demonstration for {name}; its search needs one for every predictor.",
                    fix="Take bootstrap-random-search, or a baseline in program.toml that calls every predictor.",
                )
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        study.optimize(self.objective, n_trials=self.num_candidate_sets)
        return study.best_trial.user_attrs["program"]
