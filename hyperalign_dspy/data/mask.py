"""Takes out of texts what tells who wrote them without being how they write: names, and what others wrote in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from hyperalign_dspy.registry import unknown
from hyperalign_dspy.types import User

_Masker = Callable[[Sequence[str]], list[str]]
_NAME = "Name"
# A word is a name where it is written small less often than this.
_SMALL = 0.1
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
# After these a capital says nothing.
_OPENS = re.compile(r"(?:^|[.!?:;>*\"“”(\[\n-])\s*[\"“'(\[*]*$")
_ADDRESS = re.compile(r"\S+@\S+(?:\s?\.\s?(?:com|org|net|edu|gov)\b)?")
_HEADER = re.compile(r"\b(?:From|To|Cc|Bcc|Sent|Date|Subject):[^\n.?!]*[.?!]?", re.IGNORECASE)
_MARK = re.compile(r"-+\s*(?:Original Message|Forwarded by)[^\n-]*-*", re.IGNORECASE)
_QUOTED_LINE = re.compile(r"^\s*[>|].*$", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")


def mask(users: Iterable[User], kinds: Sequence[str]) -> tuple[User, ...]:
    """The same users with every sample masked; samples that are nothing but what was masked are dropped.

    ``kinds``: *names* replaces words that the corpus writes with a capital in the middle of sentences; *quotes* drops
    quoted lines and sentences, headers and addresses of mail.

    Raises:
        UnknownName: another kind.
    """
    masked = list(users)
    for kind in kinds:
        if kind not in _MASKS:
            raise unknown("mask", kind, _MASKS)
        texts = _MASKS[kind]([sample.text for user in masked for sample in user.samples])
        places = iter(texts)
        masked = [
            replace(user, samples=tuple(replace(s, text=t) for s in user.samples if (t := next(places).strip())))
            for user in masked
        ]
    return tuple(user for user in masked if user.samples)


def _without_names(texts: Sequence[str]) -> list[str]:
    """Every name as the word "Name". What is a name is learnt from all texts together."""
    names = _names(texts)
    return [_WORD.sub(lambda found: _NAME if _stem(found[0]) in names else found[0], text) for text in texts]


def _names(texts: Sequence[str]) -> set[str]:
    large: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for text in texts:
        for found in _WORD.finditer(text):
            word = found[0]
            if word[0].islower():
                small[word.lower()] += 1
            elif not _OPENS.search(text[max(0, found.start() - 6) : found.start()]):
                large[_stem(word)] += 1
    return {w for w, count in large.items() if len(w) > 1 and small[w.lower()] < _SMALL * (count + small[w.lower()])}


def _stem(word: str) -> str:
    """A word without the ending of a genitive or a contraction."""
    return re.split(r"['’]", word)[0]


def _without_quotes(text: str) -> str:
    """Without quoted lines, sentences that hold some, header fields and addresses of mail."""
    for pattern in (_QUOTED_LINE, _MARK, _HEADER, _ADDRESS):
        text = pattern.sub(" ", text)
    kept = [piece for piece in _SENTENCE.findall(text) if "> " not in piece]
    return re.sub(r"[ \t]{2,}", " ", "".join(kept))


_MASKS: Mapping[str, _Masker] = {
    "quotes": lambda texts: [_without_quotes(text) for text in texts],
    "names": _without_names,
}
