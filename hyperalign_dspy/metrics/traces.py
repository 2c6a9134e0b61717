"""Whether a text holds any of some other texts, however it sets them: in a prompt, cut, quoted or as a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Letters and digits (see `letters`) in a row that no two people write by chance: about eight English words.
WINDOW = 32
# A whole text shorter than that is looked for if it has so many; one of fewer is anybody's.
SHORTEST = 12
_BETWEEN = re.compile(r"[\W_]+")
# Kana, Hangul and Han: such a sign says about as much as two letters.
_DENSE = re.compile(r"[\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]")


class Traces:
    """Finds `WINDOW` letters and digits in a row of given texts, and shorter texts whole, whatever stands between.

    One that is `too_short` is not looked for within others: it is `one` alone.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        plain = [letters(text) for text in texts]
        self._windows = {
            text[start : start + WINDOW] for text in plain for start in range(max(0, len(text) - WINDOW + 1))
        }
        self._short = {text for text in plain if SHORTEST <= len(text) < WINDOW}
        self._whole = {text for text in plain if text}

    def __call__(self, text: str) -> bool:
        """Whether it holds any of them."""
        found = letters(text)
        if any(short in found for short in self._short):
            return True
        return any(found[start : start + WINDOW] in self._windows for start in range(len(found) - WINDOW + 1))

    def one(self, text: str) -> bool:
        """Whether it is one of them, of whatever length, and nothing else."""
        return letters(text) in self._whole


def too_short(text: str) -> bool:
    """Whether a text is too short to be looked for within others: they might hold it by chance."""
    return len(letters(text)) < SHORTEST


def letters(text: str) -> str:
    """Letters and digits alone, in one case and width; signs that say as much as two stand twice."""
    return _DENSE.sub(r"\g<0>\g<0>", _BETWEEN.sub("", unicodedata.normalize("NFKC", text).casefold()))
