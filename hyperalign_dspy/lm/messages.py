"""A canonical request as plain data: what goes into keys, records and local engines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dspy.lm15 import Request


def messages_of(request: Request) -> list[dict[str, str]]:
    """Role and text of every message, the system message first."""
    system = request.system
    if system is not None and not isinstance(system, str):
        system = "".join(part.text or "" for part in system)
    head = [{"role": "system", "content": system}] if system else []
    return head + [{"role": message.role, "content": message.text or ""} for message in request.messages]


def config_of(request: Request) -> dict[str, Any]:
    """The generation settings that are set."""
    config = request.config
    names = (
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "response_format",
        "seed",
        "frequency_penalty",
        "presence_penalty",
    )
    values = {name: getattr(config, name) for name in names}
    values["stop"] = list(config.stop) or None
    return {name: _plain(value) for name, value in values.items() if value is not None}


def key_of(model: str, request: Request, *, without_seed: bool = False) -> str:
    """SHA-256 of everything that decides an answer."""
    config = config_of(request)
    if without_seed:
        config.pop("seed", None)
    text = json.dumps([model, messages_of(request), config], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
