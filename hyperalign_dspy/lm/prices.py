"""What tokens cost: a user's own table, a TOML file with one entry a model.

["openai/gpt-5-mini"]
input = 0.25     # dollars per million tokens
output = 2.0
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.models import GGUF, LOCAL
from hyperalign_dspy.lm.scripted import SCRIPTED

_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost, in dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION


FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Prices:
    """The prices that are known, by a model's full name. ``place`` is the file that an entry belongs into."""

    table: Mapping[str, Price] = field(default_factory=dict)
    place: Path = Path("prices.toml")

    def of(self, model: str) -> Price | None:
        """A model's price; None where it is unknown. What runs in this process costs nothing."""
        if model == LOCAL or model.startswith(GGUF) or model.split(":", maxsplit=1)[0] == SCRIPTED:
            return FREE
        return self.table.get(model)

    def demand(self, model: str) -> Price:
        """A model's price, for whoever cannot go on without it.

        Raises:
            UsageError: it is unknown, with the entry to add.
        """
        price = self.of(model)
        if price is None:
            raise UsageError(
                f"What {model} costs is unknown, so a cap on money cannot be kept.",
                fix=f"Add to {self.place}, in dollars per million tokens:\n{_entry(model)}",
            )
        return price


def _entry(model: str) -> str:
    """How a model's price is written down, with figures to put in."""
    return f'["{model}"]\ninput = ...\noutput = ...'


def read_prices(path: Path) -> Prices:
    """Read a table.

    Raises:
        UsageError: it is not there, or no table of prices.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"The prices in {path} cannot be read: {error.strerror}.",
            fix=f"Write the file, in dollars per million tokens:\n{_entry('openai/NAME')}",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not valid TOML: {error}.", fix=f"An entry has its name in quotes:\n{_entry('openai/NAME')}"
        ) from error
    return Prices({model: _price(path, model, found) for model, found in values.items()}, path)


def _price(path: Path, model: str, found: Any) -> Price:
    if not isinstance(found, dict) or set(found) != {"input", "output"}:
        raise UsageError(
            f"{path}: the entry {model!r} is no price; a price has input and output, and nothing else.",
            fix=f"Write it so, in dollars per million tokens:\n{_entry(model)}",
        )
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise UsageError(
                f"{path}: {name} of {model!r} is {value!r}.", fix="Give dollars per million tokens, 0 or more."
            )
    return Price(float(found["input"]), float(found["output"]))
