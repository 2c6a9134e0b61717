"""The numbers and choices of a program, as DSPy state: saved, loaded and searched like instructions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from dspy.predict.parameter import Parameter

from hyperalign_dspy.errors import UsageError

_ShownHypotheses = Literal["inferred", "measured", "both", "none"]


@dataclass(frozen=True)
class Bounded:
    """Settings that can be changed by name and know what makes sense."""

    def changed(self, **changes: Any) -> Self:
        """A copy with some values changed. Raises: UsageError: no such setting, or a value out of range."""
        known = [field.name for field in fields(self)]
        strange = sorted(set(changes) - set(known))
        if strange:
            raise UsageError(f"There is no setting called {strange[0]!r}.", fix=f"There are {', '.join(known)}.")
        return replace(self, **changes)

    def within(self, temperature: float | None, **ranges: tuple[int, int]) -> None:
        """Refuse whole numbers outside their range, and a temperature outside 0 to 2.

        Raises:
            UsageError: with the range.
        """
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UsageError(f"{name} is {value!r}; it is a whole number between {least} and {most}.")
        if temperature is not None and (isinstance(temperature, (bool, str)) or not 0 <= temperature <= 2):
            raise UsageError(f"temperature is {temperature!r}; it lies between 0 and 2.")


@dataclass(frozen=True)
class Settings(Bounded):
    """What a program does besides its instructions and demonstrations.

    adapter: how signatures become messages; "" takes the one that DSPy is set to.
    shown_hypotheses: which the prompt holds. hypotheses: how many a facet, and how many measured ones.
    infer_samples, samples: how many samples each stage is shown. sample_words: a longer sample is cut to so many words.
    temperature: of the writing stage (inference is greedy). drafts: how many texts are written, 1 to 8; the one
    that best meets the measured hypotheses is kept. max_tokens: the longest text.
    """

    adapter: str = "turns"
    shown_hypotheses: _ShownHypotheses = "inferred"
    hypotheses: int = 1
    infer_samples: int = 3
    samples: int = 0
    sample_words: int = 90
    temperature: float = 0.7
    drafts: int = 1
    max_tokens: int = 80

    def __post_init__(self) -> None:
        self.within(
            self.temperature,
            hypotheses=(1, 8),
            infer_samples=(1, 64),
            samples=(0, 64),
            sample_words=(1, 10_000),
            drafts=(1, 8),
            max_tokens=(1, 100_000),
        )
        if self.shown_hypotheses not in ("inferred", "measured", "both", "none"):
            raise UsageError(f"shown_hypotheses is {self.shown_hypotheses!r}; it is inferred, measured, both or none.")


class SettingsParameter(Parameter):
    """Settings (and any other plain data of a module) as a DSPy parameter, so that ``save`` and ``load`` hold them."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def reset(self) -> None:
        """DSPy's optimisers reset what they are about to learn; this is not learned by them, so it stays."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """The settings as plain data."""
        del json_mode
        return asdict(self.value)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the settings from plain data. Raises: UsageError: a value that is no setting."""
        self.value = type(self.value)().changed(**state)
