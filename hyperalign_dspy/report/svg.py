"""Drawings as SVG text: dots with intervals, curves with bands, the course of a search, points of two measures.

Every mark carries its colour for light paper, so a drawing stands alone; on a page with `STYLE` it follows the page's
light or dark colours. The series colours can be told apart by colour-blind readers, and dashes tell them apart again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from hyperalign_dspy.report.format import escaped, estimate

# name -> (on light paper, on dark paper)
_COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1b2129", "#e4e8ec"),
    "soft": ("#56606c", "#a3adb8"),
    "rule": ("#d9dee4", "#343c46"),
    "c0": ("#0068a8", "#6cb6f5"),
    "c1": ("#b84a00", "#f0965a"),
    "c2": ("#00735a", "#4cc9a4"),
    "c3": ("#8a4f9e", "#d19be0"),
    "c4": ("#7a5c00", "#d8b64a"),
    "c5": ("#5a6270", "#aab2bd"),
}
_SERIES = tuple(name for name in _COLOURS if name.startswith("c"))
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_WIDTH = 760
# What a letter of the drawings' text takes, in units of the drawing, a little more than on average.
_LETTER = 6.9


def _style() -> str:
    def names(place: int) -> str:
        return "".join(f"--{name}:{pair[place]};" for name, pair in _COLOURS.items())

    # Paper is light, whatever the screen is.
    head = f":root{{{names(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{names(1)}}}}}"
    return head + "".join(f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}" for name in _COLOURS)


STYLE = _style()


@dataclass(frozen=True)
class Dot:
    """One estimate: a mean and its interval, None where unknown; ``note`` is said at the right, ``strong`` ones stand
    out."""

    name: str
    mean: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    strong: bool = False

    @classmethod
    def of(cls, name: str, found: Mapping[str, Any], note: str = "", *, strong: bool = False) -> Dot:
        """Of an interval as results hold it, which is also what is said of it unless there is another ``note``."""
        numbers = (found["mean"], found["low"], found["high"])
        mean, low, high = (n if n is not None and math.isfinite(n) else None for n in numbers)
        return cls(name, mean, low, high, note or estimate(found), strong)


# Drawings with short names keep as much room for them as others, so that one below another can be compared.
_NARROWEST = Dot("hypotheses, samples", None, note="+1.00, 10 visits")


@dataclass(frozen=True)
class Point:
    """One point in two measures."""

    x: float
    y: float
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class _Scale:
    """Numbers from ``low`` to ``high`` on places from ``start`` to ``end``; with ``ticks`` at round numbers."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    decimals: int

    def __call__(self, value: float) -> float:
        """The place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick in as many decimals as its neighbours need."""
        return f"{tick:.{self.decimals}f}"


