"""DSPy's own adapters, without the second call that they make when an answer cannot be parsed.

A hidden call would not be counted, and an adapter that a model cannot follow should be seen to fail.
"""

from __future__ import annotations

import dspy


def chat() -> dspy.ChatAdapter:
    """Fields under ``[[ ## name ## ]]`` headers."""
    return dspy.ChatAdapter(use_json_adapter_fallback=False)


def json() -> dspy.JSONAdapter:
    """One JSON object, under a schema where the model can be held to one."""
    return dspy.JSONAdapter()


def xml() -> dspy.XMLAdapter:
    """Fields in XML tags."""
    adapter = dspy.XMLAdapter()
    adapter.use_json_adapter_fallback = False
    return adapter
