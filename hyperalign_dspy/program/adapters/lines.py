"""Reads an answer of several fields: one JSON object, or lines under the fields' names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")


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
