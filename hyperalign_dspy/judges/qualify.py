"""Puts pairs of texts before a judge; pairs of which people know the answer say whether it may judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.judges.tally import Judged, Tally, tally
from hyperalign_dspy.lm.connect import concurrency_of
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, together
from hyperalign_dspy.metrics.stats import Estimate, proportion, widened
from hyperalign_dspy.types import Purpose, TextPair

# A judge may gate a verdict where the interval of its agreement with people lies above this.
QUALIFIED = 0.65
LEAST_TRIED = 20


class Decider(Protocol):
    """A module that says which of two texts is better: by comparing them, or by grading each."""

    purpose: Purpose

    def __call__(self, *, first: str, second: str, request: str, samples: Sequence[str]) -> Any:
        """A prediction with ``winner`` and ``votes``."""


@dataclass(frozen=True)
class Qualification:
    """How well a judge agrees with people for one purpose; a tie or abstention agrees by half.

    ``decided`` is the agreement on the pairs that it decided. ``tally`` is over the pairs as they were shown.
    """

    purpose: Purpose
    agreement: Estimate
    decided: Estimate
    tally: Tally
    missing: int

    @property
    def qualified(self) -> bool:
        """Whether it may gate: tried on twenty users or items, and the lower end of its agreement is at least .65."""
        return self.agreement.n_users >= LEAST_TRIED and widened(self.agreement).low >= QUALIFIED


def qualify(judge: Decider, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]) -> Qualification:
    """Let a judge decide pairs of which the answer is known. Two calls a pair.

    Raises:
        TooManyFailures: more than a fifth of the pairs got no answer.
    """
    verdicts = decide(judge, pairs, lm, tick)
    known = [(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict]
    right = [verdict.win if pair.first_is_right else 1 - verdict.win for pair, verdict in known]
    users = [pair.user_id for pair, _ in known]
    sure = [(r, user) for r, user in zip(right, users, strict=True) if r != 0.5]
    return Qualification(
        purpose=judge.purpose,
        agreement=proportion(right, users),
        decided=proportion([r for r, _ in sure], [user for _, user in sure]),
        tally=tally([verdict for _, verdict in known]),
        missing=len(pairs) - len(known),
    )


def decide(judge: Decider, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]) -> list[Judged | None]:
    """A verdict for each pair, in their order; None where the model failed."""
    done: list[None] = []

    def heard() -> None:
        done.append(None)
        tick(len(done))

    def one(pair: TextPair) -> Judged:
        said = judge(first=pair.first, second=pair.second, request=pair.request, samples=pair.samples)
        return Judged(pair.user_id, said.winner, said.votes, len(pair.first.split()) - len(pair.second.split()))

    found = together(one, pairs, lm, concurrency_of(lm), heard)
    verdicts = [verdict if isinstance(verdict, Judged) else None for verdict in found]
    missing = sum(verdict is None for verdict in verdicts)
    if missing > MOST_MISSING * len(pairs):
        raise TooManyFailures(
            f"The judge gave no answer for {missing} of {len(pairs)} pairs.",
            fix="Try the model with `hyperalign models check --model MODEL`.",
        )
    return verdicts
