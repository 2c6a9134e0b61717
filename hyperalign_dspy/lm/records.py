"""One line of a ledger's file: an answered call, or one that failed."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.lm.limits import CallUsage, MaxUsage, max_usage_of
from hyperalign_dspy.lm.messages import config_of, messages_of
from hyperalign_dspy.lm.prices import FREE, Prices
from hyperalign_dspy.types import Cost

Row = dict[str, Any]
_CHUNK = 65536


def row_of(key: str, model: str, request: Request, response: Response) -> Row:
    """An answered call as plain data; the ledger adds what it knows of phase and time."""
    return {
        "key": key,
        "model": model,
        "request": {"messages": messages_of(request), "config": config_of(request)},
        "text": response.message.text or "",
        "finish_reason": response.finish_reason,
        "input_tokens": response.usage.input_tokens,
        "output_tokens": response.usage.output_tokens,
    }


def request_bound(request: Request) -> MaxUsage:
    """The most tokens that a request can use."""
    return max_usage_of(messages_of(request), config_of(request))


def slim(row: Row) -> Row:
    """What is held in memory of a row: the answer and what it cost; the request stays in the file."""
    if "failed" in row:
        return row
    kept = {name: row.get(name) for name in ("key", "text", "input_tokens", "output_tokens", "seconds", "money")}
    bound = max_usage_of(row["request"]["messages"], row["request"]["config"])
    names = {name: sys.intern(str(row[name])) for name in ("model", "finish_reason")}
    return {**kept, **names, "bound": bound}


def response_of(row: Mapping[str, Any]) -> Response:
    """The answer that a row holds."""
    return Response(
        id=None,
        model=row["model"],
        message=Message.assistant(row["text"]),
        finish_reason=row["finish_reason"],
        usage=Usage(row["input_tokens"], row["output_tokens"]),
    )


def money_of(row: Mapping[str, Any], prices: Prices) -> float | None:
    """Dollars: as recorded when it was paid, else by today's price; None where price or tokens are unknown."""
    if row.get("money") is not None:
        return float(row["money"])
    price = prices.of(row.get("model", ""))
    if price == FREE:
        return 0.0
    given, made = row.get("input_tokens"), row.get("output_tokens")
    return None if price is None or given is None or made is None else price.of(given, made)


def usage_of(row: Mapping[str, Any], prices: Prices) -> CallUsage:
    """What a row, as `slim` leaves it, counts against caps: what was used, or the bound where nobody reported it."""
    if "failed" in row:
        tokens = row.get("input_tokens", 0) + row.get("output_tokens", 0)
        return CallUsage(row.get("calls", 1), tokens, money_of(row, prices))
    given, made, price = row["input_tokens"], row["output_tokens"], prices.of(row["model"])
    if given is not None and made is not None:
        return CallUsage(1, given + made, money_of(row, prices))
    bound = row["bound"]
    given, made = bound.input if given is None else given, bound.output if made is None else made
    return CallUsage(1, given + made, price.of(given, made) if price else None)


def cost_of(rows: Iterable[Mapping[str, Any]], prices: Prices, served: int = 0) -> Cost:
    """What answered calls cost together; ``served`` answers came from the record."""
    calls, given, made, seconds, money, known = 0, 0, 0, 0.0, 0.0, True
    for row in rows:
        calls += 1
        given += row["input_tokens"] or 0
        made += row["output_tokens"] or 0
        seconds += row["seconds"]
        paid = money_of(row, prices)
        known = known and paid is not None
        money += paid or 0.0
    return Cost(calls, served, given, made, seconds, money if known else None)


class Sessions:
    """How long sessions lasted, each up to its last row: what holds when they were killed, too."""

    def __init__(self) -> None:
        self._ends: dict[int, float] = {}

    def heard(self, row: Mapping[str, Any]) -> None:
        """Take a row into account."""
        session = int(row.get("session", 0))
        self._ends[session] = max(self._ends.get(session, 0.0), float(row.get("at", 0.0)))

    @property
    def seconds(self) -> float:
        """All of them together."""
        return sum(self._ends.values())

    @property
    def following(self) -> int:
        """The number of a new session."""
        return max(self._ends, default=0) + 1


@contextmanager
def uncollected() -> Iterator[None]:
    """While very much is read that stays, Python's collector would look through all of it again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def drop_torn_line(path: Path) -> None:
    """A process killed while writing leaves half a line; what it held was never used."""
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        place = end
        while place:
            step = min(place, _CHUNK)
            place -= step
            file.seek(place)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                place += found + 1
                break
        if place != end:
            file.truncate(place)


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file; a line without its end, which somebody may be writing, is left out.

    Raises:
        DataError: a line that is no row.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                row = json.loads(line)
                yield {"key": str(row["key"]), **row}
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"Line {number} of {path} is not a recorded call.",
                    fix="Remove the run with `hyperalign runs remove RUN`, or mend the line.",
                ) from error
