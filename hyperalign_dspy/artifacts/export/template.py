"""A predictor's messages as a template, taken from what its adapter really makes of marked values.

Each input is replaced by a mark that stands in no text, the messages are rendered, and what lies between the marks is
the template. What an adapter does to a value (escaping, trimming, taking a control word apart) is found in the same
way: by rendering a value that shows it. So any adapter can be exported, and what cannot be found out is refused.

A template is substitution only. A message's content is a list of pieces, joined: a string stands for itself and is
never read for anything else, ``{"slot": NAME}`` for a value. There is one list of messages for each set of lists that
are not empty, and ``{"each": NAME}`` repeats its messages for every turn.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.escape import CONTROL

# Characters for private use; a text that holds both around a slot's name would be taken for it only while exporting.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_MARK = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_END = f"{_OPEN}end{_CLOSE}"
_QUOTES = '"&<'
_ESCAPES = {_QUOTES: "", json.dumps(_QUOTES)[1:-1]: "json", '"&amp;&lt;': "xml"}


@dataclass(frozen=True)
class Step:
    """One predictor as it is called: its adapter and demonstrations. ``asked`` and ``answered`` are the slots of an
    earlier turn, for a signature that has a history.
    """

    adapter: Any
    signature: Any
    demos: Sequence[Mapping[str, Any]]
    asked: str = "request"
    answered: str = "text"

    def format(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The messages for these values; turns are given as a list of mappings."""
        given = {name: dspy.History(messages=list(v)) if name in self.turns else v for name, v in values.items()}
        return list(self.adapter.format(self.signature, list(self.demos), given))

    @property
    def turns(self) -> list[str]:
        """The inputs that are earlier turns."""
        return [name for name, field in self.signature.input_fields.items() if field.annotation is dspy.History]

    @property
    def lists(self) -> list[str]:
        """The inputs that are lists of texts."""
        return [name for name, field in self.signature.input_fields.items() if field.annotation == list[str]]

    @property
    def texts(self) -> list[str]:
        """The inputs that are texts."""
        return [name for name, field in self.signature.input_fields.items() if field.annotation is str]


def template(step: Step) -> dict[str, Any]:
    """The template of a step as plain data: templates, and what is done to values.

    Raises:
        UsageError: an input that is neither text nor a list of texts, or an adapter that does more to a value than a
        template can say.
    """
    known = {*step.turns, *step.lists, *step.texts}
    strange = [name for name in step.signature.input_fields if name not in known]
    if strange:
        raise UsageError(
            f"The input {strange[0]!r} is neither text nor a list of texts; its messages have no template.",
            fix="Export it with --to dspy.",
        )
    chosen = [list(c) for n in range(len(step.lists) + 1) for c in itertools.combinations(step.lists, n)]
    return {
        "lists": step.lists,
        "needed": [name for name in step.texts if _drops(step, name)],
        "templates": [{"given": given, "messages": _messages(step, given)} for given in chosen],
        "neutral": _neutral(step),
        "refused": _refused(step),
    }


def _mark(name: str) -> str:
    return f"{_OPEN}{name}{_CLOSE}"


def _values(step: Step, given: Sequence[str], change: Callable[[str], str] = lambda mark: mark) -> dict[str, Any]:
    """A marked value for every input: two items a list, one earlier turn."""
    turn = {step.asked: change(_mark("turn:" + step.asked)), step.answered: change(_mark("turn:" + step.answered))}
    return {
        **{name: change(_mark(name)) for name in step.texts},
        **{name: [change(_mark(name)), change(_mark(name))] if name in given else [] for name in step.lists},
        **{name: [turn] for name in step.turns},
    }


