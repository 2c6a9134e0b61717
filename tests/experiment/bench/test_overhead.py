"""What the machinery itself costs, on the paths that a run takes.

`pytest -m evidence tests/experiment/bench/test_overhead.py -s` prints it: places kept busy, our own time an instance,
and going on with what is recorded.
"""

from __future__ import annotations

from typing import Any

import pytest

from hyperalign_dspy.experiment.confirm import confirm
from tests.experiment.bench import overhead as measuring


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
    assert measuring.overhead(20).own > 0
    again = measuring.resumed(100)
    assert again.instances == 100
    # What is only opened, and not held, takes no memory.
    assert again.bytes_each > 700


@pytest.mark.evidence
def test_places_are_kept_busy_and_an_instance_takes_less_than_a_millisecond() -> None:
    busy, each = measuring.dispatch(), measuring.overhead()
    print(f"\n{busy}\n{each}; own time an instance: {each.own:.2f} ms")
    assert busy.busy > 0.95
    assert each.own < 1


@pytest.mark.evidence
def test_a_hundred_thousand_recorded_instances_are_gone_on_from_in_five_seconds_and_two_kilobytes_each() -> None:
    found = measuring.resumed()
    print(f"\n{found}")
    assert found.seconds < 5
    assert found.bytes_each < 2000
