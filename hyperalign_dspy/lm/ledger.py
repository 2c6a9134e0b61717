"""Cache, record and resume in one: every call passes through here, and its answer is written before it is used."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from dspy.lm15 import Request, Response
from filelock import FileLock, Timeout

from hyperalign_dspy.errors import BudgetReached, MissingFolder, NotSent, UsageError
from hyperalign_dspy.lm.engine import Engine, EngineWrapper, config_of, context_value, key_of, messages_of
from hyperalign_dspy.lm.limits import BudgetMeter, CallUsage, Limits, MaxUsage, Prices
from hyperalign_dspy.lm.rate_limit import RateLimit
from hyperalign_dspy.lm.records import CallRow, Sessions, call_row, drop_torn_line, read_calls, response_of, uncollected
from hyperalign_dspy.types import Cost

_PHASE: ContextVar[str] = ContextVar("hyperalign_phase", default="")
_ASKED: ContextVar[list[str] | None] = ContextVar("hyperalign_asked", default=None)


class Ledger:
    """An append-only store of answered calls, in a JSON-lines file or (``path`` None) in memory.

    ``limits`` are the caps that hold now, ``failures`` counts the calls that failed, ``clock`` gives seconds and never
    goes back.

    Raises:
        UsageError: another process holds the file, or money is capped and what an earlier call cost is unknown.
        DataError: a malformed line. MissingFolder: it cannot be written.
    """

    def __init__(
        self,
        path: Path | None = None,
        limits: Limits | None = None,
        prices: Prices | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.prices, self.limits = prices or Prices(), limits or Limits()
        self.failures = 0
        self._purse = BudgetMeter()
        self._clock, self._start, self._earlier, self._session = clock, clock(), 0.0, 1
        self._longest = 0.0
        self._failed: defaultdict[str, CallUsage] = defaultdict(CallUsage)
        # Those of the failed ones that this session asked for.
        self._wanted: set[str] = set()
        # Kept as it grows: whoever follows a run asks for it at every answer.
        self._cost = Cost(money=0.0)
        self._records: dict[str, CallRow] = {}
        self._phases: dict[str, Counter[str]] = {}
        self._served: Counter[str] = Counter()
        self._flying: dict[str, threading.Event] = {}
        self._patience: dict[str, RateLimit] = {}
        self._lock = threading.RLock()
        self._file: IO[str] | None = None
        self._held = ExitStack()
        if path:
            self._open(path)

    @property
    def used(self) -> CallUsage:
        """What all calls of all sessions have used, failed ones too: what the caps go by."""
        return self._purse.used

    @contextmanager
    def within(self, limits: Limits) -> Iterator[None]:
        """Other caps, for a while."""
        whole, self.limits = self.limits, limits
        try:
            yield
        finally:
            self.limits = whole

    def wrap(self, engine: Engine, model: str) -> _RecordingEngine:
        """An engine that answers from this ledger where it can, and records where it cannot."""
        return _RecordingEngine(engine, model, self)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Label the calls made and served within, also in threads that copy this context."""
        return context_value(_PHASE, name)

    @contextmanager
    def metered(self) -> Iterator[list[str]]:
        """Gives the keys of the calls asked for within, as they come; see `cost_of`."""
        asked: list[str] = []
        with context_value(_ASKED, asked):
            yield asked

    def path(self) -> CallUsage:
        """What the path so far has cost: the distinct calls that this session asked for, and their failures.

        A run that goes on walks the same path and counts the same, however often it was cut off.
        """
        with self._lock:
            lost = [self._failed[key] for key in sorted(self._wanted)]
            return sum([*map(self.prices.usage, self._walked()), *lost], CallUsage())

    def largest(self) -> MaxUsage:
        """The most that any one call on the path could have used; zeros before the first."""
        found = [row["bound"] for row in self._walked()]
        return MaxUsage(max((b.input for b in found), default=0), max((b.output for b in found), default=0))

    def seconds(self) -> float:
        """Wall time of all sessions; of the earlier ones up to their last recorded call."""
        return self._earlier + self._clock() - self._start

    def path_seconds(self) -> float:
        """When the last call on the path was recorded, in seconds of all sessions."""
        return max((float(row["when"]) for row in self._walked()), default=0.0)

    def left(self) -> float:
        """Seconds that the cap on time leaves; infinite without one."""
        return math.inf if self.limits.max_seconds is None else self.limits.max_seconds - self.seconds()

    def patience(self, provider: str) -> RateLimit:
        """What all calls to a provider share while this ledger is open."""
        with self._lock:
            return self._patience.setdefault(provider, RateLimit(provider, self.left, self._clock))

    def call_seconds(self) -> tuple[float, float]:
        """Seconds of an answered call on the path: on average, and the longest; zeros before the first."""
        each = [float(row["seconds"]) for row in self._walked()]
        return (sum(each) / len(each), max(each)) if each else (0.0, 0.0)

    def cost(self, phase: str | None = None) -> Cost:
        """What all recorded calls cost, earlier sessions included; or what answers of one phase cost when made.

        ``recorded_calls`` are those answered from the record in this session.
        """
        with self._lock:
            if phase is None:
                return replace(self._cost, recorded_calls=sum(self._served.values()))
            rows = [self._records[key] for key in self._phases.get(phase, ())]
            return self.prices.cost(rows, self._served[phase])

    def cost_of(self, keys: Iterable[str]) -> Cost:
        """What calls cost when they were made, in whatever session; each counts once."""
        with self._lock:
            return self.prices.cost(self._records[key] for key in dict.fromkeys(keys) if key in self._records)

    def recall(self, keys: Sequence[str]) -> tuple[tuple[str, ...], Cost] | None:
        """Take recorded calls as asked for, without their answers: their keys as they are held here, and what they cost
        when they were made. None, and nothing is taken, where one is not on record.
        """
        with self._lock:
            if any(key not in self._records and key not in self._failed for key in keys):
                return None
            rows = [self._records[key] for key in keys if key in self._records]
            self._wanted.update(key for key in keys if key in self._failed)
            self._phases.setdefault(_PHASE.get(), Counter()).update(str(row["key"]) for row in rows)
            self._served[_PHASE.get()] += len(rows)
            held = tuple(str(self._records[key]["key"]) if key in self._records else key for key in keys)
            return held, self.prices.cost(rows)

    def close(self) -> None:
        """Let go of the file; calls that still wait for a provider are not sent any more."""
        for patience in self._patience.values():
            patience.stop()
        self._file = None
        self._held.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, engine: Engine, model: str, request: Request) -> Response:
        """The recorded answer, or a new one: reserved, called, written, then used. Equal requests are sent once.

        Raises:
            BudgetReached: one more call could pass a cap. UsageError: money is capped and the price is unknown.
        """
        key = key_of(model, request)
        asked = _ASKED.get()
        if asked is not None:
            asked.append(key)
        while True:
            with self._lock:
                if key in self._failed:
                    self._wanted.add(key)
                self._phases.setdefault(_PHASE.get(), Counter())
                if key in self._records:
                    self._phases[_PHASE.get()][key] += 1
                    self._served[_PHASE.get()] += 1
                    return response_of(self._records[key])
                waiting = self._flying.get(key)
                if waiting is None:
                    try:
                        kin = self._reserve(engine, model, request, key)
                        break
                    except BudgetReached:
                        # Those in flight have set aside more than they will use.
                        waiting = next(iter(self._flying.values()), None)
                        if waiting is None:
                            raise
            waiting.wait()
        try:
            return self._call(engine, model, request, kin)
        finally:
            with self._lock:
                self._flying.pop(key).set()

    def _reserve(self, engine: Engine, model: str, request: Request, key: str) -> list[str]:
        """Set the worst case aside; returns the call's key, then those of the drafts made with it."""
        price = self.prices.of(model) if self.limits.max_cost is None else self.prices.demand(model)
        kin = [key]
        # What an earlier sibling's request has made already was set aside with that one.
        if key not in self._purse:
            others = _batched_keys(engine, model, request)
            kin += [other for other in others if other not in self._records and other not in self._purse]
            worst = dict.fromkeys(kin, _bound(request).amount(price))
            self._purse.reserve(worst, self.limits, self.seconds(), self._longest)
        self._flying[key] = threading.Event()
        return kin

    def _call(self, engine: Engine, model: str, request: Request, kin: list[str]) -> Response:
        start = self._clock()
        response = None
        try:
            response = engine.complete(_honoured(engine, request))
        finally:
            if response is None:
                self._unanswered(model, request, kin, sys.exception())
        row = call_row(kin[0], model, request, response)
        # What a provider made it wait for says nothing of how long the next call takes.
        seconds = self._clock() - start - engine.waited()
        row |= {"seconds": round(seconds, 4), "money": self.prices.money(row)}
        with self._lock:
            self._write(row)
            self._keep(row, self.seconds())
            self._phases[_PHASE.get()][row["key"]] += 1
        return response_of(row)

    def _unanswered(self, model: str, request: Request, kin: list[str], error: BaseException | None) -> None:
        with self._lock:
            if isinstance(error, (BudgetReached, NotSent)):
                # Time or the run ended before a provider took the call.
                self._purse.release(kin)
            elif isinstance(error, Exception):
                # A failed call may have been billed: it counts against a cap in this session and in the next.
                bound, lost = _bound(request), self._purse.charge_failed(kin)
                self.failures += lost.calls
                self._failed[kin[0]] += lost
                self._wanted.add(kin[0])
                row = {"key": kin[0], "model": model, "failed": f"{type(error).__name__}: {error}"[:500]}
                tokens = {"input_tokens": bound.input * lost.calls, "output_tokens": bound.output * lost.calls}
                self._write({**row, "calls": lost.calls, **tokens, "money": lost.money})

    def _keep(self, row: CallRow, when: float) -> None:
        """Take a row into account that was recorded ``when``; its request stays in the file."""
        used = self.prices.usage(row)
        self._purse.settle(row["key"], used)
        if "failed" in row:
            self.failures += used.calls
            self._failed[row["key"]] += used
            return
        kept = {name: row.get(name) for name in ("key", "text", "input_tokens", "output_tokens", "seconds", "money")}
        names = {name: sys.intern(str(row[name])) for name in ("model", "finish_reason")}
        bound = MaxUsage.of(row["request"]["messages"], row["request"]["config"])
        self._records[row["key"]] = {**kept, **names, "bound": bound, "when": when}
        self._cost += self.prices.cost([row])
        self._longest = max(self._longest, float(row["seconds"]))

    def _walked(self) -> list[CallRow]:
        # In one order always: a sum of money depends on it in its last digit.
        with self._lock:
            return [self._records[key] for key in sorted(set().union(*self._phases.values()))]

    def _write(self, row: Mapping[str, Any]) -> None:
        if not self._file:
            return
        when = {"session": self._session, "at": round(self._clock() - self._start, 3), "phase": _PHASE.get()}
        try:
            self._file.write(json.dumps({**row, **when}, ensure_ascii=True, sort_keys=True) + "\n")
            self._file.flush()
        except OSError as error:
            fix = "Free some room and give the same command again."
            raise MissingFolder(f"The record cannot be written: {error.strerror}.", fix=fix) from error

    def _open(self, path: Path) -> None:
        guard = FileLock(f"{path}.lock")
        try:
            guard.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"{path.parent.name} is in use by another process.",
                fix="Wait for it, or stop it: this command then goes on where it stood.",
            ) from error
        except OSError as error:
            raise MissingFolder(
                f"Cannot write to {path.parent}: {error.strerror}.", fix="Go to a folder that you may write."
            ) from error
        with ExitStack() as undo:
            undo.callback(guard.release)
            path.touch()
            drop_torn_line(path)
            with uncollected():
                self._take(read_calls(path))
            self._file = undo.enter_context(path.open("a", encoding="utf-8"))
            self._held = undo.pop_all()

    def _take(self, rows: Iterable[CallRow]) -> None:
        sessions = Sessions()
        for row in rows:
            sessions.heard(row)
            self._keep(row, sessions.seconds)
            if self.limits.max_cost is not None and self.prices.usage(row).money is None:
                self.prices.demand(row.get("model", ""))
        self._earlier, self._session = sessions.seconds, sessions.following


class _RecordingEngine(EngineWrapper):
    """Passes every call through a ledger."""

    def __init__(self, inner: Engine, model: str, ledger: Ledger) -> None:
        super().__init__(inner)
        self.model, self.ledger = model, ledger
        # The seed is part of a call's name in the record, whether or not the provider honours it.
        self.supported_params |= {"seed"}

    def complete(self, request: Request) -> Response:
        return self.ledger.answer(self.inner, self.model, request)


def _bound(request: Request) -> MaxUsage:
    return MaxUsage.of(messages_of(request), config_of(request))


def _honoured(engine: Engine, request: Request) -> Request:
    """The request as an engine can take it: without the seed where it has no use for one."""
    if "seed" in engine.supported_params:
        return request
    return replace(request, config=replace(request.config, seed=None))


def _batched_keys(engine: Engine, model: str, request: Request) -> list[str]:
    """The keys of the drafts that an engine makes with this one, for the seeds that follow."""
    seed = request.config.seed
    if seed is None:
        return []
    configs = (replace(request.config, seed=seed + place) for place in range(1, engine.drafts(request)))
    return [key_of(model, replace(request, config=config)) for config in configs]
