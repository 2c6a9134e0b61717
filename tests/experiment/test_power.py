"""What a pilot says before a search is paid for."""

from __future__ import annotations

import random

import pytest

from hyperalign_dspy.experiment.pilot import pilot_power


def test_more_visits_and_users_tell_finer_differences() -> None:
    rng = random.Random(0)
    gaps = [rng.gauss(0, 2) for _ in range(8)]
    coarse, fine = pilot_power(gaps, (6, 1), (12, 1.0), 5.0), pilot_power(gaps, (24, 1), (48, 1.0), 5.0)
    assert fine.detectable_difference == pytest.approx(coarse.detectable_difference / 2)
    assert fine.mde < coarse.mde / 1.9
    assert coarse.block_sd == fine.block_sd == pytest.approx(2 / 8**0.5, rel=0.5)
    assert pilot_power(gaps, (6, 1), (12, 3.0), 5.0).mde < coarse.mde


def test_what_could_not_be_shown_is_hopeless_and_what_nobody_knows_is_not() -> None:
    gaps = [-3.0, 4.0, -2.0, 3.0]
    assert pilot_power(gaps, (6, 1), (12, 1.0), 0.5).hopeless
    assert not pilot_power(gaps, (6, 1), (400, 1.0), 2.0).hopeless
    assert not pilot_power(gaps, (6, 1), (12, 1.0), None).hopeless
    assert "above the baseline" in pilot_power(gaps, (6, 1), (12, 1.0), 0.5).words("log-odds")
    assert "hoped" not in pilot_power(gaps, (6, 1), (12, 1.0), None).words("log-odds")
