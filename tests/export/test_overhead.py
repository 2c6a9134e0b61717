"""What a program costs at run time is measured on the calls that it really makes."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from hyperalign_dspy.export.overhead import loading, serving
from hyperalign_dspy.report.bench import serving_words
from hyperalign_dspy.shelf.frozen import load_frozen
from tests.export.programs import PROGRAMS


@pytest.mark.parametrize(("name", "calls"), [("authorship", 1), ("deliberative", 2)])
def test_all_three_ways_make_the_same_calls(name: str, calls: int) -> None:
    frozen = load_frozen(PROGRAMS / name / "frozen" / "local")
    found = serving(frozen, 4, 0.01)
    assert found.calls == calls
    assert found.bare.mean > 10 * calls
    assert found.program_ratio.low > 1
    assert found.script_ratio.mean < found.program_ratio.mean


@pytest.mark.evidence
def test_loading_is_timed_in_fresh_processes() -> None:
    frozen = load_frozen(PROGRAMS / "authorship" / "frozen" / "local")
    loaded = loading(frozen, 5)
    assert loaded.program.low < 0.1
    assert loaded.dspy.mean > loaded.program.mean
    words = serving_words({"loading": asdict(loaded), "serving": [asdict(serving(frozen, 4, 0.01))]})
    assert "5 fresh processes" in words
    assert "10 ms" in words
