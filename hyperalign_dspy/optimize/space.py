"""The declared slots, and how an Optuna trial becomes a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value


class Space:
    """Slots with candidates. Every choice is categorical, by id or number; nothing long ever enters the study.

    Raises:
        UsageError: a slot whose candidates lack what the baseline has.
    """

    def __init__(self, program: ProgramSpec, recipe: RecipeSpec) -> None:
        self.slots: Mapping[str, tuple[Value, ...]] = dict(sorted(recipe.slots.items()))
        self.baseline = Configuration.of({**program.baseline, "max_tokens": recipe.max_tokens})
        self._check()

    @property
    def size(self) -> int:
        """How many configurations there are."""
        count = 1
        for candidates in self.slots.values():
            count *= len(candidates)
        return count

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The slots as Optuna sees them."""
        return {slot: optuna.distributions.CategoricalDistribution(c) for slot, c in self.slots.items()}

    def configuration(self, params: Mapping[str, Value]) -> Configuration:
        """The baseline with the suggested candidates put in."""
        return Configuration.of({**self.baseline.as_dict(), **params})

    def neighbour(self) -> Configuration | None:
        """The baseline with another candidate in the first slot that has one; None where there is nothing to search."""
        one = (self.configuration({slot: value}) for slot, found in self.slots.items() for value in found)
        return next((configuration for configuration in one if configuration != self.baseline), None)

    def costliest(self, calls: Callable[[Configuration], int]) -> Configuration:
        """Of every slot the candidate with the most calls, and among these the largest number."""

        def cost(slot: str, value: Value) -> tuple[int, float]:
            size = value if isinstance(value, (int, float)) else 0
            return calls(self.configuration({slot: value})), size

        chosen: dict[str, Value] = {}
        for slot, candidates in self.slots.items():
            costs = [cost(slot, value) for value in candidates]
            chosen[slot] = candidates[costs.index(max(costs))]
        return self.configuration(chosen)

    def params(self, changes: Mapping[str, Value]) -> dict[str, Value]:
        """One candidate for every slot: the given changes, else the baseline's own.

        Raises:
            UsageError: a change that is no candidate.
        """
        for slot, value in changes.items():
            if value not in self.slots.get(slot, ()):
                raise UsageError(f"A start of the recipe sets {slot}={value}, which is no candidate of that slot.")
        values = {**self.baseline.as_dict(), **changes}
        return {slot: values[slot] for slot in self.slots}

    def _check(self) -> None:
        """Every start is a change to the baseline, so the baseline itself has to lie in the space."""
        own = self.baseline.as_dict()
        for slot, candidates in self.slots.items():
            if slot not in own:
                raise UsageError(
                    f"The recipe searches {slot!r}, and the program's baseline does not say what it starts from.",
                    fix=f"Known slots: {', '.join(own)}. Or add it under [baseline] in program.toml.",
                )
            if own[slot] not in candidates:
                raise UsageError(
                    f"The slot {slot!r} has the candidates {list(candidates)}, and not the baseline's {own[slot]!r}.",
                    fix=f"Add {own[slot]!r} to them: a search that cannot stay where it is tells less.",
                )
