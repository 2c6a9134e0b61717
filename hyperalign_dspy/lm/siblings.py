"""A hint that the next requests differ only in their seed, so that an engine may do the prompt's work once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_COUNT: ContextVar[int] = ContextVar("hyperalign_siblings", default=1)


@contextmanager
def siblings(count: int) -> Iterator[None]:
    """Within this context, requests come with ``count`` seeds in a row and are otherwise the same."""
    token = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(token)


def expected() -> int:
    """How many siblings the request at hand has, itself included."""
    return _COUNT.get()
