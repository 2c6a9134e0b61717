"""Hears an answer while it is being made: whoever listens is told its pieces, by every engine that has them early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TokenCallback = Callable[[str], None]

_LISTENER: ContextVar[TokenCallback | None] = ContextVar("hyperalign_listener", default=None)


@contextmanager
def streaming(tell: TokenCallback) -> Iterator[None]:
    """Within this context, ``tell`` hears the raw answer of each call, piece by piece and in order.

    Of several drafts made at once it hears the first. An answer from a record is not told: what the call returns is the
    answer in any case.
    """
    token = _LISTENER.set(tell)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def token_callback() -> TokenCallback | None:
    """Who listens to the call at hand."""
    return _LISTENER.get()
