"""How a signature becomes messages, and an answer becomes fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy import registry

_ADAPTERS: Mapping[str, str] = {
    "turns": "hyperalign_dspy.program.adapters.turns:TurnsAdapter",
    "chat": "hyperalign_dspy.program.adapters.standard:chat",
    "json": "hyperalign_dspy.program.adapters.standard:json",
    "xml": "hyperalign_dspy.program.adapters.standard:xml",
}


def adapter(name: str) -> Any:
    """Return a new DSPy adapter by name: turns, chat, json, xml, or any ``module:object``.

    Raises:
        UnknownName: no such adapter.
    """
    return registry.resolve("adapter", name, _ADAPTERS)()
