"""How a signature becomes messages, and an answer becomes fields.

The *turns* adapter is for models too small to follow a format. The instruction (and what is known, field by field) is
the system message, demonstrations and samples are earlier turns, the last input is the last user turn, and the answer
is the raw text. Several output fields or lists are asked for as one JSON object: under a schema where the model can be
held to one, and read leniently, line by line, where it cannot.

*chat*, *json* and *xml* are DSPy's own with two things mended. They make no second call when an answer cannot be
parsed: a hidden call would not be counted, and an adapter that a model cannot follow should be seen to fail. And they
put values between marks without a look at them, so a text that holds such a mark could end its field: it is refused.

With all of them a user's text stays a text: what a chat template or DSPy would read in it is taken apart by a space,
and in turns so is a line that begins like a field where a message has fields. An entry of a list of lines is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_origin

import dspy
from dspy.adapters import Adapter
from dspy.adapters.types import History
from dspy.utils.exceptions import AdapterParseError

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.escape import CUSTOM_TYPE, escape_control_tokens, escape_labels, on_one_line

_ADAPTERS: Mapping[str, str] = {
    "turns": f"{__name__}:TurnsAdapter",
    "chat": f"{__name__}:_Chat",
    "json": f"{__name__}:_Json",
    "xml": f"{__name__}:_Xml",
}
# Bounds of one listed sentence, in words: long enough to say one thing, short enough never to meet max_tokens.
_SENTENCE = (1, 22)
# Held to a schema, a small model repeats itself unless that costs something.
FREQUENCY_PENALTY = 0.6
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


def adapter(name: str) -> Any:
    """Return a new DSPy adapter by name: turns, chat, json, xml, or any ``module:object``.

    Raises:
        UnknownName: no such adapter.
    """
    return registry.resolve("adapter", name, _ADAPTERS)()


class TurnsAdapter(Adapter):
    """A DSPy adapter that speaks in turns.

    ``items`` is how many entries a list field gets under a schema, ``begin`` the word that each starts with, by field.
    """

    def __init__(self, items: int = 1, begin: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.items = items
        self.begin = dict(begin or {})

    def __call__(
        self,
        lm: Any,
        lm_kwargs: dict[str, Any],
        signature: Any,
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        if is_structured(signature) and lm.supports_response_schema:
            lm_kwargs = {**lm_kwargs, "response_format": self.response_format(signature)}
            if "frequency_penalty" in lm.supported_params:
                lm_kwargs["frequency_penalty"] = FREQUENCY_PENALTY
        return list(super().__call__(lm, lm_kwargs, signature, demos, inputs))

    def response_format(self, signature: Any) -> dict[str, Any]:
        """The JSON schema of the signature's outputs, as an OpenAI ``response_format``."""
        fields = {name: self._field_schema(name, field) for name, field in signature.output_fields.items()}
        schema = {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}

    def _field_schema(self, name: str, field: Any) -> dict[str, Any]:
        low, high = _SENTENCE
        # A sentence of ordinary words: without this a small model fills strings with names, or with one endless word.
        begin = self.begin.get(name, "[A-Z][a-z]{0,13}")
        pattern = f"^{begin}( [a-z']{{1,12}},?){{{low},{high}}} [a-z']{{3,12}}\\.$"
        text = {"type": "string", "pattern": pattern}
        if not _is_list(field):
            return text
        return {"type": "array", "items": text, "minItems": self.items, "maxItems": self.items}

    def format_system_message(self, signature: Any) -> str:
        """The instruction alone: small models lose the thread in field descriptions."""
        return " ".join(str(signature.instructions).split())

    def format_user_message_content(
        self,
        signature: Any,
        inputs: dict[str, Any],
        prefix: str = "",
        suffix: str = "",
        main_request: bool = False,
    ) -> str:
        """Every input field that has a value, lists as lines; the last field comes bare, those before it labelled."""
        del prefix, suffix
        given = [(name, inputs[name]) for name in signature.input_fields if inputs.get(name)]
        given = [(name, value) for name, value in given if not isinstance(value, History)]
        labels = _labels(signature) if len(given) > 1 or is_structured(signature) else ()
        given = [(name, _harmless(value, labels)) for name, value in given]
        parts = [_labelled(name, value) for name, value in given[:-1]]
        parts += [_plain(value) for _, value in given[-1:]]
        if main_request and is_structured(signature):
            parts.append("\n".join(_asked(name, field) for name, field in signature.output_fields.items()))
        return "\n\n".join(parts)

    def format_assistant_message_content(
        self, signature: Any, outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        """The answer as the model itself should give it: raw text, or one JSON object."""
        del missing_field_message
        values = {name: _harmless(outputs[name]) for name in signature.output_fields if outputs.get(name)}
        if is_structured(signature):
            return json.dumps(values, ensure_ascii=False)
        return "\n".join(_plain(value) for value in values.values())

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Read the answer's fields.

        Raises:
            AdapterParseError: an empty answer, or a structured one in which nothing can be read.
        """
        fields = signature.output_fields
        if is_structured(signature):
            read = from_json if completion.lstrip().startswith("{") else from_lines
            said = read(completion, list(fields))
            found = {name: _as_field(field, said.get(name)) for name, field in fields.items()} if said else {}
        else:
            found = {name: completion.strip() for name in fields if completion.strip()}
        if not found:
            raise AdapterParseError(adapter_name="TurnsAdapter", signature=signature, lm_response=completion)
        return found


def _as_field(field: Any, value: Any) -> Any:
    texts = sentences_of(value)
    return texts if _is_list(field) else " ".join(texts)


def sentences_of(value: Any) -> list[str]:
    """The sentences of an answered list, or of one text, each on one line, without blank ones."""
    values = value if isinstance(value, list) else [value] if value else []
    return [text for text in (" ".join(str(item).split()) for item in values) if text]


def is_structured(signature: Any) -> bool:
    """Whether the answer has parts: several output fields, or a list."""
    fields = list(signature.output_fields.values())
    return len(fields) > 1 or any(_is_list(field) for field in fields)


def _asked(name: str, field: Any) -> str:
    about = (field.json_schema_extra or {}).get("desc") or name
    return f"{name.capitalize()}: {about}?"


def _is_list(field: Any) -> bool:
    return get_origin(field.annotation) is list or field.annotation is list


def _labels(signature: Any) -> tuple[str, ...]:
    """What fields begin with in a message of this signature."""
    return (*map(_label, signature.input_fields), *(name.capitalize() for name in signature.output_fields))


def _harmless(value: Any, labels: Sequence[str] = ()) -> Any:
    """A value whose texts cannot become a turn or one of the fields with these labels."""
    if isinstance(value, (list, tuple)):
        return [_harmless(item, labels) for item in value]
    return escape_labels(escape_control_tokens(str(value)), labels)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    return "\n\n".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def _labelled(name: str, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{_label(name)}:\n" + "\n".join(f"- {on_one_line(str(item))}" for item in value)
    return f"{_label(name)}: {value}"


def from_json(completion: str, names: Sequence[str]) -> dict[str, Any]:
    """One JSON object; nothing of one that was cut, whose last sentence would be half a claim."""
    try:
        found = json.loads(completion)
    except ValueError:
        return {}
    return {name: found[name] for name in names if found.get(name)} if isinstance(found, dict) else {}


def from_lines(completion: str, names: Sequence[str]) -> Mapping[str, list[str]]:
    """Lines under ``Name:`` headings; without any heading the lines are dealt to the fields in order."""
    found: dict[str, list[str]] = {name: [] for name in names}
    current = ""
    loose: list[str] = []
    for raw in completion.splitlines():
        line = _BULLET.sub("", raw).strip(" *#")
        head, colon, rest = line.partition(":")
        if colon and head.strip(' *"').lower() in found:
            current, line = head.strip(' *"').lower(), rest.strip()
        if line:
            (found[current] if current else loose).append(line)
    for place, line in enumerate(loose):
        found[names[place % len(names)]].append(line)
    return {name: lines for name, lines in found.items() if lines}


class _Guarded:
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
    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)


class _Json(_Guarded, dspy.JSONAdapter):
    pass


class _Xml(_Guarded, dspy.XMLAdapter):
    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def marks(self, signature: Any) -> tuple[str, ...]:
        return tuple(f"{head}{name}>" for name in signature.fields for head in ("<", "</"))


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