def _scale(values: Sequence[float], start: float, end: float, most: int = 6) -> _Scale:
    """A scale that holds all finite values and ends at round numbers, with about ``most`` ticks."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    # Values that lie closer together than labels could tell are one.
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):
        room = abs(low) / 2 if abs(low) > 1e-6 else 1.0
        low, high = low - room, high + room
    step = _round_step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(place * step for place in range(first, last + 1))
    return _Scale(ticks[0], ticks[-1], start, end, ticks, max(0, -math.floor(math.log10(step) + 1e-9)))


def intervals(title: str, dots: Sequence[Dot], unit: str, beside: Sequence[float] = ()) -> str:
    """A line for each estimate: its name, a dot with its interval, and its note, around the line of no difference.

    The axis also holds the numbers ``beside``: drawings that are to be compared are given each other's.
    """
    left = min(250.0, 16 + _LETTER * max(len(dot.name) for dot in [*dots, _NARROWEST]))
    right = 20 + 1.08 * _LETTER * max(len(dot.note) for dot in [*dots, _NARROWEST])
    bottom = 12 + 26.0 * len(dots)
    numbers = [n for dot in dots for n in (dot.mean, dot.low, dot.high) if n is not None]
    along = _scale([0.0, *numbers, *beside], left + 8, _WIDTH - right - 8)
    parts = [_axis(along, 6, bottom, unit)]
    parts += [_estimate(dot, along, 19 + 26.0 * place, left) for place, dot in enumerate(dots)]
    told = "; ".join(f"{dot.name}: {dot.note or _said(dot)}" for dot in dots)
    return _drawing(title, f"{unit}. {told}.", bottom + 44, parts)


def curves(
    series: Mapping[str, Sequence[tuple[float, float, float, float]]],
    x_label: str,
    y_label: str,
    title: str = "",
) -> str:
    """A line with its band for each named series of (x, mean, low, high); a bound that is nan leaves the band out
    there. Names stand at the ends of their lines.
    """
    right = 22 + _LETTER * max((len(name) for name in series), default=0)
    rows = [row for points in series.values() for row in points]
    across = _scale([row[0] for row in rows], 62, _WIDTH - right)
    up = _scale([value for row in rows for value in row[1:]], 330, 14, 5)
    parts = [_frame(across, up, x_label, y_label)]
    drawn = [(name, points) for name, points in series.items() if points]
    ends = _apart([(across(p[-1][0]), _LETTER * len(name), up(p[-1][1])) for name, p in drawn])
    parts += [_curve(name, points, (across, up), place) for place, (name, points) in enumerate(drawn)]
    for place, (name, points) in enumerate(drawn):
        parts.append(_label(across(points[-1][0]) + 10, ends[place] + 4, name, _SERIES[place % len(_SERIES)]))
    told = "; ".join(f"{name}: {p[0][1]:.3g} at {p[0][0]:g}, {p[-1][1]:.3g} at {p[-1][0]:g}" for name, p in drawn)
    return _drawing(title or f"{y_label} by {x_label}", f"{told}.", 378, parts)


def marks(title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A line for each row with a mark for each of its named values, one above the next: the same names in every row."""
    names = list(next(iter(rows.values()), {}))
    left = min(330.0, 16 + _LETTER * max((len(row) for row in rows), default=0))
    pitch = 16 + 9.0 * len(names)
    top, bottom = 28.0, 28 + pitch * len(rows)
    along = _scale([0.0, *(value for row in rows.values() for value in row.values())], left + 8, _WIDTH - 20)
    parts = [_legend(names, left + 8), _axis(along, top, bottom, unit)]
    for place, (row, values) in enumerate(rows.items()):
        height = top + pitch * (place + 0.5)
        parts.append(_text(left - 8, height + 4, row, "ink", "end"))
        for level, (name, value) in enumerate(values.items()):
            at = along(value), height + 9.0 * (level - (len(names) - 1) / 2)
            parts.append(_line((along(0), at[1]), at, _SERIES[level % len(_SERIES)], 2))
            parts.append(_round(*at, _SERIES[level % len(_SERIES)], f"{name}: {value:+.2f}"))
    told = "; ".join(f"{row}: {', '.join(f'{n} {v:+.2f}' for n, v in values.items())}" for row, values in rows.items())
    return _drawing(title, f"{unit}. {told}.", bottom + 44, parts)


def _legend(names: Sequence[str], start: float) -> str:
    """What each mark stands for, side by side above the drawing."""
    parts, place = [], start
    for level, name in enumerate(names):
        colour = _SERIES[level % len(_SERIES)]
        parts += [_round(place + 5, 12, colour, name), _text(place + 15, 16, name, colour)]
        place += 34 + _LETTER * len(name)
    return "".join(parts)


