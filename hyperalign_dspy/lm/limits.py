"""Caps that hold: every call sets its worst case aside before it is sent, and is settled by what it really used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hyperalign_dspy.errors import BudgetReached
from hyperalign_dspy.lm.prices import Price

# A token is at least a byte of text. What a template puts around texts comes on top: so many tokens a message (its role
# and turn marks) and so many a call (a system message of the template's own).
_AROUND_MESSAGE = 16
_AROUND_CALL = 64
# Output tokens of a call that sets no limit itself: more than any model of today writes.
_UNBOUNDED = 131_072


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


def total(amounts: Iterable[CallUsage]) -> CallUsage:
    """The sum of any number."""
    found = CallUsage()
    for amount in amounts:
        found += amount
    return found


@dataclass(frozen=True)
class MaxUsage:
    """The most tokens that one request can take in and give out."""

    input: int
    output: int

    def amount(self, price: Price | None) -> CallUsage:
        """As one call at a price."""
        return CallUsage(1, self.input + self.output, price.of(self.input, self.output) if price else None)


def max_usage_of(messages: Sequence[Mapping[str, str]], config: Mapping[str, Any]) -> MaxUsage:
    """The bound of a request, as `hyperalign_dspy.lm.messages` gives it."""
    texts = [message["content"] for message in messages]
    if config.get("response_format"):
        # Providers show a schema to the model.
        texts.append(json.dumps(config["response_format"], ensure_ascii=False))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return MaxUsage(size + _AROUND_MESSAGE * len(texts) + _AROUND_CALL, int(config.get("max_tokens") or _UNBOUNDED))


class BudgetMeter:
    """What was used and what is set aside, against the caps. Whoever shares one between threads holds a lock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.used = CallUsage()
        self._aside: dict[str, CallUsage] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._aside

    def reserve(self, worst: Mapping[str, CallUsage], seconds: float, longest: float) -> None:
        """Set aside what these calls can use. ``seconds`` have gone by, and a call has taken ``longest`` at most.

        Raises:
            BudgetReached: a cap could be passed; then nothing is set aside.
        """
        more = total(worst.values())
        now = self.used + total(self._aside.values())
        limits = self.limits
        _within("--max-calls", limits.max_calls, now.calls, more.calls, "{:,.0f} calls")
        _within("--max-tokens", limits.max_tokens, now.tokens, more.tokens, "{:,.0f} tokens")
        _within("--max-cost", limits.max_cost, now.money or 0.0, more.money or 0.0, "{:.4f} dollars")
        _within("--max-time", limits.max_seconds, seconds, longest, "{:.0f} s")
        self._aside.update(worst)

    def settle(self, key: str, used: CallUsage) -> None:
        """A call is answered: what it used takes the place of what was set aside."""
        self._aside.pop(key, None)
        self.used += used

    def release(self, keys: Iterable[str]) -> None:
        """Calls were never taken: what was set aside for them is there again."""
        for key in keys:
            self._aside.pop(key, None)

    def charge_failed(self, keys: Iterable[str]) -> CallUsage:
        """Calls have failed, and may have been billed: what was set aside for them counts as used."""
        lost = total(self._aside.pop(key) for key in keys if key in self._aside)
        self.used += lost
        return lost


def _within(option: str, cap: float | None, used: float, more: float, form: str) -> None:
    if cap is not None and used + more > cap:
        raise BudgetReached(
            f"The cap of {form.format(cap)} is reached: {form.format(used)} are used or set aside, and the next call "
            f"can take {form.format(more)}. Everything recorded is kept.",
            fix=f"Go on with a higher {option}.",
            cap=option,
        )
