"""DSPy's own adapters, with two things mended.

They make no second call when an answer cannot be parsed: a hidden call would not be counted, and an adapter that a
model cannot follow should be seen to fail. And a user's text stays a text: they put values between marks without a
look at them, so a text that holds such a mark could end its field and begin another. It is refused; control words of
chat templates are taken apart, as the turns adapter does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.escape import CUSTOM_TYPE, escape_control_tokens


class _Guarded:
    """Looks at every text of the inputs and demonstrations before it is put into a message."""

    def format(self, signature: Any, demos: list[dict[str, Any]], inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The messages.

        Raises:
            UsageError: a text holds one of this adapter's own marks, with the field and the mark.
        """
        marks = (CUSTOM_TYPE, *self.marks(signature))
        safe = [{name: _checked(name, value, marks) for name, value in row.items()} for row in [*demos, inputs]]
        found: list[dict[str, Any]] = super().format(signature, safe[:-1], safe[-1])  # type: ignore[misc]
        return found

    def marks(self, signature: Any) -> tuple[str, ...]:
        """What begins or ends a field."""
        del signature
        return ("[[ ## ", " ## ]]")


class _Chat(_Guarded, dspy.ChatAdapter):
    pass


class _Json(_Guarded, dspy.JSONAdapter):
    pass


class _Xml(_Guarded, dspy.XMLAdapter):
    def marks(self, signature: Any) -> tuple[str, ...]:
        """The tags of its fields."""
        return tuple(f"{head}{name}>" for name in signature.fields for head in ("<", "</"))


def chat() -> dspy.ChatAdapter:
    """Fields under ``[[ ## name ## ]]`` headers."""
    return _Chat(use_json_adapter_fallback=False)


def json() -> dspy.JSONAdapter:
    """One JSON object, under a schema where the model can be held to one."""
    return _Json()


def xml() -> dspy.XMLAdapter:
    """Fields in XML tags."""
    adapter = _Xml()
    adapter.use_json_adapter_fallback = False
    return adapter


def _checked(name: str, value: Any, marks: tuple[str, ...]) -> Any:
    """The value with its texts made harmless; what is no text, list or mapping is left to DSPy."""
    if isinstance(value, str):
        held = next((mark for mark in marks if mark in value), None)
        if held:
            raise UsageError(
                f"The input {name!r} holds {held.strip()!r}, by which this adapter tells fields apart.",
                fix='Take it out of the text, or use the adapter "turns", which makes it harmless.',
            )
        return escape_control_tokens(value)
    if isinstance(value, dspy.History):
        return dspy.History(messages=[_checked(name, turn, marks) for turn in value.messages])
    if isinstance(value, Mapping):
        return {key: _checked(name, item, marks) for key, item in value.items()}
    return [_checked(name, item, marks) for item in value] if isinstance(value, (list, tuple)) else value
