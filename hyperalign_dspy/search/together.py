"""Runs one call for each of many items, several in flight; a failed item is set down here, and nowhere else."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import dspy

from hyperalign_dspy.errors import HyperalignError, ModelError
from hyperalign_dspy.lm.causes import unwrap

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Pool:
    """Threads that call a model, shared by all that is in flight: what was submitted first is called first."""

    def __init__(self, lm: object, concurrency: int) -> None:
        self.lm, self.concurrency = lm, concurrency
        self._threads = ThreadPoolExecutor(concurrency)

    def submit(
        self, call: Callable[[Item], Answer], items: Sequence[Item], tick: Callable[[], None]
    ) -> list[Future[Answer | ModelError]]:
        """One answer an item; a `ModelError` where the model, or what became of its answer, failed.

        ``tick`` hears of every item that is done. What is wrong beside a single call, such as a cap that is reached, is
        raised by the future.
        """

        def one(item: Item) -> Answer | ModelError:
            try:
                with dspy.context(lm=self.lm, disable_history=True):
                    return call(item)
            except Exception as error:
                cause = unwrap(error)
                if isinstance(cause, HyperalignError) and not isinstance(cause, ModelError):
                    raise cause from error
                return ModelError(f"{type(cause).__name__}: {cause}")
            finally:
                tick()

        return [self._threads.submit(contextvars.copy_context().run, one, item) for item in items]

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whoever interrupts does not wait for a slow call.
        self._threads.shutdown(wait=kind is None, cancel_futures=True)


def together(
    call: Callable[[Item], Answer], items: Sequence[Item], lm: object, concurrency: int, tick: Callable[[], None]
) -> list[Answer | ModelError]:
    """One answer an item, in their order; see `Pool.submit`.

    Raises:
        HyperalignError: whatever is wrong beside a single call.
    """
    with Pool(lm, concurrency) as pool:
        return [future.result() for future in pool.submit(call, items, tick)]
