"""Prices, and caps that hold: every call sets its worst case aside before it is sent, and is settled by what it used.

A user's prices are a TOML file with one entry a model:

["openai/gpt-5-mini"]
input = 0.25     # dollars per million tokens
output = 2.0
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import BudgetReached, UsageError
from hyperalign_dspy.lm.models import in_process
from hyperalign_dspy.types import Cost

# A token is at least a byte of text. What a template puts around texts comes on top: so many tokens a message (its role
# and turn marks) and so many a call (a system message of the template's own).
_AROUND_MESSAGE = 16
_AROUND_CALL = 64
# Output tokens of a call that sets no limit itself: more than any model of today writes.
_UNBOUNDED = 131_072
_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost, in dollars."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION


_FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Prices:
    """The prices that are known, by a model's full name. ``place`` is the file that an entry belongs into."""

    table: Mapping[str, Price] = field(default_factory=dict)
    place: Path = Path("prices.toml")

    @classmethod
    def read(cls, path: Path) -> Prices:
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
        return cls({model: _price(path, model, found) for model, found in values.items()}, path)

    def of(self, model: str) -> Price | None:
        """A model's price; None where it is unknown. What runs in this process costs nothing."""
        return _FREE if in_process(model) else self.table.get(model)

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

    def money(self, row: Mapping[str, Any]) -> float | None:
        """Dollars of a recorded call: those paid, else by today's price; None where price or tokens are unknown."""
        if row.get("money") is not None:
            return float(row["money"])
        price = self.of(row.get("model", ""))
        if price == _FREE:
            return 0.0
        given, made = row.get("input_tokens"), row.get("output_tokens")
        return None if price is None or given is None or made is None else price.of(given, made)

    def usage(self, row: Mapping[str, Any]) -> CallUsage:
        """What a recorded call counts against caps: what it used, or its ``bound`` where that is unknown."""
        if "failed" in row:
            tokens = row.get("input_tokens", 0) + row.get("output_tokens", 0)
            return CallUsage(row.get("calls", 1), tokens, self.money(row))
        given, made = row.get("input_tokens"), row.get("output_tokens")
        if given is not None and made is not None:
            return CallUsage(1, given + made, self.money(row))
        request = row.get("request")
        bound = MaxUsage.of(request["messages"], request["config"]) if request else row["bound"]
        most = MaxUsage(bound.input if given is None else given, bound.output if made is None else made)
        return most.amount(self.of(row["model"]))

    def cost(self, rows: Iterable[Mapping[str, Any]], served: int = 0) -> Cost:
        """What answered calls cost together; ``served`` answers came from the record."""
        found = Cost(recorded_calls=served)
        for row in rows:
            given, made = row["input_tokens"] or 0, row["output_tokens"] or 0
            found += Cost(1, 0, given, made, row["seconds"], self.money(row))
        return found


def _entry(model: str) -> str:
    """How a model's price is written down, with figures to put in."""
    return f'["{model}"]\ninput = ...\noutput = ...'


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


@dataclass(frozen=True)
class Limits:
    """Caps over all sessions of a ledger; None: no cap.

    ``max_tokens`` counts those in and out together, ``max_cost`` is in dollars, ``max_seconds`` is wall time.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class CallUsage:
    """What calls used or can use: tokens in and out together, money in dollars or None where it is unknown."""

    calls: int = 0
    tokens: int = 0
    money: float | None = 0.0

    def __add__(self, other: CallUsage) -> CallUsage:
        unknown = self.money is None or other.money is None
        money = None if unknown else (self.money or 0.0) + (other.money or 0.0)
        return CallUsage(self.calls + other.calls, self.tokens + other.tokens, money)


@dataclass(frozen=True)
class MaxUsage:
    """The most tokens that one request can take in and give out."""

    input: int
    output: int

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, str]], config: Mapping[str, Any]) -> MaxUsage:
        """The bound of a request, as `hyperalign_dspy.lm.engine` gives it."""
        texts = [message["content"] for message in messages]
        if config.get("response_format"):
            # Providers show a schema to the model.
            texts.append(json.dumps(config["response_format"], ensure_ascii=False))
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        return cls(size + _AROUND_MESSAGE * len(texts) + _AROUND_CALL, int(config.get("max_tokens") or _UNBOUNDED))

    def amount(self, price: Price | None) -> CallUsage:
        """As one call at a price."""
        return CallUsage(1, self.input + self.output, price.of(self.input, self.output) if price else None)


class BudgetMeter:
    """What was used and what is set aside. Whoever shares one between threads holds a lock."""

    def __init__(self) -> None:
        self.used = CallUsage()
        self._aside: dict[str, CallUsage] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._aside

    def reserve(self, worst: Mapping[str, CallUsage], limits: Limits, seconds: float, longest: float) -> None:
        """Set aside what these calls can use. ``seconds`` have gone by, and a call has taken ``longest`` at most.

        Raises:
            BudgetReached: a cap could be passed; then nothing is set aside.
        """
        more = sum(worst.values(), CallUsage())
        now = self.used + sum(self._aside.values(), CallUsage())
        _within("--max calls", limits.max_calls, now.calls, more.calls, "{:,.0f} calls")
        _within("--max tokens", limits.max_tokens, now.tokens, more.tokens, "{:,.0f} tokens")
        _within("--max cost", limits.max_cost, now.money or 0.0, more.money or 0.0, "{:.4f} dollars")
        _within("--max time", limits.max_seconds, seconds, longest, "{:.0f} s")
        self._aside.update(worst)

    def settle(self, key: str, used: CallUsage) -> None:
        """What an answered call used takes the place of what was set aside."""
        self._aside.pop(key, None)
        self.used += used

    def release(self, keys: Iterable[str]) -> None:
        """Calls were never taken: what was set aside for them is there again."""
        for key in keys:
            self._aside.pop(key, None)

    def charge_failed(self, keys: Iterable[str]) -> CallUsage:
        """Failed calls may have been billed: what was set aside for them counts as used."""
        lost = sum((self._aside.pop(key) for key in keys if key in self._aside), CallUsage())
        self.used += lost
        return lost


def _within(option: str, cap: float | None, used: float, more: float, form: str) -> None:
    if cap is not None and used + more > cap:
        raise BudgetReached(
            f"The cap of {form.format(cap)} is reached: {form.format(used)} are used or set aside, and the next call "
            f"can take {form.format(more)}. Everything recorded is kept.",
            fix=f"Go on with a higher cap: {option}=AMOUNT",
            cap=option,
        )
