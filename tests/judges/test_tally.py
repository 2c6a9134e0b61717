"""Figures over a judge's verdicts, and over claims of authorship."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.judges.tally import JudgedPair, Tally
from hyperalign_dspy.metrics.style import _score_claims


def verdicts(count: int, prefers_length: float, quality: float, longer: float, seed: int = 0) -> list[JudgedPair]:
    """A judge who likes length by so much and quality by so much; ours are longer by ``longer`` words on average."""
    rng, found = random.Random(seed), []
    for n in range(count):
        length = round(rng.gauss(longer, 30))
        odds = quality + prefers_length * np.tanh(length / 30)
        won = rng.random() < 1 / (1 + np.exp(-odds))
        side = "first" if won else "second"
        found.append(JudgedPair(f"u{n}", side, (side, side), length))
    return found


def test_wins_by_length_alone_disappear_when_length_is_controlled() -> None:
    found = Tally.of(verdicts(3000, prefers_length=2.0, quality=0.0, longer=25))
    assert found.wins.mean > 0.65
    assert found.length_controlled.low < 0.5 < found.length_controlled.high
    assert found.longer.low > 0.6
    assert found.length_effect > 1


def test_wins_by_quality_stay() -> None:
    found = Tally.of(verdicts(3000, prefers_length=2.0, quality=1.0, longer=25))
    assert found.length_controlled.mean == pytest.approx(1 / (1 + np.exp(-1)), abs=0.05)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=30), st.integers(0, 99))
def test_the_other_side_wins_the_rest(wins: list[float], seed: int) -> None:
    lengths = [random.Random(f"{seed}{n}").randint(-40, 40) for n in range(len(wins))]
    sides = {0.0: "second", 0.5: "tie", 1.0: "first"}

    def controlled(wins: list[float], sign: int) -> Tally:
        pairs = zip(wins, lengths, strict=True)
        return Tally.of(
            [JudgedPair(str(n), sides[win], ("a", "a"), sign * long) for n, (win, long) in enumerate(pairs)]
        )

    mine, theirs = controlled(wins, 1), controlled([1 - win for win in wins], -1)
    ours = mine.length_controlled
    assert ours.mean == pytest.approx(1 - theirs.length_controlled.mean, abs=1e-3)
    assert mine.length_effect == pytest.approx(theirs.length_effect, abs=1e-2)
    assert 0 <= ours.low <= ours.mean <= ours.high <= 1


def test_orders_that_disagree_are_flips_and_silence_is_no_flip() -> None:
    found = Tally.of(
        [
            JudgedPair("a", "tie", ("first", "second"), 3),
            JudgedPair("b", "first", ("first", "first"), -3),
            JudgedPair("c", "tie", ("first", "abstain"), 0),
            JudgedPair("d", "abstain", ("abstain", "abstain"), 1),
        ]
    )
    assert found.wins.mean == 0.625
    assert found.flips.mean == 0.5
    assert found.abstained == 3 / 8


def test_claims_are_scored_as_their_authors_say() -> None:
    truth = np.array([True, True, False, False])
    assert _score_claims(np.array([0.9, 0.8, 0.1, 0.2]), truth)[1:] == (1.0, 1.0)
    _, left, f05u = _score_claims(np.array([0.9, 0.5, 0.1, 0.2]), truth)
    assert left == pytest.approx((3 + 1 * 3 / 4) / 4)
    assert f05u == pytest.approx(1.25 / (1.25 + 0.25))
    _, wrong, _ = _score_claims(np.array([0.9, 0.1, 0.1, 0.2]), truth)
    assert wrong < left
    assert _score_claims(np.full(4, 0.5), truth)[0] == 0.25
