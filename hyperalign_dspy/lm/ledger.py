"""Cache, record and resume in one: every call passes through here, and its answer is written before it is used."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from dspy.lm15 import ContextLengthError, LM15Error, Message, MissingCredentialError, Request, Response, Usage
from filelock import FileLock, Timeout

from hyperalign_dspy.errors import (
    BudgetReached,
    ContextOverflow,
    DataError,
    HyperalignError,
    MissingFolder,
    MissingKey,
    ModelError,
    UsageError,
)
from hyperalign_dspy.lm.messages import config_of, key_of, messages_of
from hyperalign_dspy.types import Cost

_PHASE: ContextVar[str] = ContextVar("hyperalign_phase", default="")


@dataclass(frozen=True)
class Limits:
    """Caps over all sessions of a ledger; None: no cap."""

    max_calls: int | None = None


class Ledger:
    """An append-only store of answered calls, in a JSON-lines file or (``path`` None) in memory.

    Raises:
        UsageError: another process holds the file. DataError: a malformed line. MissingFolder: it cannot be written.
    """

    def __init__(self, path: Path | None = None, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.failures = 0
        self._records: dict[str, dict[str, Any]] = {}
        self._phases: dict[str, Counter[str]] = {}
        self._served: Counter[str] = Counter()
        self._flying: dict[str, threading.Event] = {}
        self._lock = threading.RLock()
        self._file: IO[str] | None = None
        self._guard = FileLock(f"{path}.lock") if path else None
        if path:
            self._open(path)

    def wrap(self, engine: Any, model: str) -> RecordingEngine:
        """An engine that answers from this ledger where it can, and records where it cannot."""
        return RecordingEngine(engine, model, self)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Label the calls made and served within, also in threads that copy this context."""
        token = _PHASE.set(name)
        try:
            yield
        finally:
            _PHASE.reset(token)

    def spent(self) -> int:
        """What the path so far has cost: the distinct calls that this session asked for, and all failures.

        A run that goes on, or is given again, walks the same path and so counts the same: what it can afford does not
        depend on how often it was cut off.
        """
        with self._lock:
            return len(set().union(*self._phases.values())) + self.failures

    def cost(self, phase: str | None = None) -> Cost:
        """What all recorded calls cost, earlier sessions included; or what answers of one phase cost when made.

        ``recorded_calls`` are those answered from the record in this session.
        """
        with self._lock:
            keys = list(self._records) if phase is None else list(self._phases.get(phase, ()))
            rows = [self._records[key] for key in keys]
            served = sum(self._served.values()) if phase is None else self._served[phase]
        return Cost(
            calls=len(rows),
            recorded_calls=served,
            input_tokens=sum(row["input_tokens"] or 0 for row in rows),
            output_tokens=sum(row["output_tokens"] or 0 for row in rows),
            seconds=sum(row["seconds"] for row in rows),
        )

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()
            self._file = None
        if self._guard:
            self._guard.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, engine: Any, model: str, request: Request) -> Response:
        """The recorded answer, or a new one: reserved, called, written, then used. Equal requests are sent once.

        Raises:
            BudgetReached: one more call could pass a cap.
        """
        key = key_of(model, request)
        while True:
            with self._lock:
                self._phases.setdefault(_PHASE.get(), Counter())
                if key in self._records:
                    self._phases[_PHASE.get()][key] += 1
                    self._served[_PHASE.get()] += 1
                    return _response(self._records[key])
                waiting = self._flying.get(key)
                if waiting is None:
                    self._reserve(key)
                    break
            waiting.wait()
        try:
            return self._call(engine, model, request, key)
        finally:
            with self._lock:
                self._flying.pop(key).set()

    def _reserve(self, key: str) -> None:
        cap = self.limits.max_calls
        if cap is not None and len(self._records) + len(self._flying) + self.failures >= cap:
            raise BudgetReached(
                f"The cap of {cap} calls is reached. Everything recorded is kept.",
                fix="Go on with a higher --max-calls.",
            )
        self._flying[key] = threading.Event()

    def _call(self, engine: Any, model: str, request: Request, key: str) -> Response:
        start = time.monotonic()
        try:
            response = engine.complete(_honoured(engine, request))
        except Exception as error:
            # A failed call may have been billed: it counts against a cap in this session and in the next.
            self._fail(key, error)
            raise
        self._record(_row(key, model, request, response, time.monotonic() - start))
        return _response(self._records[key])

    def _record(self, row: dict[str, Any]) -> None:
        with self._lock:
            self._write(row)
            self._records[row["key"]] = row
            self._phases[_PHASE.get()][row["key"]] += 1

    def _fail(self, key: str, error: Exception) -> None:
        with self._lock:
            self.failures += 1
            self._write({"key": key, "phase": _PHASE.get(), "failed": f"{type(error).__name__}: {error}"[:500]})

    def _write(self, row: Mapping[str, Any]) -> None:
        if not self._file:
            return
        try:
            self._file.write(json.dumps(row, ensure_ascii=True, sort_keys=True) + "\n")
            self._file.flush()
        except OSError as error:
            raise MissingFolder(
                f"The record cannot be written: {error.strerror}.",
                fix="Free some room and give the same command again.",
            ) from error

    def _open(self, path: Path) -> None:
        assert self._guard is not None
        try:
            self._guard.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"{path.parent.name} is in use by another process.",
                fix="Wait for it, or stop it: this command then goes on where it stood.",
            ) from error
        except OSError as error:
            raise MissingFolder(
                f"Cannot write to {path.parent}: {error.strerror}.", fix="Go to a folder that you may write."
            ) from error
        try:
            path.touch()
            _drop_torn_line(path)
            rows = list(_rows(path))
            self._records = {row["key"]: row for row in rows if "failed" not in row}
            self.failures = len(rows) - sum("failed" not in row for row in rows)
            self._file = path.open("a", encoding="utf-8")
        except BaseException:
            self._guard.release()
            raise


