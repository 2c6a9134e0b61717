"""Countable habits of writing: punctuation, shape, casing, contractions. No function words: a judge keeps those."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hyperalign_dspy.types import Facet

_WORD = re.compile(r"[A-Za-z0-9']+")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_CONTRACTION = re.compile(r"\b[A-Za-z]+(?:'(?:s|t|re|ve|ll|d|m)|n't)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Feature:
    """One habit. ``claim`` is the verb phrase of a hypothesis, ``unit`` what a value counts in."""

    name: str
    facet: Facet
    claim: str
    unit: str
    measure: Callable[[str], float]


def _words(text: str) -> list[str]:
    """The words of a text, apostrophes kept."""
    return _WORD.findall(text)


def _sentences(text: str) -> list[str]:
    """Its sentences, line breaks ending one too."""
    return [piece.strip() for piece in _SENTENCE.findall(text) if _WORD.search(piece)]


def _per_100(pattern: str, flags: int = 0) -> Callable[[str], float]:
    compiled = re.compile(pattern, flags)
    return lambda text: 100.0 * len(compiled.findall(text)) / max(1, len(_words(text)))


def _share_of_sentences(holds: Callable[[str], bool]) -> Callable[[str], float]:
    def measure(text: str) -> float:
        found = _sentences(text)
        return sum(holds(sentence) for sentence in found) / len(found) if found else 0.0

    return measure


def _sentence_length(text: str) -> float:
    return len(_words(text)) / max(1, len(_sentences(text)))


def _word_length(text: str) -> float:
    found = _words(text)
    return sum(map(len, found)) / max(1, len(found))


def _contractions(text: str) -> float:
    return 100.0 * len(_CONTRACTION.findall(text)) / max(1, len(_words(text)))


def _starts_low(sentence: str) -> bool:
    return sentence.lstrip("\"'(*- ")[:1].islower()


_HUNDRED = "per 100 words"
FEATURES: tuple[Feature, ...] = (
    Feature("questions", "communication", "asks the reader questions", _HUNDRED, _per_100(r"\?")),
    Feature("exclamations", "personality", "exclaims", _HUNDRED, _per_100(r"!")),
    Feature("commas", "style", "uses commas", _HUNDRED, _per_100(",")),
    Feature("semicolons", "style", "uses semicolons", _HUNDRED, _per_100(";")),
    Feature("colons", "style", "uses colons", _HUNDRED, _per_100(":")),
    Feature("dashes", "style", "breaks off with dashes", _HUNDRED, _per_100(r"--|[—–]|\s-\s")),
    Feature("ellipses", "personality", "trails off with dots", _HUNDRED, _per_100(r"\.\.\.|…")),
    Feature("brackets", "style", "puts asides in brackets", _HUNDRED, _per_100(r"[(\[]")),
    Feature("quotes", "communication", "quotes words", _HUNDRED, _per_100(r"[\"“”]")),
    Feature("sentence_length", "style", "writes long sentences", "words a sentence", _sentence_length),
    Feature(
        "short_sentences",
        "style",
        "writes sentences of four words or fewer",
        "of all sentences",
        _share_of_sentences(lambda sentence: len(_words(sentence)) <= 4),
    ),
    Feature("word_length", "style", "uses long words", "letters a word", _word_length),
    Feature("contractions", "communication", "contracts words (don't, it's)", _HUNDRED, _contractions),
    Feature(
        "lower_case",
        "style",
        "starts sentences in lower case",
        "of all sentences",
        _share_of_sentences(_starts_low),
    ),
    Feature("capitals", "personality", "writes words in capitals", _HUNDRED, _per_100(r"\b[A-Z]{2,}\b")),
    Feature("digits", "style", "writes numbers as digits", _HUNDRED, _per_100(r"\b\d+")),
    Feature("line_breaks", "style", "breaks lines", _HUNDRED, _per_100(r"\n+")),
    Feature(
        "first_person",
        "personality",
        "speaks of themselves (I, me, my)",
        _HUNDRED,
        _per_100(r"\b(?:i|me|my|mine|myself)\b", re.IGNORECASE),
    ),
    Feature(
        "second_person",
        "communication",
        "speaks to the reader (you, your)",
        _HUNDRED,
        _per_100(r"\b(?:you|your|yours|yourself|u|ur)\b", re.IGNORECASE),
    ),
)
BY_NAME = {feature.name: feature for feature in FEATURES}


def measure_all(text: str) -> dict[str, float]:
    """Every feature of one text, by name. An empty text measures 0 throughout."""
    return {feature.name: feature.measure(text) for feature in FEATURES}
