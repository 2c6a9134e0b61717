"""DSPy's own optimisers: which are known by name, what each is given, and what is heard of one while it works.

Any other ``module:Class`` is given what it has a parameter for, by DSPy's usual names: ``metric``, ``seed``,
``num_threads``, ``prompt_model``, ``reflection_lm``, ``task_model``, ``trainset`` and ``valset``.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import optuna
from dspy.teleprompt import BootstrapFewShot, Teleprompter
from dspy.teleprompt.teleprompt_optuna import BootstrapFewShotWithOptuna
from dspy.utils.callback import BaseCallback
from dspy.utils.exceptions import AdapterParseError

from hyperalign_dspy import registry
from hyperalign_dspy.errors import TooManyFailures, UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.rollouts import Stopped, StopSignal
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, root_cause
from hyperalign_dspy.program.configuration import signature_fields

_Arguments = dict[str, Any]
DSPY_OPTIMIZERS: Mapping[str, str] = {
    "miprov2": "dspy.teleprompt:MIPROv2",
    "gepa": "dspy.teleprompt:GEPA",
    "simba": "dspy.teleprompt:SIMBA",
    "bootstrap-random-search": "dspy.teleprompt:BootstrapFewShotWithRandomSearch",
    "bootstrap-optuna": "hyperalign_dspy.optimize.teleprompters:_SeededBootstrapOptuna",
    "copro": "dspy.teleprompt:COPRO",
}
_REFLECTING = ("miprov2", "gepa", "simba", "copro")
# Those that put texts of users into prompts, and which arguments have to be 0 lest they do.
_DEMONSTRATING: Mapping[str, tuple[str, ...]] = {
    "miprov2": ("max_bootstrapped_demos", "max_labeled_demos"),
    "simba": ("max_demos",),
    "bootstrap-random-search": (),
    "bootstrap-optuna": (),
}


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


def _own_arguments(name: str, inputs: CompileInputs, given: Mapping[str, Any]) -> _Arguments:
    """The arguments that make sense for a known optimiser beside those that are ``given``."""
    demos = _demos(labelled=inputs.labelled)
    sized = {"num_candidates", "num_trials"} & set(given)
    bounded = {"max_full_evals", "max_metric_calls"} & set(given)
    own: Mapping[str, _Arguments] = {
        "miprov2": {
            "auto": None if sized else "light",
            "minibatch_size": min(35, len(inputs.halves()[1])),
            **demos,
        },
        "gepa": {} if bounded else {"auto": "light"},
        "simba": {"bsize": min(32, len(inputs.examples))},
        "bootstrap-random-search": demos,
        "bootstrap-optuna": {"max_demos": 4, **demos},
        "copro": {"eval_kwargs": {"num_threads": inputs.concurrency, "display_progress": False}},
    }
    return own.get(name, {})


def _demos(*, labelled: bool) -> _Arguments:
    # An example without answers makes no demonstration; DSPy would show its inputs alone.
    return {} if labelled else {"max_labeled_demos": 0}


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

    @property
    def reflects(self) -> bool:
        """Whether it is known to be only as good as the model that writes its proposals."""
        return self.name in _REFLECTING

    def demonstrates(self, *, labelled: bool) -> bool:
        """Whether it will make demonstrations, as far as is known before."""
        values = {**_demos(labelled=labelled), **self.arguments}
        silencing = _DEMONSTRATING.get(self.name, ())
        silent = bool(silencing) and all(values.get(name) == 0 for name in silencing)
        return self.name in _DEMONSTRATING and not silent

    def resolve(self) -> Any:
        """The optimiser's class.

        Raises:
            UnknownName: no such optimiser, or no place for an argument. UsageError: it is no DSPy optimiser.
        """
        found: Any = registry.resolve("optimizer", self.name, DSPY_OPTIMIZERS)
        if not isinstance(found, type) or not issubclass(found, Teleprompter):
            raise UsageError(
                f"{self.name} is no DSPy optimiser.", fix="Name a class that derives from dspy.teleprompt.Teleprompter."
            )
        names = {name for taken in _parameters(found) for name in taken}
        for name in self.arguments:
            if name not in names:
                raise registry.unknown(f"argument of {self.name}", name, names)
        return found

    def called_with(self, inputs: CompileInputs) -> tuple[_Arguments, _Arguments]:
        """What its constructor and what its compile is called with; a name that both have goes to the constructor.

        An optimiser that takes no valset learns from all examples.
        """
        constructor, compiling = _parameters(self.resolve())
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
            **_own_arguments(self.name, inputs, self.arguments),
            **self.arguments,
        }
        made = {name: value for name, value in values.items() if name in constructor}
        return made, {name: value for name, value in values.items() if name in compiling and name not in made}


def _parameters(kind: Any) -> tuple[set[str], set[str]]:
    """What an optimiser's constructor, with those to which it passes others on, and its compile take."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base) and base is not object:
            names |= _names(base.__init__)
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(base.__init__).parameters.values()):
                break
    return names, _names(kind.compile)


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


