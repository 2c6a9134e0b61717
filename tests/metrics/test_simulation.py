"""The statistics keep their word: quickly here, with all replications in the evidence tier.

`pytest -m evidence tests/metrics/test_simulation.py -s` prints the shares of intervals that hold the truth, and of
searches among 50 equal configurations that claim a gain.
"""

from __future__ import annotations

import pytest

from hyperalign_dspy.metrics.stats import smallest_win
from tests.metrics.simulation import coverage, planted, search_trial


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    assert 0.92 < coverage(24, 3, 500, 1).share < 0.975


def test_a_search_among_equals_seldom_claims_a_gain_though_its_best_looks_like_one() -> None:
    found = search_trial(0.5, 80, 1)
    assert found.gains.share <= 0.08
    assert found.validation.mean > 0.05
    assert abs(found.reported.mean) < 0.03


@pytest.mark.parametrize(("users", "requests"), [(8, 2), (24, 3), (100, 1)])
def test_more_users_show_smaller_gains(users: int, requests: int) -> None:
    assert 0.5 < smallest_win(2 * users, requests) < smallest_win(users, requests) <= 1
    assert smallest_win(users, 2 * requests) < smallest_win(users, requests)


@pytest.mark.evidence
@pytest.mark.parametrize("users", [8, 24, 100])
@pytest.mark.parametrize("win", [0.5, 0.65])
def test_intervals_cover_between_94_and_96_per_cent(users: int, win: float) -> None:
    found = coverage(users, 3, 4000, 0, win)
    print(f"{users} users, win rate {win}: {found.share:.4f} [{found.low:.4f}, {found.high:.4f}]")
    assert 0.94 <= found.share <= 0.96


@pytest.mark.evidence
def test_false_gains_are_rare_and_planted_ones_found() -> None:
    nothing, gain = search_trial(0.5, 4000, 0), search_trial(planted(), 4000, 0)
    print(nothing, gain)
    assert nothing.gains.high <= 0.05
    assert 0.75 <= gain.gains.share <= 0.85
    for found in (nothing, gain):
        assert abs(found.reported.mean) <= 0.005
        assert found.reported.low <= 0 <= found.reported.high or abs(found.reported.mean) < 0.005
