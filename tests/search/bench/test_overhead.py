"""What is said of the machinery's own cost comes from the paths that a run takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from hyperalign_dspy.report.bench import overhead_words
from hyperalign_dspy.search.bench import overhead as measuring
from hyperalign_dspy.search.verdict.confirm import confirm


def test_places_are_timed_on_a_whole_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = list[str]()

    def heard(*given: Any) -> Any:
        found = confirm(*given)
        verdicts.append(found.verdict)
        return found

    monkeypatch.setattr(measuring, "confirm", heard)
    monkeypatch.setattr(measuring, "MEAN_LATENCY", 0.02)
    monkeypatch.setattr(measuring, "IN_FLIGHT", 4)
    found = measuring.dispatch(configurations=5, instances=20)
    assert (found.instances, found.places, len(verdicts)) == (100, 4, 1)
    # Arms one after the other would wait five times for their slowest answers, of twenty each.
    assert 0.7 < found.busy <= 1.01


def test_going_on_is_timed_from_the_opening_of_the_records_to_the_last_outcome() -> None:
    each, again = measuring.overhead(20), measuring.resumed(100)
    found = {
        "dispatch": {"instances": 100, "places": 4, "seconds": 1.0, "busy": 0.9, "share_of_sum": 0.9},
        "overhead": {**asdict(each), "own": each.own},
        "resumed": asdict(again),
    }
    assert "Going on: 100 recorded instances of one call are where they were after" in overhead_words(found)
    assert again.instances == 100
    # What is only opened, and not held, takes no memory.
    assert again.bytes_each > 700


@pytest.mark.evidence
def test_a_hundred_thousand_recorded_instances_are_gone_on_from_in_five_seconds_and_two_kilobytes_each() -> None:
    found = measuring.resumed()
    print(f"\n{found}")
    assert found.seconds < 5
    assert found.bytes_each < 2000
