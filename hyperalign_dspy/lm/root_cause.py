"""What lies behind an error that DSPy raises."""

from __future__ import annotations

from dspy.lm15 import ContextLengthError, LM15Error, MissingCredentialError

from hyperalign_dspy.errors import ContextOverflow, HyperalignError, MissingKey, ModelError


def root_cause(error: BaseException) -> BaseException:
    """What really went wrong: DSPy wraps an engine's errors, and the cause is what a user can act on."""
    seen: BaseException | None = error
    chain: list[BaseException] = []
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
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
