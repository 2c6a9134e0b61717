"""Copying: the longest run of words that two texts share, and how many of a text's phrases stand in another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

RUN = 8  # words in a row that no two people write by chance
_GRAM = 4

_WORD = re.compile(r"\w+(?:'\w+)*")


def longest_shared_run(a: str, b: str) -> int:
    """How many words in a row both texts have, whatever their case and punctuation."""
    first, second = _WORD.findall(a.casefold()), _WORD.findall(b.casefold())
    return SequenceMatcher(None, first, second, autojunk=False).find_longest_match().size


def longest_run_among(text: str, samples: Iterable[str]) -> int:
    """The longest run of words that a text shares with any of many others, 0 where it is shorter than `_GRAM`."""
    mine = set(_grams(text))
    near = (sample for sample in samples if not mine.isdisjoint(_grams(sample)))
    return max((longest_shared_run(text, sample) for sample in near), default=0)


def overlap(text: str, samples: Iterable[str]) -> float:
    """The share of a text's four-word phrases that some sample holds; 0 for a shorter text."""
    mine = _grams(text)
    theirs = {gram for sample in samples for gram in _grams(sample)}
    return sum(gram in theirs for gram in mine) / len(mine) if mine else 0.0


def _grams(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return [tuple(words[place : place + _GRAM]) for place in range(len(words) - _GRAM + 1)]
