"""A canonical request as plain data: what goes into keys, records and local engines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from dspy.lm15 import Request

from hyperalign_dspy.errors import UsageError

# What says how a call is carried or billed and not what is answered.
_IDLE = frozenset({"cache", "user_id", "store", "service_tier"})


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


def key_of(model: str, request: Request, *, without_seed: bool = False) -> str:
    """SHA-256 of everything that decides an answer."""
    config = config_of(request)
    if without_seed:
        config.pop("seed", None)
    text = json.dumps([model, messages_of(request), config], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def honoured(engine: Any, request: Request) -> Request:
    """The request as an engine can take it: without the seed where it has no use for one."""
    if "seed" in getattr(engine, "supported_params", ()):
        return request
    return replace(request, config=replace(request.config, seed=None))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
