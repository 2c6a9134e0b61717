"""What may enter the library of what a proposer gave, and why the rest may not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hyperalign_dspy.metrics.copying import RUN, longest_run_among

# A longer instruction is a lecture, or an answer to something else. In characters.
LONGEST = 400

_QUOTES = "\"'`“”‘’«»*"
_LABEL = re.compile(r"^\W*(?:the )?(?:new |better |improved )?(?:instruction|proposal)[*_]*\s*:[\s*_]*", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")

Dropped = tuple[str, str]


def clean(said: str) -> str:
    """One line, without the quotes and the label that models put around an instruction."""
    text, before = " ".join(said.split()), ""
    while text != before:
        before = text
        text = _LABEL.sub("", _unquoted(text)).strip()
    return text


def clean_instructions(
    said: Iterable[str], known: Iterable[str], texts: Sequence[str]
) -> tuple[list[str], list[Dropped]]:
    """The instructions to keep, in their order, and those dropped, each with why.

    ``known`` are instructions that the library has; ``texts`` are users', of which none may be copied.
    """
    met = {_bare(text) for text in known}
    kept: list[str] = []
    dropped: list[Dropped] = []
    for text in map(clean, said):
        why = _fault(text, met, texts)
        met.add(_bare(text))
        if why:
            dropped.append((text[:LONGEST], why))
        else:
            kept.append(text)
    return kept, dropped


def clean_demos(sets: Iterable[list[dict[str, Any]]], known: Iterable[Any]) -> tuple[list[Any], list[Dropped]]:
    """The demo sets to keep, and those dropped, each with why."""
    met = {_same(demos) for demos in known}
    kept: list[Any] = []
    dropped: list[Dropped] = []
    for demos in sets:
        why = "empty" if not demos else "known already" if _same(demos) in met else ""
        met.add(_same(demos))
        if why:
            dropped.append((f"{len(demos)} demonstrations", why))
        else:
            kept.append(demos)
    return kept, dropped


def _fault(text: str, met: set[str], texts: Sequence[str]) -> str:
    if not _WORD.search(text):
        return "empty"
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if _bare(text) in met:
        return "known already"
    return f"copies {RUN} words in a row from a user's text" if longest_run_among(text, texts) >= RUN else ""


def _unquoted(text: str) -> str:
    """Without marks that enclose the whole; an apostrophe or a quoted word inside stays."""
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _same(demos: Any) -> str:
    return json.dumps(demos, sort_keys=True, ensure_ascii=False, default=str)
