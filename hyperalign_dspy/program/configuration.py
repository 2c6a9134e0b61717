"""A configuration: one candidate for each slot; the module that it makes of a program, and what that would send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.program.adapters import adapter
from hyperalign_dspy.program.infer import speaking
from hyperalign_dspy.program.settings import Bounded, SettingsParameter
from hyperalign_dspy.program.specs import ProgramSpec, Value

SEED = "seed"
# The slot that says which optimiser made the instructions and demonstrations: only the program itself holds these.
OPTIMIZER = "optimizer"
INSTRUCTION, DEMOS = "instruction", "demos"


@dataclass(frozen=True)
class Configuration:
    """One candidate for each slot. Slots are a setting's name, ``PREDICTOR.instruction`` or ``PREDICTOR.demos``."""

    values: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Configuration:
        """From a mapping; the order of slots does not matter."""
        return cls(tuple(sorted(values.items())))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the content."""
        return digest(list(self.values))[:12]

    def as_dict(self) -> dict[str, Value]:
        """slot -> candidate."""
        return dict(self.values)

    def changed(self, **changes: Value) -> Configuration:
        """A copy with some slots changed."""
        return Configuration.of({**self.as_dict(), **changes})

    def differs(self, other: Configuration) -> dict[str, Value]:
        """The slots in which this one differs from another."""
        theirs = other.as_dict()
        return {slot: value for slot, value in self.values if theirs.get(slot) != value}


def build(program: ProgramSpec, configuration: Configuration) -> Any:
    """A new module of the program, set as the configuration says.

    Raises:
        UnknownName: a module, predictor, instruction or demo set that does not exist. UsageError: a setting that does
        not, a value that makes no sense, or a configuration that an optimiser's own program stands for.
    """
    made_by = configuration.as_dict().get(OPTIMIZER)
    if made_by:
        raise UsageError(f"What {made_by} made cannot be built from its settings.", fix="Load the frozen program.")
    module = new_module(program.module)
    predictors = dict(module.named_predictors())
    for slot, value in configuration.values:
        name, _, part = slot.rpartition(".")
        if part not in (INSTRUCTION, DEMOS):
            continue
        if name not in predictors:
            raise registry.unknown("predictor", name, predictors)
        if part == INSTRUCTION and value != SEED:
            made = _chosen("instruction", program.instructions.get(name, {}), str(value))
            predictors[name].signature = predictors[name].signature.with_instructions(made)
        elif value != SEED:
            made = _chosen("demo set", program.demos.get(name, {}), str(value))
            predictors[name].demos = [dict(demo) for demo in made]
    adjust(module, settings_of(configuration.as_dict()))
    return module


def with_candidates(program: ProgramSpec, made: Mapping[str, Mapping[str, Any]]) -> ProgramSpec:
    """A copy whose library holds more: slot -> id -> an instruction, or a list of demonstrations."""
    libraries: dict[str, dict[str, dict[str, Any]]] = {
        INSTRUCTION: {predictor: dict(known) for predictor, known in program.instructions.items()},
        DEMOS: {predictor: dict(known) for predictor, known in program.demos.items()},
    }
    for slot, candidates in made.items():
        predictor, _, part = slot.rpartition(".")
        libraries[part].setdefault(predictor, {}).update(candidates)
    return replace(program, instructions=libraries[INSTRUCTION], demos=libraries[DEMOS])


def new_module(path: str) -> Any:
    """Make a module from ``module:Class``; one that keeps no settings of its own comes as a `Plain`.

    Raises:
        UnknownName: no such class. UsageError: it is no DSPy module, or cannot be made without arguments.
    """
    found = registry.resolve("module", path, {})
    if not (isinstance(found, type) and issubclass(found, dspy.Module)):
        raise UsageError(f"{path} is not a DSPy module.", fix="Name a class that derives from dspy.Module.")
    try:
        module = found()
    except TypeError as error:
        raise UsageError(f"{path} cannot be made: {error}.", fix="Its __init__ must need no arguments.") from error
    return module if hasattr(module, "settings") else Plain(module)


def adjust(module: Any, settings: Mapping[str, Value]) -> None:
    """Change some settings of a module. Raises: UsageError: no such setting, or a value that makes no sense."""
    module.settings.value = module.settings.value.changed(**settings)


def settings_of(configuration: Mapping[str, Value]) -> dict[str, Value]:
    """The slots of a configuration that are settings and not a predictor's."""
    return {
        slot: value
        for slot, value in configuration.items()
        if slot != OPTIMIZER and not slot.endswith((".instruction", ".demos"))
    }


def _chosen(kind: str, library: Mapping[str, Any], choice: str) -> Any:
    if choice not in library:
        raise registry.unknown(kind, choice, [SEED, *library])
    return library[choice]


@dataclass(frozen=True)
class _PlainSettings(Bounded):
    """adapter: how signatures become messages. temperature, max_tokens: None leaves what the model is set to."""

    adapter: str = "chat"
    temperature: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is None:
            self.within(self.temperature)
        else:
            self.within(self.temperature, max_tokens=(1, 100_000))


class Plain(dspy.Module):
    """Runs a module under an adapter, temperature and length of its own, whatever DSPy is set to.

    Its parameters, and so its saved state, are the module's: plain DSPy loads them into the module itself.
    """

    def __init__(self, inner: Any, settings: _PlainSettings | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.settings = SettingsParameter(settings or _PlainSettings())

    def forward(self, **inputs: Any) -> Any:
        """What the module answers."""
        with speaking(self.settings.value.adapter, 1), dspy.context(lm=self._lm()):
            return self.inner(**inputs)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """The module's own."""
        return list(self.inner.named_parameters())

    def _lm(self) -> Any:
        value, lm = self.settings.value, dspy.settings.lm
        set_ = {"temperature": value.temperature, "max_tokens": value.max_tokens}
        known = {name: number for name, number in set_.items() if number is not None}
        return lm.copy(**known) if lm and known else lm


def signature_fields(module: Any) -> dict[str, list[list[str]]]:
    """predictor -> its fields in order, each as [role, name, type]."""
    return {name: _fields(predictor.signature) for name, predictor in module.named_predictors()}


def probe_messages(module: Any) -> dict[str, list[dict[str, Any]]]:
    """predictor -> the messages that it sends, with {{names}} where inputs go.

    A module that knows which of its predictors are called, and with what, says so by a method ``probe_inputs``; for
    others every predictor is shown with every input.
    """
    speaker = adapter(module.settings.value.adapter or "chat")
    predictors = dict(module.named_predictors())
    probe_inputs = (
        module.probe_inputs()
        if hasattr(module, "probe_inputs")
        else {name: _probe(predictor.signature) for name, predictor in predictors.items()}
    )
    return {
        name: json.loads(json.dumps(speaker.format(predictors[name].signature, predictors[name].demos, inputs)))
        for name, inputs in probe_inputs.items()
    }


def _fields(signature: Any) -> list[list[str]]:
    inputs = [["input", name, str(field.annotation)] for name, field in signature.input_fields.items()]
    return inputs + [["output", name, str(field.annotation)] for name, field in signature.output_fields.items()]


def _probe(signature: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in signature.input_fields.items():
        if field.annotation is dspy.History:
            values[name] = dspy.History(messages=[])
        elif str(field.annotation).startswith("list"):
            values[name] = [f"{{{{{name}}}}}"]
        else:
            values[name] = f"{{{{{name}}}}}"
    return values
