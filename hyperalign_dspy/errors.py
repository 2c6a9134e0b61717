"""Everything that this package raises, as one tree under `HyperalignError`; each class has its exit code.

A message says what happened; ``fix`` says what to type. Both reach the terminal, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator


class HyperalignError(Exception):
    """Root of the tree. ``fix`` is the sentence or command that mends it, or empty."""

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message, self.fix = message, fix

    def __str__(self) -> str:
        return f"{self.message}\n{self.fix}" if self.fix else self.message


class UsageError(HyperalignError):
    """The request makes no sense as it stands."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that nothing goes by; ``fix`` carries the nearest ones."""


class DataError(UsageError):
    """A file or data set that cannot be read as a corpus."""


class NotEnoughData(UsageError):
    """A corpus with fewer users or samples than the task needs; the message has both numbers."""


class PrerequisiteError(HyperalignError):
    """Something has to be there first; ``fix`` is the command that gets it."""

    exit_code = 3


class MissingWeights(PrerequisiteError):
    """The weights of the embedded model are not on this machine."""


class MissingKey(PrerequisiteError):
    """The provider of a remote model wants a key that is not set."""


class MissingFolder(PrerequisiteError):
    """A folder that cannot be written, or a disk that is full."""


class BudgetReached(HyperalignError):
    """The next call could pass a cap. Everything recorded is kept. ``cap`` is the option that sets it."""

    exit_code = 4

    def __init__(self, message: str, *, fix: str = "", cap: str = "a cap") -> None:
        super().__init__(message, fix=fix)
        self.cap = cap


class GateFailed(HyperalignError):
    """A check that guards a result did not pass."""

    exit_code = 5


class FrozenMismatch(GateFailed):
    """A frozen program whose files or signatures differ from its manifest."""


class RunMismatch(GateFailed):
    """A run that was started with another program, recipe, corpus or model."""


class TooManyFailures(GateFailed):
    """More instances stayed without an answer than a result can bear."""


class ModelError(HyperalignError):
    """A model could not answer."""


class NotSent(ModelError):
    """The run ended before this call was made, or before its answer was heard: it counts against no cap."""


class ContextOverflow(ModelError):
    """The prompt is longer than the model's context."""


class BadWeights(ModelError):
    """A weights file that is damaged or that no runtime can load."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies behind it, each once, the outermost first."""
    link: BaseException | None = error
    seen: list[BaseException] = []
    while link is not None and not any(link is known for known in seen):
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__