class Listener(BaseCallback):
    """Hears how every call of the program ends, and keeps what DSPy's evaluation would turn into a score of 0."""

    def __init__(self, program: type, end: StopSignal, tick: Callable[[int], None]) -> None:
        self.program, self.end, self.tick = program, end, tick
        self.done = self.unread = self.failed = 0
        self.first = ""
        self._open: set[str] = set()
        self._lock = threading.Lock()

    def on_module_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """Remember the calls of the program itself, not those of its parts."""
        if type(instance) is self.program:
            self._open.add(call_id)

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count the call and what became of it; one that the end of the search cut off is none."""
        if call_id not in self._open:
            return
        self._open.discard(call_id)
        if isinstance(exception, Stopped):
            return
        with self._lock:
            self.done += 1
            if isinstance(exception, AdapterParseError):
                self.unread += 1
            elif exception is not None:
                cause = root_cause(exception)
                self.end.note(cause)
                self.failed += 1
                self.first = self.first or f"{type(cause).__name__}: {cause}"[:300]
            self.tick(self.done)

    def failure(self, name: str) -> TooManyFailures | None:
        """The error where the model failed in more than a fifth of the calls."""
        if self.failed <= MOST_MISSING * self.done:
            return None
        return TooManyFailures(
            f"{name}: {self.failed} of {self.done} program calls failed. The first: {self.first}",
            fix="Try the model with `hyperalign doctor --model MODEL`.",
        )


@dataclass(frozen=True)
class _Evaluated:
    """An evaluated program: its predictors' states, and its mean score, in percent, on so many different examples."""

    states: tuple[dict[str, Any], ...]
    score: float
    examples: int


class Evaluations(BaseCallback):
    """Hears every `dspy.Evaluate`, and keeps the best program that was evaluated to the end.

    Programs are compared on the largest number of examples only: luck on a few would beat any score on all.
    """

    def __init__(self, student: Any, end: StopSignal) -> None:
        self.best: _Evaluated | None = None
        self._fields, self._end = signature_fields(student), end
        self._open: dict[str, tuple[dict[str, Any], ...]] = {}
        self._compared: set[str] = set()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many different programs have been evaluated on as many examples as the best."""
        return len(self._compared)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: Mapping[str, Any]) -> None:
        """Remember what the program holds now: an optimiser may go on to change the very same object."""
        program = inputs["program"]
        # With other predictors it could be no answer.
        if isinstance(program, dspy.Module) and signature_fields(program) == self._fields:
            self._open[call_id] = tuple(plain_state(predictor) for predictor in program.predictors())

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Compare what was evaluated, unless it was cut off: calls that a cap refuses may have been scored 0."""
        states = self._open.pop(call_id, None)
        if states is None or exception is not None or self._end.reason:
            return
        # A small batch may be filled up with the same examples once more.
        different = {id(example) for example, *_ in outputs.results}
        found = _Evaluated(states, float(outputs.score), len(different))
        with self._lock:
            most = self.best.examples if self.best else 0
            if found.examples > most:
                self._compared.clear()
            if found.examples >= most:
                self._compared.add(digest(found.states))
            if self.best is None or (found.examples, found.score) > (most, self.best.score):
                self.best = found


def plain_state(predictor: Any) -> dict[str, Any]:
    """A predictor's instructions and demonstrations as they come back from a file, and nothing else.

    A demonstration keeps the predictor's own fields; earlier turns are no part of one, since no adapter shows them.
    """
    state = predictor.dump_state()
    fields = predictor.signature.fields
    shown = [name for name in fields if fields[name].annotation is not dspy.History]
    demos = [{name: demo[name] for name in shown if name in demo} for demo in map(dict, predictor.demos)]
    plain: list[dict[str, Any]] = json.loads(json.dumps(demos, default=str))
    return {**state, "demos": plain, "traces": [], "train": [], "lm": None}
