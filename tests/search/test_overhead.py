"""What is said of the machinery's own cost comes from the paths that a run takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from hyperalign_dspy.report.bench import overhead_words
from hyperalign_dspy.search import overhead as measuring
from hyperalign_dspy.search.confirm import confirm


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


def test_opening_a_record_is_not_taken_for_walking_it() -> None:
    each = measuring.overhead(20)
    found = {
        "dispatch": {"instances": 100, "places": 4, "seconds": 1.0, "busy": 0.9, "share_of_sum": 0.9},
        "overhead": {**asdict(each), "own": each.own},
        "walked": asdict(measuring.walked(20)),
        "opened": asdict(measuring.opened(100)),
    }
    said = overhead_words(found)
    assert "Opening the record: 100 recorded calls are read in" in said
    assert "Walking it again, as a run does that goes on:" in said
    assert "20 recorded instances" in said
    assert found["walked"]["each"] > 0
