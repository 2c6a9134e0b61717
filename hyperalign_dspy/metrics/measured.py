"""Measured hypotheses: what sets a user's samples apart from other users' texts, and how well a draft meets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Literal

from hyperalign_dspy.metrics.features import BY_NAME, FEATURES, Feature, measure_all
from hyperalign_dspy.types import Hypothesis

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
        columns = {f.name: [row[f.name] for row in measured] or [0.0] for f in FEATURES}
        means = {name: fmean(column) for name, column in columns.items()}
        spreads = {
            name: max(pstdev(column), _FLOOR_SHARE * abs(means[name]), _FLOOR) for name, column in columns.items()
        }
        return cls(means, spreads, len(measured))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"means": dict(self.means), "spreads": dict(self.spreads), "texts": self.texts}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Background:
        """From plain data."""
        return cls(dict(state["means"]), dict(state["spreads"]), int(state["texts"]))


def measured_hypotheses(samples: Sequence[str], background: Background) -> list[Hypothesis]:
    """One hypothesis a feature, the most telling first. The user's value is the mean over their samples."""
    measured = [measure_all(text) for text in samples]
    found = [_hypothesis(f, fmean(row[f.name] for row in measured), background) for f in FEATURES] if measured else []
    return sorted(found, key=lambda h: -h.strength)


def reward(text: str, hypotheses: Sequence[Hypothesis]) -> float:
    """How well a text meets the measured hypotheses: minus the mean distance, in standard deviations, clipped.

    0 where nothing was measured. It knows only what the hypotheses hold, that is, the samples shown.
    """
    measured = [h for h in hypotheses if h.kind == "measured" and h.feature in BY_NAME]
    if not measured:
        return 0.0
    return -fmean(min(_CLIP, abs(BY_NAME[h.feature].measure(text) - h.value) / h.spread) for h in measured)


def feature_gaps(text: str, hypotheses: Sequence[Hypothesis], most: int) -> list[str]:
    """In words, the measured habits in which a text lies furthest from its user, the furthest first.

    At most ``most`` of them, and none that lies within `_SAME` standard deviations.
    """
    measured = [h for h in hypotheses if h.kind == "measured" and h.feature in BY_NAME]
    gaps = {h.feature: BY_NAME[h.feature].measure(text) - h.value for h in measured}
    far = [h for h in measured if abs(gaps[h.feature]) > _SAME * h.spread]
    far.sort(key=lambda h: -abs(gaps[h.feature]) / h.spread)
    return [_gap(BY_NAME[h.feature], h.value + gaps[h.feature], h.value) for h in far[:most]]


def _gap(feature: Feature, found: float, own: float) -> str:
    claim = feature.claim[0].upper() + feature.claim[1:]
    degree = "more" if found > own else "less"
    return f"{claim} {degree} than this person does ({_number(found)} against {_number(own)} {feature.unit})."


def _hypothesis(feature: Feature, value: float, background: Background) -> Hypothesis:
    typical, spread = background.means[feature.name], background.spreads[feature.name]
    direction: Literal["more", "less", "same"] = "same"
    if abs(value - typical) > _SAME * spread:
        direction = "more" if value > typical else "less"
    return Hypothesis(
        text=_sentence(feature, value, typical, direction),
        facet=feature.facet,
        kind="measured",
        feature=feature.name,
        direction=direction,
        value=round(value, 4),
        typical=round(typical, 4),
        spread=round(spread, 4),
    )


def _sentence(feature: Feature, value: float, typical: float, direction: str) -> str:
    numbers = f"({_number(value)} against {_number(typical)} {feature.unit})"
    claim = feature.claim[0].upper() + feature.claim[1:]
    if direction == "same":
        return f"{claim} about as much as others {numbers}."
    if direction == "less":
        degree = "never, unlike others" if value == 0 else "less than others"
        return f"{claim} {degree} {numbers}."
    ratio = value / typical if typical > 0 else 0.0
    degree = f"{ratio:.1f} times as much as others" if 1.5 <= ratio < 20 else "more than others"
    return f"{claim} {degree} {numbers}."


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
