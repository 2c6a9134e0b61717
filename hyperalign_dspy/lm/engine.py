"""What an engine is, what it is asked as plain data, and what is known of a call beside its request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar

from dspy.lm15 import Request, Response

from hyperalign_dspy.errors import UsageError

TokenCallback = Callable[[str], None]
_Value = TypeVar("_Value")

# What says how a call is carried or billed and not what is answered.
_IDLE = frozenset({"cache", "user_id", "store", "service_tier"})
_COMPLETIONS: ContextVar[int] = ContextVar("hyperalign_siblings", default=1)
_LISTENER: ContextVar[TokenCallback | None] = ContextVar("hyperalign_listener", default=None)


@contextmanager
def context_value(variable: ContextVar[_Value], value: _Value) -> Iterator[None]:
    """Within this context, the variable has the value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class Engine:
    """Answers requests, from many threads at once, as DSPy's engines do.

    ``concurrency`` is how many calls in flight it takes well; 0: that is for a server to say.
    """

    supports_response_schema = False
    supported_params: frozenset[str] = frozenset()
    concurrency = 0

    def complete(self, request: Request) -> Response:
        """One answer."""
        raise NotImplementedError

    def drafts(self, request: Request) -> int:
        """How many answers it makes at once, for seeds in a row: see `n_completions`."""
        return 1

    def waited(self) -> float:
        """Seconds that this thread's last call waited before it was taken."""
        return 0.0

    def close(self) -> None:
        """Nothing to close: what an engine needs belongs to who opened it."""


class EngineWrapper(Engine):
    """Stands before another engine, and takes what that one takes."""

    def __init__(self, inner: Engine) -> None:
        self.inner, self.concurrency = inner, inner.concurrency
        self.supports_response_schema = inner.supports_response_schema
        self.supported_params = inner.supported_params

    def __deepcopy__(self, memo: dict[int, Any]) -> EngineWrapper:
        # A copied program speaks through the same ledger: the record is one.
        return self


def messages_of(request: Request) -> list[dict[str, str]]:
    """Role and text of every message, the system message first.

    Raises:
        UsageError: something that is not text. A record of text alone would hand out wrong answers for it.
    """
    system = request.system
    parts = [part for message in request.messages for part in message.parts]
    if system is not None and not isinstance(system, str):
        parts += list(system)
        system = "".join(part.text or "" for part in system)
    if request.tools or any(part.type != "text" for part in parts):
        raise UsageError("This call holds tools, pictures or other parts; only text can be recorded and tuned here.")
    head = [{"role": "system", "content": system}] if system else []
    return head + [{"role": message.role, "content": message.text or ""} for message in request.messages]


def config_of(request: Request) -> dict[str, Any]:
    """The generation settings that are set."""
    values = {f.name: getattr(request.config, f.name) for f in fields(request.config) if f.name not in _IDLE}
    return {name: _plain(value) for name, value in values.items() if value not in (None, ())}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def key_of(model: str, request: Request, *, without_seed: bool = False) -> str:
    """SHA-256 of everything that decides an answer."""
    config = config_of(request)
    if without_seed:
        config.pop("seed", None)
    text = json.dumps([model, messages_of(request), config], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def n_completions(count: int) -> AbstractContextManager[None]:
    """Within this context, requests come with ``count`` seeds in a row and are otherwise the same, so that an engine
    may do the prompt's work once.
    """
    return context_value(_COMPLETIONS, count)


def completions_expected() -> int:
    """How many siblings the request at hand has, itself included."""
    return _COMPLETIONS.get()


def streaming(tell: TokenCallback) -> AbstractContextManager[None]:
    """Within this context, ``tell`` hears the raw answer of each call, piece by piece and in order.

    Of several drafts made at once it hears the first. An answer from a record is not told: what the call returns is the
    answer in any case.
    """
    return context_value(_LISTENER, tell)


def token_callback() -> TokenCallback | None:
    """Who listens to the call at hand."""
    return _LISTENER.get()
