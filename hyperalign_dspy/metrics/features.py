"""Countable habits of writing, and the measured hypotheses that say what sets a user's samples apart by them.

Punctuation, shape, casing, contractions; no function words: a judge keeps those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Literal

from hyperalign_dspy.types import Facet, Hypothesis

_WORD = re.compile(r"[A-Za-z0-9']+")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_CONTRACTION = r"\b[A-Za-z]+(?:'(?:s|t|re|ve|ll|d|m)|n't)\b"


@dataclass(frozen=True)
class _Feature:
    """One habit. ``claim`` is the verb phrase of a hypothesis, ``unit`` what a value counts in."""

    name: str
    facet: Facet
    claim: str
    unit: str
    measure: Callable[[str], float]

    def says(self, degree: str, value: float, other: float) -> str:
        """The claim to a degree, with two values to hold against each other."""
        claim = self.claim[0].upper() + self.claim[1:]
        return f"{claim} {degree} ({_number(value)} against {_number(other)} {self.unit})."


def _sentences(text: str) -> list[str]:
    """Its sentences, line breaks ending one too."""
    return [piece.strip() for piece in _SENTENCE.findall(text) if _WORD.search(piece)]


def _per_100(pattern: str, flags: int = 0) -> Callable[[str], float]:
    compiled = re.compile(pattern, flags)
    return lambda text: 100.0 * len(compiled.findall(text)) / max(1, len(_WORD.findall(text)))


def _share_of_sentences(holds: Callable[[str], bool]) -> Callable[[str], float]:
    def measure(text: str) -> float:
        found = _sentences(text)
        return sum(holds(sentence) for sentence in found) / len(found) if found else 0.0

    return measure


def _sentence_length(text: str) -> float:
    return len(_WORD.findall(text)) / max(1, len(_sentences(text)))


def _word_length(text: str) -> float:
    found = _WORD.findall(text)
    return sum(map(len, found)) / max(1, len(found))


_HUNDRED = "per 100 words"
_FEATURES = (
    _Feature("questions", "communication", "asks the reader questions", _HUNDRED, _per_100(r"\?")),
    _Feature("exclamations", "personality", "exclaims", _HUNDRED, _per_100(r"!")),
    _Feature("commas", "style", "uses commas", _HUNDRED, _per_100(",")),
    _Feature("semicolons", "style", "uses semicolons", _HUNDRED, _per_100(";")),
    _Feature("colons", "style", "uses colons", _HUNDRED, _per_100(":")),
    _Feature("dashes", "style", "breaks off with dashes", _HUNDRED, _per_100(r"--|[—–]|\s-\s")),
    _Feature("ellipses", "personality", "trails off with dots", _HUNDRED, _per_100(r"\.\.\.|…")),
    _Feature("brackets", "style", "puts asides in brackets", _HUNDRED, _per_100(r"[(\[]")),
    _Feature("quotes", "communication", "quotes words", _HUNDRED, _per_100(r"[\"“”]")),
    _Feature("sentence_length", "style", "writes long sentences", "words a sentence", _sentence_length),
    _Feature(
        "short_sentences",
        "style",
        "writes sentences of four words or fewer",
        "of all sentences",
        _share_of_sentences(lambda sentence: len(_WORD.findall(sentence)) <= 4),
    ),
    _Feature("word_length", "style", "uses long words", "letters a word", _word_length),
    _Feature(
        "contractions",
        "communication",
        "contracts words (don't, it's)",
        _HUNDRED,
        _per_100(_CONTRACTION, re.IGNORECASE),
    ),
    _Feature(
        "lower_case",
        "style",
        "starts sentences in lower case",
        "of all sentences",
        _share_of_sentences(lambda sentence: sentence.lstrip("\"'(*- ")[:1].islower()),
    ),
    _Feature("capitals", "personality", "writes words in capitals", _HUNDRED, _per_100(r"\b[A-Z]{2,}\b")),
    _Feature("digits", "style", "writes numbers as digits", _HUNDRED, _per_100(r"\b\d+")),
    _Feature("line_breaks", "style", "breaks lines", _HUNDRED, _per_100(r"\n+")),
    _Feature(
        "first_person",
        "personality",
        "speaks of themselves (I, me, my)",
        _HUNDRED,
        _per_100(r"\b(?:i|me|my|mine|myself)\b", re.IGNORECASE),
    ),
    _Feature(
        "second_person",
        "communication",
        "speaks to the reader (you, your)",
        _HUNDRED,
        _per_100(r"\b(?:you|your|yours|yourself|u|ur)\b", re.IGNORECASE),
    ),
)
FEATURES = {feature.name: feature for feature in _FEATURES}


def measure_all(text: str) -> dict[str, float]:
    """Every feature of one text, by name. An empty text measures 0 throughout."""
    return {name: feature.measure(text) for name, feature in FEATURES.items()}


# A habit that nobody shows still needs a unit: this share of a typical value, or this much of nothing.
_FLOOR_SHARE, _FLOOR = 0.25, 0.05
# Beyond so many standard deviations, further off is not worse.
_CLIP = 3.0
# "About as often as others": within so many standard deviations.
_SAME = 0.5


@dataclass(frozen=True)
class Background:
    """How others write: mean and standard deviation of every feature over ``texts`` texts."""

    means: Mapping[str, float]
    spreads: Mapping[str, float]
    texts: int

    @classmethod
    def of(cls, texts: Iterable[str]) -> Background:
        """Measured on these texts; of none, everything is 0 and the spread the floor."""
        measured = [measure_all(text) for text in texts]
        columns = {name: [row[name] for row in measured] or [0.0] for name in FEATURES}
        means = {name: fmean(column) for name, column in columns.items()}
        spreads = {
            name: max(pstdev(column), _FLOOR_SHARE * abs(means[name]), _FLOOR) for name, column in columns.items()
        }
        return cls(means, spreads, len(measured))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Background:
        """From plain data."""
        return cls(dict(state["means"]), dict(state["spreads"]), int(state["texts"]))


def measured_hypotheses(samples: Sequence[str], background: Background) -> list[Hypothesis]:
    """One hypothesis a feature, the most telling first. The user's value is the mean over their samples."""
    measured = [measure_all(text) for text in samples]
    if not measured:
        return []
    found = [_hypothesis(f, fmean(row[f.name] for row in measured), background) for f in _FEATURES]
    return sorted(found, key=lambda h: -h.strength)


