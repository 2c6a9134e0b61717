"""What a program costs at run time beside a bare client, on the calls that it really makes.

`pytest -m evidence tests/artifacts/export/test_overhead.py -s` prints it.
"""

from __future__ import annotations

import pytest

from hyperalign_dspy.artifacts.frozen import load_frozen
from tests.artifacts.export.overhead import loading, serving
from tests.artifacts.export.programs import PROGRAMS


@pytest.mark.parametrize(("name", "calls"), [("authorship", 1), ("deliberative", 2)])
def test_all_three_ways_make_the_same_calls(name: str, calls: int) -> None:
    frozen = load_frozen(PROGRAMS / name / "frozen" / "local")
    found = serving(frozen, 4, 0.01)
    assert found.calls == calls
    # What each takes is for a machine that does nothing else: see the tests below.
    assert found.bare.mean > 10 * calls


@pytest.mark.evidence
def test_loading_is_timed_in_fresh_processes() -> None:
    frozen = load_frozen(PROGRAMS / "authorship" / "frozen" / "local")
    loaded = loading(frozen, 5)
    assert loaded.program.low < 0.1
    assert loaded.dspy.mean > loaded.program.mean
    print(f"\n{loaded}")


@pytest.mark.evidence
@pytest.mark.parametrize("latency", [0.0, 0.05])
def test_a_program_costs_little_beside_a_bare_client(latency: float) -> None:
    found = serving(load_frozen(PROGRAMS / "authorship" / "frozen" / "local"), 30, latency)
    ratios = (("the program", found.program_ratio), ("its script", found.script_ratio))
    said = ", ".join(f"{name} {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}] times" for name, r in ratios)
    print(f"\n{1000 * latency:.0f} ms a call: a bare client takes {found.bare.mean:.1f} ms, {said}")
    assert found.script_ratio.mean < found.program_ratio.mean
    assert not latency or found.program_ratio.high < 1.3
