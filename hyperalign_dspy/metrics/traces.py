"""Whether a text holds any of some other texts, however it sets them: in a prompt, cut, quoted or as a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Letters and digits in a row that no two people write by chance: about eight English words.
WINDOW = 32
# A whole text shorter than that is looked for if it has so many; one of fewer is anybody's.
SHORTEST = 12
_BETWEEN = re.compile(r"[\W_]+")


class Traces:
    """Finds `WINDOW` letters and digits in a row of given texts, and shorter texts whole, whatever stands between."""

    def __init__(self, texts: Iterable[str]) -> None:
        plain = [letters(text) for text in texts]
        self._windows = {
            text[start : start + WINDOW] for text in plain for start in range(max(0, len(text) - WINDOW + 1))
        }
        self._short = {text for text in plain if SHORTEST <= len(text) < WINDOW}

    def __call__(self, text: str) -> bool:
        """Whether it holds any of them."""
        found = letters(text)
        if any(short in found for short in self._short):
            return True
        return any(found[start : start + WINDOW] in self._windows for start in range(len(found) - WINDOW + 1))


def letters(text: str) -> str:
    """Letters and digits alone, in one case and width."""
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", text).casefold())