def _messages(step: Step, given: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    slots = _slots(step, given)
    for message in step.format(_values(step, given)):
        made = {"role": message["role"], "content": _pieces(message["content"], slots)}
        if any(isinstance(piece, dict) and piece.pop("turn", False) for piece in made["content"]):
            if not found or "each" not in found[-1]:
                found.append({"each": step.turns[0], "messages": []})
            found[-1]["messages"].append(made)
        else:
            found.append(made)
    return found


def _pieces(content: str, slots: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Literals and slots; two marks of one list, and what joins them, are one slot."""
    parts = _MARK.split(content)
    literals, names = parts[0::2], parts[1::2]
    pieces: list[Any] = [literals[0]]
    for place, name in enumerate(names):
        if place and names[place - 1] == name:
            pieces[-2]["join"] = literals[place]
            pieces[-1] = literals[place + 1]
            continue
        pieces += [{"slot": name.removeprefix("turn:"), **slots[name]}, literals[place + 1]]
    return [piece for piece in pieces if piece != ""]


def _slots(step: Step, given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """slot -> what is done to its value besides what is done to all."""
    names = [*step.texts, *given, *(f"turn:{n}" for n in (step.asked, step.answered) if step.turns)]
    plain, found = _between(step, given, ""), {name: dict[str, Any]() for name in names}
    for name in names:
        if name not in plain:
            raise UsageError(f"The adapter leaves the input {name!r} out; its messages have no template.")
        if name.startswith("turn:"):
            found[name]["turn"] = True
    for name, made in _between(step, given, _QUOTES).items():
        if made not in _ESCAPES:
            raise UsageError(f"The adapter writes {_QUOTES!r} in {name!r} as {made!r}; no template can say so.")
        if made != _QUOTES:
            found[name]["escape"] = "json" if "\\" in made else "xml"
    for label in _labels(step):
        for name, made in _between(step, given, f"\n{label}:").items():
            if f"{label} :" in made:
                found[name].setdefault("labels", []).append(label)
    for name, made in _between(step, given, "\n").items():
        if made == " ":
            found[name]["one_line"] = True
    for name in _trimmed(step, given):
        found[name]["trim"] = "end"
    return found


def _between(step: Step, given: Sequence[str], text: str) -> dict[str, str]:
    """slot -> what stands in the messages for this text, put after a mark and before an end."""
    messages = step.format(_values(step, given, lambda mark: mark + text + _END))
    found: dict[str, str] = {}
    for message in messages:
        parts = _MARK.split(message["content"])
        for name, after in zip(parts[1::2], parts[2::2], strict=True):
            if name != "end":
                found[name] = after
    return found


def _trimmed(step: Step, given: Sequence[str]) -> list[str]:
    """The slots whose value loses white space at its end."""

    def ends(space: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for message in step.format(_values(step, given, lambda mark: mark + _END + space)):
            parts = _MARK.split(message["content"])
            found |= dict(zip(parts[1:-2:2], parts[4::2], strict=False))
        return found

    with_, without = ends("  \n "), ends("")
    return [name for name in with_ if name != "end" and with_[name] == without[name] != ""]


def _labels(step: Step) -> list[str]:
    """What a message's fields may begin with, in an adapter that labels them."""
    names = [*step.signature.input_fields, *step.signature.output_fields]
    return list(
        dict.fromkeys(form for name in names for form in (name.replace("_", " ").capitalize(), name.capitalize()))
    )


def _neutral(step: Step) -> list[list[str]]:
    """The control words that the adapter takes apart, each with what it makes of them."""
    found = {word: _between(step, step.lists, word).values() for word in CONTROL if _takes(step, word)}
    # Values are made harmless first and escaped for XML after.
    made = {word: {text.replace("&lt;", "<") for text in texts} for word, texts in found.items()}
    return [[word, *texts] for word, texts in made.items() if texts != {word}]


def _refused(step: Step) -> list[str]:
    """The marks of fields that the adapter does not take in a value."""
    tags = [f"{head}{name}>" for name in step.signature.fields for head in ("<", "</")]
    return [mark for mark in ("[[ ## ", " ## ]]", *CONTROL, *tags) if not _takes(step, mark)]


def _takes(step: Step, text: str) -> bool:
    try:
        step.format(_values(step, step.lists, lambda mark: mark + text))
    except UsageError:
        return False
    return True


def _drops(step: Step, name: str) -> bool:
    """Whether the messages for an empty text are others than those with nothing in its place."""
    values = _values(step, step.lists)
    plain = [message["content"].replace(_mark(name), "") for message in step.format(values)]
    return plain != [message["content"] for message in step.format({**values, name: ""})]
