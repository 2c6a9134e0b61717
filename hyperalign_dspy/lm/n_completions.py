"""A hint that the next requests differ only in their seed, so that an engine may do the prompt's work once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from dspy.lm15 import Request

from hyperalign_dspy.lm.messages import key_of

_COUNT: ContextVar[int] = ContextVar("hyperalign_siblings", default=1)


@contextmanager
def n_completions(count: int) -> Iterator[None]:
    """Within this context, requests come with ``count`` seeds in a row and are otherwise the same."""
    token = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(token)


def completions_expected() -> int:
    """How many siblings the request at hand has, itself included."""
    return _COUNT.get()


def batched_keys(engine: Any, model: str, request: Request) -> list[str]:
    """The keys of the drafts that an engine makes with this one, for the seeds that follow."""
    drafts, seed = getattr(engine, "drafts", None), request.config.seed
    if drafts is None or seed is None:
        return []
    others = (replace(request.config, seed=seed + place) for place in range(1, drafts(request)))
    return [key_of(model, replace(request, config=config)) for config in others]
