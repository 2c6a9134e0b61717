"""The values that cross rooms. All are frozen; none knows how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Facet = Literal["style", "personality", "communication"]
FACETS: tuple[Facet, ...] = ("style", "personality", "communication")


@dataclass(frozen=True)
class Sample:
    """One text that a user wrote.

    ``request`` is what it answers, or empty when unknown. ``group`` is where it comes from (a book, a source
    document): texts of one group never lie on both sides of a held-out line.
    """

    text: str
    request: str = ""
    group: str = ""


@dataclass(frozen=True)
class User:
    """The person personalised for: an id, their samples in a fixed order, and optional attributes."""

    user_id: str
    samples: tuple[Sample, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Users and where they come from.

    ``public`` says that texts may be embedded in a frozen program. ``digest`` is the SHA-256 of the content, the same
    for the same texts wherever they were read from.
    """

    name: str
    users: tuple[User, ...]
    digest: str
    public: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """One short testable claim about a user.

    *inferred*: read by a model, ``text`` is all there is. *measured*: read off the samples by code; then ``feature``
    names the measurement, ``value`` is the user's, ``typical`` and ``spread`` are the mean and standard deviation over
    other users' texts in the same unit, and ``direction`` says on which side the user lies.
    """

    text: str
    facet: Facet
    kind: Literal["inferred", "measured"] = "inferred"
    feature: str = ""
    direction: Literal["more", "less", "same", ""] = ""
    value: float = 0.0
    typical: float = 0.0
    spread: float = 1.0

    @property
    def strength(self) -> float:
        """How far the user lies from others, in standard deviations (0 for an inferred hypothesis)."""
        return abs(self.value - self.typical) / self.spread if self.kind == "measured" else 0.0


@dataclass(frozen=True)
class Instance:
    """One (user, request, reference) that is scored, with the samples of the user that a prompt may show."""

    instance_id: str
    user_id: str
    request: str
    reference: str
    shown: tuple[Sample, ...]


Purpose = Literal["authorship", "style", "helpfulness"]


@dataclass(frozen=True)
class TextPair:
    """Two texts for a judge; ``first_is_right`` where people know which one is, None where nobody does.

    For *helpfulness* they answer ``request``; for *authorship* and *style* one is by the person (or in the style) of
    ``samples``. ``user_id`` is whose pair it is: intervals are over users.
    """

    purpose: Purpose
    user_id: str
    first: str
    second: str
    first_is_right: bool | None
    request: str = ""
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What calls cost. Tokens that a server did not report count as 0 in the sums.

    ``money`` is in dollars; None, never 0, as soon as the price or the tokens of any part are unknown.
    """

    calls: int = 0
    recorded_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    money: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.recorded_calls + other.recorded_calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
            None if self.money is None or other.money is None else self.money + other.money,
        )


class Watcher(Protocol):
    """Who follows what takes long."""

    def say(self, text: str) -> None:
        """An event worth a line."""

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """``done`` of ``total`` (0 where nobody knows) of a phase; "visit 2/6" and "confirm: generic" are the phases
        visit and confirm.
        """
