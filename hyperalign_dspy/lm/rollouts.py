"""A model as somebody else's optimiser speaks to it: through the run's record, with other answers where it asks for
others, and with an end that no `except Exception` can hold up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from hyperalign_dspy.errors import HyperalignError, ModelError
from hyperalign_dspy.lm.engine import Engine, EngineWrapper, context_value
from hyperalign_dspy.lm.ledger import Ledger

# Far enough apart, and primes, that the seeds of one rollout's drafts and answers do not meet those of another.
_STRIDE, _ROLLOUT_STRIDE, _SEEDS = 7919, 104729, 2**31
_ROLLOUT: ContextVar[tuple[int, Iterator[int]] | None] = ContextVar("hyperalign_rollout", default=None)


class Stopped(BaseException):
    """Ends an optimiser from within one of its calls.

    Not an `Exception`, since DSPy's evaluation turns these into a score of 0 and goes on. ``reason`` is what to raise
    in its place.
    """

    def __init__(self, reason: HyperalignError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class StopSignal:
    """Whether a search is to end, and why: one for all the models that it speaks to."""

    def __init__(self) -> None:
        self.reason: HyperalignError | None = None
        self._under_way = 0
        self._changed = threading.Condition()

    def note(self, error: BaseException) -> None:
        """Keep the first error that is about the run and not about one call."""
        if isinstance(error, HyperalignError) and not isinstance(error, ModelError):
            self.reason = self.reason or error

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call.

        Raises:
            Stopped: the search has ended already.
        """
        with self._changed:
            if self.reason:
                raise Stopped(self.reason)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def settle(self) -> None:
        """Wait for the calls under way: one may only now ask for its share of a cap."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)


class _RolloutEngine(EngineWrapper):
    """Speaks through a recording engine under a phase's name, from whatever thread, until the end."""

    def __init__(self, inner: Engine, ledger: Ledger, phase: str, end: StopSignal) -> None:
        super().__init__(inner)
        self._ledger, self._phase, self._end = ledger, phase, end

    def complete(self, request: Request) -> Response:
        try:
            with self._end.call(), self._ledger.phase(self._phase):
                return self.inner.complete(_rolled(request))
        except HyperalignError as error:
            self._end.note(error)
            if self._end.reason:
                raise Stopped(self._end.reason) from error
            raise


class RolloutLM(dspy.LM):
    """A `dspy.LM` whose rollouts, and the several answers of one call, differ by seed.

    An optimiser asks for another answer to the same prompt by ``rollout_id`` or by ``n``. Neither is part of a request,
    so the record would give the same answer again. The first answer without a rollout keeps its seed: it is the one
    that any other part of a run gets.
    """

    @classmethod
    def of(cls, lm: Any, ledger: Ledger, phase: str, end: StopSignal, max_tokens: int) -> RolloutLM:
        """A connected model, spoken to under the name of a phase until the end; its calls go on record in ``ledger``.

        At a cap, or anything else that is not about one call, it and every later call raise `Stopped`.
        """
        engine = _RolloutEngine(lm.engine, ledger, phase, end)
        return cls(lm.model, engine=engine, cache=False, max_tokens=max_tokens, temperature=None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        rollout = kwargs.get("rollout_id") or self.kwargs.get("rollout_id") or 0
        with context_value(_ROLLOUT, (int(rollout), itertools.count())):
            return super().__call__(*args, **kwargs)


def _rolled(request: Request) -> Request:
    current = _ROLLOUT.get()
    if current is None:
        return request
    rollout, places = current
    shift = rollout * _ROLLOUT_STRIDE + next(places) * _STRIDE
    # A greedy answer is the same under any seed: asking again would only be paid again.
    if not shift or request.config.temperature == 0:
        return request
    seed = ((request.config.seed or 0) + shift) % _SEEDS
    return replace(request, config=replace(request.config, seed=seed))