def climb(title: str, points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Values in the order in which they were seen, and the best so far as a stair."""
    across = _scale([p.x for p in points], 62, _WIDTH - 90, max(1, min(12, len(points) - 1)))
    up = _scale([0.0, *(p.y for p in points)], 260, 14, 5)
    parts = [_frame(across, up, x_label, y_label), _line((across.start, up(0)), (across.end, up(0)), "soft", 1.2)]
    best = list(accumulate((p.y for p in points), max))
    before = [*best[:1], *best]
    stair = [(across(p.x), up(y)) for p, was, now in zip(points, before, best, strict=False) for y in (was, now)]
    parts.append(_path(stair, "c0", 2))
    parts += [_round(across(p.x), up(p.y), "soft", f"{x_label} {p.x:g}: {p.y:+.2f}. {p.note}") for p in points]
    if points:
        parts.append(_text(stair[-1][0] + 10, stair[-1][1] + 4, "best so far", "c0"))
    told = "; ".join(f"{p.x:g}: {p.y:+.2f}" for p in points)
    return _drawing(title, f"{y_label} by {x_label}. {told}.", 308, parts)


def scatter(title: str, points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Points of two measures; the strong one is filled and named by its note."""
    across = _scale([p.x for p in points], 62, _WIDTH - 160)
    up = _scale([p.y for p in points], 290, 14, 5)
    parts = [_frame(across, up, x_label, y_label)]
    for point in points:
        place = across(point.x), up(point.y)
        parts.append(_round(*place, "c1" if point.strong else "c0", point.note, hollow=not point.strong))
        if point.strong:
            parts.append(_text(place[0] + 10, place[1] + 4, "chosen", "c1"))
    told = "; ".join(f"{p.x:.3g}, {p.y:.3g}{' (chosen)' if p.strong else ''}" for p in points)
    return _drawing(title, f"{y_label} against {x_label}: {told}.", 338, parts)


def _drawing(title: str, told: str, height: float, parts: Sequence[str]) -> str:
    size = {"width": _WIDTH, "height": height, "viewBox": f"0 0 {_WIDTH} {height:g}"}
    head = [_tag("title", escaped(title)), _tag("desc", escaped(told))]
    words = {"role": "img", "font-family": _FONT, "font-size": 13}
    return _tag("svg", *head, *parts, xmlns="http://www.w3.org/2000/svg", **size, **words)


def _frame(across: _Scale, up: _Scale, x_label: str, y_label: str) -> str:
    lines = [_line((across.start, up(tick)), (across.end, up(tick)), "rule") for tick in up.ticks]
    names = [_text(across.start - 8, up(t) + 4, up.label(t), "soft", "end") for t in up.ticks]
    turned = f"rotate(-90 14 {(up.start + up.end) / 2:g})"
    name = _text(14, (up.start + up.end) / 2, y_label, "soft", "middle", transform=turned)
    return "".join([*lines, *names, name, _ticks_below(across, up.start, x_label)])


def _axis(along: _Scale, top: float, bottom: float, unit: str) -> str:
    """Upright lines with their numbers below, and the line of no difference."""
    lines = [_line((along(tick), top), (along(tick), bottom), "rule") for tick in along.ticks]
    none = _line((along(0), top), (along(0), bottom), "soft", 1.2)
    return "".join([*lines, _ticks_below(along, bottom, unit), none])


def _ticks_below(along: _Scale, bottom: float, label: str) -> str:
    names = [_text(along(t), bottom + 17, along.label(t), "soft", "middle") for t in along.ticks]
    return "".join([*names, _text((along.start + along.end) / 2, bottom + 37, label, "soft", "middle")])


def _estimate(dot: Dot, along: _Scale, height: float, left: float) -> str:
    colour, weight = ("c0", {"font-weight": 600}) if dot.strong else ("soft", {})
    most = int((left - 8) / _LETTER)
    name = dot.name if len(dot.name) <= most else dot.name[: most - 1] + "…"
    parts = [_text(left - 8, height + 4, name, "ink", "end", **weight)]
    if dot.low is not None and dot.high is not None:
        parts.append(_line((along(dot.low), height), (along(dot.high), height), colour, 2))
    if dot.mean is not None:
        parts.append(_round(along(dot.mean), height, colour, f"{dot.name}: {dot.note or _said(dot)}"))
    parts.append(_text(_WIDTH - 2, height + 4, dot.note, "ink", "end", **weight))
    return "".join(parts)


def _curve(
    name: str, points: Sequence[tuple[float, float, float, float]], scales: tuple[_Scale, _Scale], place: int
) -> str:
    across, up = scales
    colour = _SERIES[place % len(_SERIES)]
    known = [row for row in points if math.isfinite(row[2]) and math.isfinite(row[3])]
    outline = [(across(x), up(high)) for x, _, _, high in known] + [
        (across(x), up(low)) for x, _, low, _ in known[::-1]
    ]
    band = _tag("polygon", points=_places(outline), **_fill(colour), **{"fill-opacity": 0.14}) if known else ""
    middle = [(across(row[0]), up(row[1])) for row in points]
    if len(middle) == 1:
        return band + _round(*middle[0], colour, f"{name}: {points[0][1]:.3g}")
    # Where the colours begin anew the dashes have moved on, so that six times six lines differ.
    return band + _path(middle, colour, 2, _DASHES[(place + place // len(_SERIES)) % len(_DASHES)])


def _path(places: Sequence[tuple[float, float]], colour: str, width: float, dash: str = "") -> str:
    dashed = {"stroke-dasharray": dash} if dash else {}
    look = {"fill": "none", "stroke-width": width, "stroke-linejoin": "round", **dashed}
    return _tag("polyline", points=_places(places), **_stroke(colour), **look)


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1) -> str:
    places = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return _tag("line", **places, **_stroke(colour), **{"stroke-width": width})


def _round(x: float, y: float, colour: str, note: str, *, hollow: bool = False) -> str:
    look = {**_stroke(colour), "fill": "none", "stroke-width": 2} if hollow else _fill(colour)
    return _tag("circle", _tag("title", escaped(note)), cx=x, cy=y, r=4.5, **look)


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start", **more: object) -> str:
    end = {"text-anchor": anchor} if anchor != "start" else {}
    return _tag("text", escaped(words), x=x, y=y, **_fill(colour), **end, **more) if words else ""


def _label(x: float, y: float, words: str, colour: str) -> str:
    """A text with paper around it: a line that ends early has others behind its name."""
    paper = {"stroke": _COLOURS["paper"][0], "stroke-width": 4, "stroke-linejoin": "round", "paint-order": "stroke"}
    return _tag("text", escaped(words), x=x, y=y, **{**_fill(colour), **paper, "class": f"f-{colour} s-paper"})


def _fill(colour: str) -> dict[str, str]:
    return {"fill": _COLOURS[colour][0], "class": f"f-{colour}"}


def _stroke(colour: str) -> dict[str, str]:
    return {"stroke": _COLOURS[colour][0], "class": f"s-{colour}"}


def _tag(name: str, *inner: str, **attributes: object) -> str:
    told = "".join(f' {key}="{escaped(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{told}>{''.join(inner)}</{name}>\n" if inner else f"<{name}{told}/>\n"


def _places(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in points)


def _short(value: object) -> str:
    """A tenth of a unit is finer than any screen shows."""
    return f"{round(value, 1):g}" if isinstance(value, float) else str(value)


def _said(dot: Dot) -> str:
    if dot.mean is None:
        return "unknown"
    bounds = f" [{dot.low:+.2f}, {dot.high:+.2f}]" if dot.low is not None and dot.high is not None else ""
    return f"{dot.mean:+.2f}{bounds}"


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _apart(labels: Sequence[tuple[float, float, float]], least: float = 15) -> list[float]:
    """Heights of labels (start, width, height), moved down just so far that none lies on another."""
    found: dict[int, float] = {}
    for here in sorted(range(len(labels)), key=lambda place: labels[place][2]):
        start, width, height = labels[here]
        for other in sorted(found, key=lambda place: found[place]):
            beside = labels[other][0] + labels[other][1] <= start or start + width <= labels[other][0]
            if not beside and height < found[other] + least:
                height = found[other] + least
        found[here] = height
    return [found[place] for place in range(len(labels))]