def reward(text: str, hypotheses: Sequence[Hypothesis]) -> float:
    """How well a text meets the measured hypotheses: minus the mean distance, in standard deviations, clipped.

    0 where nothing was measured.
    """
    gaps = [min(_CLIP, abs(gap) / h.spread) for h, gap in _gaps(text, hypotheses)]
    return -fmean(gaps) if gaps else 0.0


def feature_gaps(text: str, hypotheses: Sequence[Hypothesis], most: int) -> list[str]:
    """In words, the measured habits in which a text lies furthest from its user, the furthest first.

    At most ``most`` of them, and none that lies within `_SAME` standard deviations.
    """
    far = [(h, gap) for h, gap in _gaps(text, hypotheses) if abs(gap) > _SAME * h.spread]
    far.sort(key=lambda pair: -abs(pair[1]) / pair[0].spread)
    return [
        FEATURES[h.feature].says(f"{'more' if gap > 0 else 'less'} than this person does", h.value + gap, h.value)
        for h, gap in far[:most]
    ]


def _gaps(text: str, hypotheses: Sequence[Hypothesis]) -> list[tuple[Hypothesis, float]]:
    """How far above its user's a text lies in every measured habit."""
    measured = [h for h in hypotheses if h.kind == "measured" and h.feature in FEATURES]
    return [(h, FEATURES[h.feature].measure(text) - h.value) for h in measured]


def _hypothesis(feature: _Feature, value: float, background: Background) -> Hypothesis:
    typical, spread = background.means[feature.name], background.spreads[feature.name]
    direction: Literal["more", "less", "same"] = "same"
    if abs(value - typical) > _SAME * spread:
        direction = "more" if value > typical else "less"
    return Hypothesis(
        text=feature.says(_degree(value, typical, direction), value, typical),
        facet=feature.facet,
        kind="measured",
        feature=feature.name,
        direction=direction,
        value=round(value, 4),
        typical=round(typical, 4),
        spread=round(spread, 4),
    )


def _degree(value: float, typical: float, direction: str) -> str:
    if direction == "same":
        return "about as much as others"
    if direction == "less":
        return "never, unlike others" if value == 0 else "less than others"
    ratio = value / typical if typical > 0 else 0.0
    return f"{ratio:.1f} times as much as others" if 1.5 <= ratio < 20 else "more than others"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
