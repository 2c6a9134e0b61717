"""A configuration: one candidate for each slot; and the module that it makes of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dspy

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.program.plain import Plain
from hyperalign_dspy.program.specs import ProgramSpec, Value
from hyperalign_dspy.registry import unknown

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
        predictor, _, part = slot.rpartition(".")
        if part == "instruction":
            _instruct(_named(predictors, predictor), program.instructions.get(predictor, {}), str(value))
        elif part == "demos":
            _show(_named(predictors, predictor), program.demos.get(predictor, {}), str(value))
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
    """Change some settings of a module.

    Raises:
        UsageError: no such setting, or a value that makes no sense.
    """
    module.settings.value = module.settings.value.changed(**settings)


def settings_of(configuration: Mapping[str, Value]) -> dict[str, Value]:
    """The slots of a configuration that are settings and not a predictor's."""
    return {
        slot: value
        for slot, value in configuration.items()
        if slot != OPTIMIZER and not slot.endswith((".instruction", ".demos"))
    }


def _named(predictors: Mapping[str, Any], name: str) -> Any:
    if name not in predictors:
        raise unknown("predictor", name, predictors)
    return predictors[name]


def _instruct(predictor: Any, library: Mapping[str, str], choice: str) -> None:
    if choice == SEED:
        return
    if choice not in library:
        raise unknown("instruction", choice, [SEED, *library])
    predictor.signature = predictor.signature.with_instructions(library[choice])


def _show(predictor: Any, library: Mapping[str, list[dict[str, Any]]], choice: str) -> None:
    if choice == SEED:
        return
    if choice not in library:
        raise unknown("demo set", choice, [SEED, *library])
    predictor.demos = [dict(demo) for demo in library[choice]]
