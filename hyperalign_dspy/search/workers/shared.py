"""An engine whose calls are made here or elsewhere, wherever there is room first."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from dspy.lm15 import Request, Response

from hyperalign_dspy.lm.messages import honoured, key_of
from hyperalign_dspy.lm.wire import call_of, responses_of, siblings_of

# What came of a call that was left to others; None: it is to be made here after all.
Made = Future[Mapping[str, Any] | None]


class Sharing(Protocol):
    """Who hands out calls: see `hyperalign_dspy.search.workers.lead.Lead`."""

    def call(self, call: Mapping[str, Any]) -> Made | None:
        """Have a call made elsewhere; None once there is a seat for it here."""

    def rise(self) -> None:
        """Give the seat back."""


class SharedEngine:
    """Stands before an inner engine; a request's seed is part of its name on the board, as it is in the record."""

    def __init__(self, inner: Any, model: str, lead: Sharing) -> None:
        self.inner, self._model, self._lead = inner, model, lead
        self.supports_response_schema = bool(getattr(inner, "supports_response_schema", False))
        self.supported_params = frozenset({*getattr(inner, "supported_params", ()), "seed"})
        self.concurrency = int(getattr(inner, "concurrency", 0))
        if hasattr(inner, "drafts"):
            self.drafts = inner.drafts
        self._lock = threading.Lock()
        # Siblings of what was asked: answered elsewhere already, or held by the inner engine.
        self._answered: dict[str, Response] = {}
        self._inside: set[str] = set()
        self._lost = threading.local()

    def complete(self, request: Request) -> Response:
        """The answer, whoever made it. What fails elsewhere fails here in the same way.

        Raises:
            LM15Error: the call failed. HyperalignError: it cannot be made, here or anywhere.
        """
        start = time.monotonic()
        self._lost.seconds = 0.0
        key = key_of(self._model, request)
        with self._lock:
            known = self._answered.pop(key, None)
            inside = key in self._inside
            self._inside.discard(key)
        if known:
            return known
        if inside:
            return self._here(request, start)
        count = self.drafts(request) if hasattr(self, "drafts") else 1
        made = self._lead.call(call_of(self._model, request, count))
        answer = made.result() if made else None
        return self._seated(request, count, start) if answer is None else self._elsewhere(request, answer, start)

    def waited(self) -> float:
        """Seconds that this thread's last call lost before it was made."""
        return float(getattr(self._lost, "seconds", 0.0))

    def close(self) -> None:
        """The inner engine belongs to who opened it."""

    def _elsewhere(self, request: Request, answer: Mapping[str, Any], start: float) -> Response:
        responses = responses_of(answer)
        self._lost.seconds = time.monotonic() - start - float(answer["seconds"])
        with self._lock:
            siblings = siblings_of(request, len(responses))
            self._answered.update((key_of(self._model, s), r) for s, r in zip(siblings[1:], responses[1:], strict=True))
        return responses[0]

    def _seated(self, request: Request, count: int, start: float) -> Response:
        try:
            response = self._here(request, start)
        finally:
            self._lead.rise()
        with self._lock:
            self._inside.update(key_of(self._model, s) for s in siblings_of(request, count)[1:])
        return response

    def _here(self, request: Request, start: float) -> Response:
        waited = time.monotonic() - start
        response: Response = self.inner.complete(honoured(self.inner, request))
        self._lost.seconds = waited + getattr(self.inner, "waited", float)()
        return response