class RecordingEngine:
    """A DSPy engine that passes every call through a ledger."""

    def __init__(self, inner: Any, model: str, ledger: Ledger) -> None:
        self.inner, self.model, self.ledger = inner, model, ledger
        self.supports_response_schema = bool(getattr(inner, "supports_response_schema", False))
        # The seed is part of a call's name in the record, whether or not the provider honours it.
        self.supported_params = frozenset({*getattr(inner, "supported_params", ()), "seed"})
        self.concurrency = int(getattr(inner, "concurrency", 0))

    def complete(self, request: Request) -> Response:
        """See `Ledger.answer`."""
        return self.ledger.answer(self.inner, self.model, request)

    def close(self) -> None:
        """The ledger is closed by who opened it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordingEngine:
        # A copied program speaks through the same ledger: the record is one.
        return self


def unwrap(error: BaseException) -> BaseException:
    """What really went wrong: DSPy wraps an engine's errors, and the cause is what a user can act on."""
    seen: BaseException | None = error
    chain: list[BaseException] = []
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    for link in chain:
        if isinstance(link, HyperalignError):
            return link
    for link in chain:
        if isinstance(link, ContextLengthError):
            return ContextOverflow(str(link), fix="Show fewer or shorter samples.")
        if isinstance(link, MissingCredentialError):
            return MissingKey(str(link))
    provider = next((link for link in chain if isinstance(link, LM15Error)), None)
    return ModelError(str(provider)) if provider else error


def _honoured(engine: Any, request: Request) -> Request:
    if "seed" in getattr(engine, "supported_params", ()):
        return request
    return replace(request, config=replace(request.config, seed=None))


def _row(key: str, model: str, request: Request, response: Response, seconds: float) -> dict[str, Any]:
    return {
        "key": key,
        "phase": _PHASE.get(),
        "model": model,
        "request": {"messages": messages_of(request), "config": config_of(request)},
        "text": response.message.text or "",
        "finish_reason": response.finish_reason,
        "input_tokens": response.usage.input_tokens,
        "output_tokens": response.usage.output_tokens,
        "seconds": round(seconds, 4),
    }


def _response(row: dict[str, Any]) -> Response:
    return Response(
        id=None,
        model=row["model"],
        message=Message.assistant(row["text"]),
        finish_reason=row["finish_reason"],
        usage=Usage(row["input_tokens"], row["output_tokens"]),
    )


def _drop_torn_line(path: Path) -> None:
    """A process killed while writing leaves half a line; what it held was never used."""
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            file.truncate(whole)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                yield {"key": str(row["key"]), **row}
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"Line {number} of {path} is not a recorded call.",
                    fix="Remove the run with `hyperalign runs remove RUN`, or mend the line.",
                ) from error
