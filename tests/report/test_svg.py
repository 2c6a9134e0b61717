"""Drawings: the same to the letter for the same numbers, within their frame, and readable by everybody."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.report.svg import _COLOURS, _SERIES, STYLE, Dot, Point, _scale, climb, curves, intervals, scatter

GOLDEN = Path(__file__).parent / "intervals.svg"
NAMESPACE = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_a_dot_and_interval_plot_is_the_golden_one() -> None:
    dots = [
        Dot("wrong user", -1.13, -3.19, 0.92, "-1.13 [-3.19, +0.92]"),
        Dot("too few users", 0.4, None, None, "+0.40"),
        Dot("not known", None, note="-"),
        Dot("compiled", 2.67, 0.36, 4.98, "+2.67 [+0.36, +4.98]", strong=True),
    ]
    drawn = intervals("Gap of every arm", dots, "log-odds")
    parsed(drawn)
    assert drawn == GOLDEN.read_text(encoding="utf-8")


def test_curves_have_a_line_a_band_and_a_name_each() -> None:
    series = {
        "random": [(n, 0.1 * n, 0.1 * n - 0.2, 0.1 * n + 0.2) for n in range(1, 9)],
        "tpe <b>": [(n, 0.15 * n, 0.15 * n - 0.1, 0.15 * n + 0.1) for n in range(1, 9)],
        "no band": [(1.0, 0.0, math.nan, math.nan), (8.0, 0.8, math.nan, math.nan)],
        "one point": [(4.0, 0.5, 0.4, 0.6)],
        "empty": [],
    }
    drawn = curves(series, "visits", "regret")
    found = parsed(drawn)
    assert len(found.findall(f"{NAMESPACE}polygon")) == 3
    assert len(found.findall(f"{NAMESPACE}polyline")) == 3
    names = [text.text for text in found.findall(f"{NAMESPACE}text")]
    assert {"random", "tpe <b>", "no band", "one point"} <= set(names)
    assert "empty" not in names
    assert "random: 0.1 at 1, 0.8 at 8" in (found.findtext(f"{NAMESPACE}desc") or "")
    dashes = [line.get("stroke-dasharray") for line in found.findall(f"{NAMESPACE}polyline")]
    assert len(set(dashes)) == 3


def test_names_at_the_ends_of_lines_never_overlap() -> None:
    series = {name: [(0.0, 0.5, 0.5, 0.5), (1.0, 0.5 + n / 1000, 0.5, 0.5)] for n, name in enumerate("abcde")}
    found = parsed(curves(series, "x", "y"))
    ends = sorted(float(t.get("y") or 0) for t in found.findall(f"{NAMESPACE}text") if t.text in set("abcde"))
    assert all(after - before >= 14.9 for before, after in pairwise(ends))


def test_the_best_so_far_never_falls() -> None:
    points = [Point(n, y, "a") for n, y in enumerate([1.0, -2.0, 3.0, 0.5], start=1)]
    line = parsed(climb("Visits", points, "visit", "gap")).find(f"{NAMESPACE}polyline")
    assert line is not None
    heights = [float(pair.split(",")[1]) for pair in (line.get("points") or "").split()]
    assert heights == sorted(heights, reverse=True)
    assert len(parsed(scatter("Two", [*points, Point(2, 2, "b", True)], "x", "y")).findall(f"{NAMESPACE}circle")) == 5


@pytest.mark.parametrize("drawn", [intervals("None", [], "x"), curves({}, "x", "y"), climb("None", [], "x", "y")])
def test_nothing_to_draw_is_an_empty_frame(drawn: str) -> None:
    parsed(drawn)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5))
def test_a_scale_holds_its_values_between_round_ends(values: list[float]) -> None:
    found = _scale(values, 0, 100)
    slack = 1e-6 * (found.high - found.low)
    assert found.low - slack <= min(values) <= max(values) <= found.high + slack
    assert 2 <= len(found.ticks) <= 9
    assert len({found.label(tick) for tick in found.ticks}) == len(found.ticks)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", [0, 1])
@pytest.mark.parametrize("name", ["ink", "soft", *_SERIES])
def test_every_colour_can_be_read_on_its_paper(name: str, paper: int) -> None:
    light, dark = sorted((luminance(_COLOURS[each][paper]) for each in (name, "paper")), reverse=True)
    # The contrast that WCAG 2 asks of text.
    assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert f".f-{name}" in STYLE
