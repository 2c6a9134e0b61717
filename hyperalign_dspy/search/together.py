"""Runs one call for each of many items, several in flight; a failed item is set down here, and nowhere else."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import dspy

from hyperalign_dspy.errors import HyperalignError, ModelError
from hyperalign_dspy.lm.ledger import unwrap

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def together(
    call: Callable[[Item], Answer], items: Sequence[Item], lm: object, concurrency: int, tick: Callable[[], None]
) -> list[Answer | ModelError]:
    """One answer an item, in their order; a `ModelError` where the model, or what became of its answer, failed.

    ``tick`` hears of every item that is done.

    Raises:
        HyperalignError: whatever is wrong beside a single call, such as a cap that is reached.
    """

    def one(item: Item) -> Answer | ModelError:
        try:
            with dspy.context(lm=lm, disable_history=True):
                return call(item)
        except Exception as error:
            cause = unwrap(error)
            if isinstance(cause, HyperalignError) and not isinstance(cause, ModelError):
                raise cause from error
            return ModelError(f"{type(cause).__name__}: {cause}")
        finally:
            tick()

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(contextvars.copy_context().run, one, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
