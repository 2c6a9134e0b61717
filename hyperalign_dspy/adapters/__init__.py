"""How a signature becomes messages, and an answer becomes fields."""

from __future__ import annotations

from typing import Any

from hyperalign_dspy import registry


def adapter(name: str) -> Any:
    """Return a new DSPy adapter by name: turns, chat, json, xml, or any ``module:object``.

    Raises:
        UnknownName: no such adapter.
    """
    return registry.resolve("adapter", name, registry.ADAPTERS)()
