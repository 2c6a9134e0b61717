"""Reads a model's answer by a parser that is written down as plain data.

``{"kind": "text", "fields": [name]}`` takes the whole answer. The others are the formats in which a stage asks for
several fields: "turns" (one JSON object, else lines under headings), "chat", "json" and "xml". ``lists`` names the
fields that are lists of texts.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperalign_dspy.program.adapters import from_json, from_lines, sentences_of

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")


def read_answer(parser: Mapping[str, Any], completion: str) -> dict[str, Any]:
    """field -> its text, or its list of texts.

    Raises:
        ValueError: an answer in which a field cannot be found.
    """
    found = _KINDS[parser["kind"]](parser["fields"], completion)
    if not found or (parser["kind"] != "turns" and set(found) != set(parser["fields"])):
        raise ValueError(f"The answer is not in the {parser['kind']} format: {completion[:200]!r}")
    return {name: _as_field(found.get(name), name in parser["lists"], parser["kind"]) for name in parser["fields"]}


def _as_field(value: Any, listed: bool, kind: str) -> Any:
    if kind == "turns":
        texts = sentences_of(value)
        return texts if listed else " ".join(texts)
    if not listed:
        return str(value)
    values = json.loads(value) if isinstance(value, str) else value
    if not isinstance(values, list):
        raise ValueError(f"This is no list: {value!r}")
    return [str(item) for item in values]


def _text(names: Sequence[str], completion: str) -> dict[str, Any]:
    return {names[0]: completion.strip()} if completion.strip() else {}


def _turns(names: Sequence[str], completion: str) -> Mapping[str, Any]:
    return (from_json if completion.lstrip().startswith("{") else from_lines)(completion, names)


def _chat(names: Sequence[str], completion: str) -> dict[str, Any]:
    """Sections under headers; of two with one name, the first."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in completion.splitlines():
        match = _HEADER.match(line.strip())
        if match:
            rest = line[match.end() :].strip()
            current = [rest] if rest else []
            found.setdefault(match[1], current)
        else:
            current.append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items() if name in names}


def _json(names: Sequence[str], completion: str) -> dict[str, Any]:
    start, end = completion.find("{"), completion.rfind("}")
    found = json.loads(completion[start : end + 1]) if start >= 0 else {}
    return {name: found[name] for name in names if name in found}


def _xml(names: Sequence[str], completion: str) -> dict[str, Any]:
    try:
        root = ET.fromstring(f"<answer>{completion}</answer>")
    except ET.ParseError as error:
        raise ValueError(f"The answer is not in the xml format: {error}") from error
    found = {name: root.find(name) for name in names}
    return {name: _xml_value(element) for name, element in found.items() if element is not None}


def _xml_value(element: Any) -> Any:
    items = [(item.text or "").strip() for item in element.findall("item")]
    return items or (element.text or "").strip()


_KINDS: Mapping[str, Callable[[Sequence[str], str], Mapping[str, Any]]] = {
    "text": _text,
    "turns": _turns,
    "chat": _chat,
    "json": _json,
    "xml": _xml,
}
