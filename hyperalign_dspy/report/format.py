"""Columns of plain text, and a figure with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

# No part of any XML or HTML text: control characters, halves of characters, and two that are none.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escaped(words: str) -> str:
    """Any words as text in HTML or XML: markup in it stays text, and what cannot stand there is marked."""
    return escape(_NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", words))


def one_line(words: str) -> str:
    """Any words as one line of a terminal: white space is one space, and codes that a terminal would obey are spelled
    out.
    """
    return _NO_TEXT.sub(lambda sign: sign[0].encode("unicode_escape").decode(), " ".join(words.split()))


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns, the first to the left and the rest to the right."""
    widths = [max(len(line[place]) for line in [header, *rows]) for place in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header).rstrip(), rule, *(line(row).rstrip() for row in rows)])


def money(value: float | None) -> str:
    """Dollars; nothing for what costs nothing, and words for what nobody knows."""
    if value is None:
        return "cost unknown"
    return "" if value == 0 else f"${value:.2f}" if value >= 1 else f"${value:.4f}"


def estimate(value: Mapping[str, Any], form: str = "+.2f") -> str:
    """A mean with its interval, or the mean alone where there are too few users for one."""
    if value["mean"] is None or math.isnan(value["mean"]):
        return "-"
    if math.isinf(value["mean"]):
        return "never"
    mean = format(value["mean"], form)
    if value["low"] is None or value["low"] != value["low"]:
        return mean
    return f"{mean} [{format(value['low'], form)}, {format(value['high'], form)}]"


def wins_words(wins: Mapping[str, Any], answered: Mapping[str, Any] | None) -> str:
    """A win rate, and beside it the one over the instances where the rival's text is no refusal, if there are others.

    A result of an earlier version does not say which these are (None).
    """
    said = f"win rate {estimate(wins, '.2f')}"
    if answered is None or answered["n_instances"] == wins["n_instances"]:
        return said
    n, whole = answered["n_instances"], wins["n_instances"]
    return f"{said}; {estimate(answered, '.2f')} on the {n} of {whole} instances where the rival does not refuse"
