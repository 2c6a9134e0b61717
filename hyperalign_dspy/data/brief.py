"""A request made from a text, where a corpus has none: what it is about, never how it is put."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_KEYWORDS = 4
# A word with all its letters, in any script; what follows an apostrophe is told apart.
_WORD = re.compile(r"([^\W\d_]+)(?:['’]([^\W\d_]+))?")
_SHORTEST = 5
_COMMON = frozenset(
    """about above after again against almost along already although always among another anyone anything around
    because become becomes before behind being below between cannot could doesn during either enough every
    everyone everything first found given going great having herself himself however indeed itself known
    large later least little makes making maybe might moment myself never nobody nothing often other others
    ought people perhaps place please quite rather really right said second seems several shall should since
    small someone something sometimes soon still such taken their theirs them themselves then there
    therefore these they thing things think third those though thought three through together toward towards
    under until upon using usually very want wants were what when where whether which while whole whose will
    with within without would years your yours yourself""".split()
)


def request_for(text: str, words: int, own: str = "") -> str:
    """What a text answers: the corpus' ``own`` request where it is a sentence, one made of it where it is a bare title;
    without one a neutral brief of the text's main content words, out of order and lower-cased. ``words`` is the budget.
    """
    if own := " ".join(own.split()):
        whole = own.endswith((".", "?", "!")) and len(own.split()) > 4
        return own if whole else f'Write the text "{own.rstrip(".")}", in about {words} words.'
    counts = Counter(_content_words(text.lower()))
    chosen = sorted(counts, key=lambda word: (-counts[word], -len(word), word))[:_KEYWORDS]
    budget = f"in about {words} words."
    if not chosen:
        return f"Write a short text, {budget}"
    listed = chosen[0] if len(chosen) == 1 else f"{', '.join(chosen[:-1])} and {chosen[-1]}"
    return f"Write about {listed}, {budget}"


def _content_words(text: str) -> Iterator[str]:
    """Content words without contractions ("wouldn't" is style), and without scripts that set no spaces or no capitals,
    where a run of letters may be a whole clause of the text.
    """
    for word, ending in _WORD.findall(text):
        if ending in ("", "s") and len(word) >= _SHORTEST and word not in _COMMON and word.upper() != word:
            yield word
