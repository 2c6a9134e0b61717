"""Which of DSPy's optimisers are known by name, and what each is given: its constructor's and its compile's arguments.

Any other ``module:Class`` is given what it has a parameter for, by DSPy's usual names: ``metric``, ``seed``,
``num_threads``, ``prompt_model``, ``reflection_lm``, ``task_model``, ``trainset`` and ``valset``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import optuna
from dspy.teleprompt import BootstrapFewShot, Teleprompter
from dspy.teleprompt.teleprompt_optuna import BootstrapFewShotWithOptuna

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.registry import unknown

_Arguments = dict[str, Any]
DSPY_OPTIMIZERS: Mapping[str, str] = {
    "miprov2": "dspy.teleprompt:MIPROv2",
    "gepa": "dspy.teleprompt:GEPA",
    "simba": "dspy.teleprompt:SIMBA",
    "bootstrap-random-search": "dspy.teleprompt:BootstrapFewShotWithRandomSearch",
    "bootstrap-optuna": "hyperalign_dspy.optimize.defaults:_SeededBootstrapOptuna",
    "copro": "dspy.teleprompt:COPRO",
}


@dataclass(frozen=True)
class Optimizer:
    """What is asked for: an optimiser by name or ``module:Class``, arguments in place of ours, the model that writes
    its proposals ("" for the task's own), and whether users' texts may stand in the frozen program.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    prompt_model: str = ""
    allow_private_demos: bool = False

    @property
    def short(self) -> str:
        """Its name in files: letters, digits and dashes."""
        return self.name.rpartition(":")[2].lower()


@dataclass(frozen=True)
class CompileInputs:
    """What a run has to give. ``labelled``: examples hold, as labels, what some predictor answers with."""

    metric: Callable[..., Any]
    examples: Sequence[dspy.Example]
    users: Sequence[str]
    seed: int
    concurrency: int
    lm: Any
    prompt_lm: Any
    labelled: bool

    def halves(self) -> tuple[list[dspy.Example], list[dspy.Example]]:
        """Examples to learn from and examples to choose on: each user's are all in one of the two."""
        order = sorted(set(self.users), key=lambda user: digest([self.seed, "halves", user]))
        first = set(order[: len(order) // 2])
        both = list(zip(self.examples, self.users, strict=True))
        return [e for e, user in both if user in first], [e for e, user in both if user not in first]


@dataclass(frozen=True)
class _Known:
    """What is to be known of an optimiser. ``own`` gives the arguments that make sense for it, knowing those that were
    asked for. ``reflects``: it is only as good as the model that writes its proposals. ``demonstrates``: it puts texts
    of users into prompts; not where every argument of ``silenced_by`` is 0.
    """

    own: Callable[[CompileInputs, Mapping[str, Any]], _Arguments]
    reflects: bool = False
    demonstrates: bool = False
    silenced_by: tuple[str, ...] = ()


def _labelled(inputs: CompileInputs) -> _Arguments:
    # An example without answers makes no demonstration; DSPy would show its inputs alone.
    return {} if inputs.labelled else {"max_labeled_demos": 0}


def _miprov2(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    sized = {"num_candidates", "num_trials"} & set(given)
    size = {"minibatch_size": min(35, len(inputs.halves()[1]))}
    return {"auto": None if sized else "light", **size, **_labelled(inputs)}


def _gepa(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    del inputs
    return {} if {"max_full_evals", "max_metric_calls"} & set(given) else {"auto": "light"}


def _simba(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    del given
    return {"bsize": min(32, len(inputs.examples))}


def _random_search(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    del given
    return _labelled(inputs)


def _bootstrap_optuna(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    del given
    return {"max_demos": 4, **_labelled(inputs)}


def _copro(inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    del given
    return {"eval_kwargs": {"num_threads": inputs.concurrency, "display_progress": False}}


KNOWN: Mapping[str, _Known] = {
    "miprov2": _Known(_miprov2, True, True, ("max_bootstrapped_demos", "max_labeled_demos")),
    "gepa": _Known(_gepa, reflects=True),
    "simba": _Known(_simba, True, True, ("max_demos",)),
    "bootstrap-random-search": _Known(_random_search, demonstrates=True),
    "bootstrap-optuna": _Known(_bootstrap_optuna, demonstrates=True),
    "copro": _Known(_copro, reflects=True),
}
# Of an unknown one it shows only afterwards what it makes.
_STRANGER = _Known(lambda inputs, given: {})


def defaults_for(asked: Optimizer) -> _Known:
    """What is known of an optimiser."""
    return KNOWN.get(asked.name, _STRANGER)


def demonstrates(asked: Optimizer, *, labelled: bool) -> bool:
    """Whether it will make demonstrations, as far as is known before."""
    of = defaults_for(asked)
    ours = {} if labelled else {"max_labeled_demos": 0}
    values = {**ours, **asked.arguments}
    silent = of.silenced_by and all(values.get(name) == 0 for name in of.silenced_by)
    return of.demonstrates and not silent


def class_of(asked: Optimizer) -> Any:
    """The optimiser's class, once every argument that was asked for is found to have a place.

    Raises:
        UnknownName: no such optimiser or argument. UsageError: it is no DSPy optimiser.
    """
    found = registry.resolve("optimizer", asked.name, DSPY_OPTIMIZERS)
    if not isinstance(found, type) or not issubclass(found, Teleprompter):
        raise UsageError(
            f"{asked.name} is no DSPy optimiser.", fix="Name a class that derives from dspy.teleprompt.Teleprompter."
        )
    kind: Any = found
    names = _constructor(kind) | _names(kind.compile)
    for name in asked.arguments:
        if name not in names:
            raise unknown(f"argument of {asked.name}", name, names)
    return kind


def arguments(kind: Any, asked: Optimizer, inputs: CompileInputs) -> tuple[_Arguments, _Arguments]:
    """What its constructor and what its compile is called with; a name that both have goes to the constructor.

    An optimiser that takes no valset learns from all examples.
    """
    constructor, compiling = _constructor(kind), _names(kind.compile)
    train, validation = inputs.halves()
    values = {
        "metric": inputs.metric,
        "seed": inputs.seed,
        "num_threads": inputs.concurrency,
        "task_model": inputs.lm,
        "prompt_model": inputs.prompt_lm,
        "reflection_lm": inputs.prompt_lm,
        "trainset": train if "valset" in compiling else list(inputs.examples),
        "valset": validation,
        **defaults_for(asked).own(inputs, asked.arguments),
        **asked.arguments,
    }
    made = {name: value for name, value in values.items() if name in constructor}
    return made, {name: value for name, value in values.items() if name in compiling and name not in made}


def _constructor(kind: Any) -> set[str]:
    """The parameters of a constructor; of one that passes others on, also those of the classes that it derives from."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base) and base is not object:
            names |= _names(base.__init__)
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(base.__init__).parameters.values()):
                break
    return names


def _names(function: Any) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self", "student"}


class _SeededBootstrapOptuna(BootstrapFewShotWithOptuna):
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
