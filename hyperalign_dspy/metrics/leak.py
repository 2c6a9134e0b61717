"""Copying: the longest run of words that two texts share."""

from __future__ import annotations

import re
from collections.abc import Iterable

RUN = 8  # words in a row that no two people write by chance

_WORD = re.compile(r"\w+(?:'\w+)*")


def longest_shared_run(a: str, b: str) -> int:
    """How many words in a row both texts have, whatever their case and punctuation."""
    first, second = _WORD.findall(a.casefold()), _WORD.findall(b.casefold())
    best, row = 0, [0] * (len(second) + 1)
    for word in first:
        previous = 0
        for place, other in enumerate(second, 1):
            previous, row[place] = row[place], previous + 1 if word == other else 0
            best = max(best, row[place])
    return best


def copies(text: str, samples: Iterable[str], run: int = RUN) -> bool:
    """Whether a text takes ``run`` words in a row from any sample."""
    return any(longest_shared_run(text, sample) >= run for sample in samples)
