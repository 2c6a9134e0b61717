"""Tells a claim about how someone writes from a claim about what they wrote about."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CONTENT_WORD = re.compile(r"[a-z]{5,}")

# Words by which manners are described. They say how, even when the samples happen to hold them.
_MANNERS = frozenset(
    """about address addresses advice answers asking asks brief briefly brisk calm careful casual cheerful clear clearly
    clipped comma commas concise conversational detail details detailed direct directly drily emotion emotional emphasis
    engaging enthusiastic everyday exclamation express expresses expressive feeling feelings fragments frank friendly
    funny gentle honest humour humor humorous informal formal ironic irony keeps language letters lists little lively
    lower makes manner measured mixes modest often opinion opinions others paragraph paragraphs patient people person
    personal phrases plain playful polite precise punctuation question questions quick quiet reader readers relaxed
    repeats rhythm sarcasm sarcastic sentence sentences serious short simple sincere slang speaks spoken statement
    statements stories story strong style talks tells terse thinks thoughtful tends their there these thing things tone
    towards usually vivid voice warmth wordy words would write writer writes writing written polished descriptive
    narrative reflective confident sense making shows using explains describes gives likes takes with while which where
    every never rather still other first could should being having because""".split()
)


def claims_topic(claim: str, samples: Iterable[str]) -> bool:
    """Whether a claim speaks of what the samples are about: it shares a content word with them that names no manner."""
    spoken = set(_CONTENT_WORD.findall(claim.lower())) - _MANNERS
    return any(spoken & set(_CONTENT_WORD.findall(text.lower())) for text in samples)
