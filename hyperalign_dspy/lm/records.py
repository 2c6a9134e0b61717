"""One line of a ledger's file: an answered call, or one that failed."""

from __future__ import annotations

import gc
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.lm.engine import config_of, messages_of

CallRow = dict[str, Any]
# What an answered call has at least.
_ANSWER, _REQUEST = {"model", "request", "text", "finish_reason", "seconds"}, {"messages", "config"}


def call_row(key: str, model: str, request: Request, response: Response) -> CallRow:
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


def response_of(row: Mapping[str, Any]) -> Response:
    """The answer that a row holds."""
    return Response(
        None,
        row["model"],
        Message.assistant(row["text"]),
        finish_reason=row["finish_reason"],
        usage=Usage(row["input_tokens"], row["output_tokens"]),
    )


class Sessions:
    """How long sessions lasted, each up to its last row, also if it was killed."""

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
    """While much is read that stays, Python's collector would go through all of it again and again."""
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
        end = whole = file.seek(0, os.SEEK_END)
        if end:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                whole = content.rfind(b"\n") + 1
        if whole != end:
            file.truncate(whole)


def read_calls(path: Path) -> Iterator[CallRow]:
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
                if "failed" not in row and not (row.keys() >= _ANSWER and row["request"].keys() >= _REQUEST):
                    raise KeyError("request")
                yield {"key": str(row["key"]), **row}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"Line {number} of {path} is not a recorded call.",
                    fix="Remove the run with `hyperalign runs remove RUN`, or mend the line.",
                ) from error
