"""Calls that other processes make: a request, its answers and its failure as plain data, there and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dspy.lm15 import (
    Config,
    ContextLengthError,
    InvalidRequestError,
    LM15Error,
    Message,
    RateLimitError,
    Request,
    Response,
    ServerError,
    TextPart,
    TimeoutError,
    TransportError,
)
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMUnsupportedModelError,
    is_retryable_lm_error,
)

from hyperalign_dspy.errors import BadWeights, HyperalignError, ModelError
from hyperalign_dspy.lm.messages import config_of, key_of, messages_of
from hyperalign_dspy.lm.records import response_of

# Whose fault a failed call is, and what stands for it in the process that asked: only "again" is tried again.
_FAILURES: dict[str, type[LM15Error]] = {
    "again": ServerError,
    "long": ContextLengthError,
    "wrong": InvalidRequestError,
}
_PASSING = (RateLimitError, ServerError, TimeoutError, TransportError)
_OWN_FAULTS = (LMAuthError, LMBillingError, LMConfigurationError, LMUnsupportedModelError, BadWeights)


def call_of(model: str, request: Request, count: int) -> dict[str, Any]:
    """A request as plain data; ``count`` seeds in a row are asked for, this one's first."""
    parts = {"messages": messages_of(request), "config": config_of(request)}
    return {"key": key_of(model, request), "model": model, "count": count, **parts}


def requests_of(call: Mapping[str, Any]) -> list[Request]:
    """The requests that a call stands for.

    Raises:
        ModelError: it is not, to the last letter, what was asked.
    """
    system = [m["content"] for m in call["messages"] if m["role"] == "system"]
    turns = [Message(m["role"], (TextPart(m["content"]),)) for m in call["messages"] if m["role"] != "system"]
    stop = tuple(call["config"].get("stop", ()))
    request = Request(
        model=call["model"],
        messages=tuple(turns),
        system=system[0] if system else None,
        config=Config(**{**call["config"], "stop": stop}),
    )
    if key_of(call["model"], request) != call["key"]:
        raise ModelError("A call did not arrive as it was asked.")
    return siblings_of(request, int(call["count"]))


def siblings_of(request: Request, count: int) -> list[Request]:
    """A request and those that differ only in their seed: ``count`` in a row."""
    seed = request.config.seed or 0
    others = [replace(request, config=replace(request.config, seed=seed + place)) for place in range(1, count)]
    return [request, *others]


def answers_of(responses: Sequence[Response], seconds: float) -> dict[str, Any]:
    """Answers as plain data, with the ``seconds`` that they took."""
    rows = [
        {
            "model": r.model,
            "text": r.message.text or "",
            "finish_reason": r.finish_reason,
            "input_tokens": r.usage.input_tokens,
            "output_tokens": r.usage.output_tokens,
        }
        for r in responses
    ]
    return {"answers": rows, "seconds": round(seconds, 4)}


def responses_of(answer: Mapping[str, Any]) -> list[Response]:
    """The answers, one a request.

    Raises:
        LM15Error: the call failed where it was made.
    """
    if "failed" in answer:
        raise _FAILURES.get(answer["failed"], InvalidRequestError)(answer["text"])
    return [response_of(row) for row in answer["answers"]]


def failed_of(error: BaseException) -> dict[str, Any]:
    """A failed call as plain data."""
    kind = "wrong"
    if isinstance(error, (ContextLengthError, ContextWindowExceededError)):
        kind = "long"
    elif own_fault(error) or isinstance(error, _PASSING) or _passes(error):
        kind = "again"
    return {"failed": kind, "text": f"{type(error).__name__}: {error}"[:500]}


def lost(text: str) -> dict[str, Any]:
    """A call of which nobody knows what came, as plain data: it may have been billed, and is to be made again."""
    return {"failed": "again", "text": text}


def own_fault(error: BaseException) -> bool:
    """Whether a call failed for a reason that lies with the process that made it: a key, a setting, its weights."""
    if isinstance(error, _OWN_FAULTS):
        return True
    return isinstance(error, HyperalignError) and not isinstance(error, ModelError)


def _passes(error: BaseException) -> bool:
    return isinstance(error, Exception) and is_retryable_lm_error(error)
