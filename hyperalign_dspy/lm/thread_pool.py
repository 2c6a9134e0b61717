"""Runs one call for each of many items, several in flight; a failed item is set down here, and nowhere else."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self, TypeVar

import dspy
from dspy.lm15 import ContextLengthError, LM15Error, MissingCredentialError

from hyperalign_dspy.errors import ContextOverflow, HyperalignError, MissingKey, ModelError, NotSent, causes

# Where more than this share of calls has no answer, nothing was measured.
MOST_MISSING = 0.2

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def attempt(call: Callable[[], _Answer]) -> _Answer | Exception:
    """What a call gives or raises, where it may be anybody's code and raise anything."""
    try:
        return call()
    except Exception as error:
        return error


class ThreadPool:
    """Threads that call a model, shared by all that is in flight: what was submitted first is called first.

    ``own`` says which errors concern the one item alone.
    """

    def __init__(self, lm: Any, concurrency: int, own: tuple[type[HyperalignError], ...] = (ModelError,)) -> None:
        self.lm, self.concurrency, self._own = lm, concurrency, own
        self._over = False
        self._threads = ThreadPoolExecutor(concurrency)
        self._under_way: set[Future[Any]] = set()

    def submit(
        self, call: Callable[[_Item], _Answer], items: Sequence[_Item], tick: Callable[[], None]
    ) -> list[Future[_Answer | ModelError]]:
        """One answer an item; a `ModelError` where the model, or what became of its answer, failed, or an item's own
        error came up.

        ``tick`` hears of every item that is done. What is wrong beside a single call, such as a cap that is reached, is
        raised by the future.
        """

        def begin(item: _Item) -> _Answer:
            with dspy.context(lm=self.lm, disable_history=True):
                if self._over:
                    raise NotSent("The run ended before this was begun.")
                return call(item)

        def one(item: _Item) -> _Answer | ModelError:
            try:
                found = attempt(lambda: begin(item))
            finally:
                tick()
            if not isinstance(found, Exception):
                return found
            cause = root_cause(found)
            if isinstance(cause, HyperalignError) and not isinstance(cause, self._own):
                raise cause from found
            return ModelError(f"{type(cause).__name__}: {cause}")

        futures = [self._threads.submit(contextvars.copy_context().run, one, item) for item in items]
        for future in futures:
            self._under_way.add(future)
            future.add_done_callback(self._under_way.discard)
        return futures

    def drop(self) -> None:
        """Begin nothing more of what was submitted, and wait for what has begun."""
        left = self._under_way.copy()
        for future in left:
            future.cancel()
        wait(left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is under way is paid for, so its answers go on record, and nothing else begins. Whoever interrupts does
        # not wait for a slow call.
        self._over = kind is not None
        self._threads.shutdown(wait=kind is None or issubclass(kind, HyperalignError), cancel_futures=True)


def run_in_threads(
    call: Callable[[_Item], _Answer], items: Sequence[_Item], lm: object, concurrency: int, tick: Callable[[], None]
) -> list[_Answer | ModelError]:
    """One answer an item, in their order; see `ThreadPool.submit`.

    Raises:
        HyperalignError: whatever is wrong beside a single call.
    """
    with ThreadPool(lm, concurrency) as pool:
        return [future.result() for future in pool.submit(call, items, tick)]


def root_cause(error: BaseException) -> BaseException:
    """What really went wrong, which a user can act on: DSPy wraps an engine's errors."""
    chain = list(causes(error))
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
