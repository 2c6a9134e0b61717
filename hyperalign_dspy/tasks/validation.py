"""Tries the panel of style verifiers on what people wrote, before it judges anything that a model wrote."""

from __future__ import annotations

from collections.abc import Callable

from hyperalign_dspy.data.split import Needs, portioned
from hyperalign_dspy.errors import NotEnoughData
from hyperalign_dspy.metrics.panel import CLASSIFIERS, fit_verifier
from hyperalign_dspy.metrics.style import HumanValidation, validate
from hyperalign_dspy.program.infer import cut
from hyperalign_dspy.types import Corpus

# Texts that are held out, and texts that a verifier learns from, at least.
_NEEDS = Needs(shown=0, evaluated=2, verifier=4, users=3)


def validate_panel(corpus: Corpus, seed: int, words: int, notify: Callable[[str], None]) -> dict[str, HumanValidation]:
    """Each family fitted on most of every user's texts and tried on the rest, cut to ``words``.

    Texts of one group (a book, a source document) are never on both sides. Users with too few texts are left out.

    Raises:
        TooLittleData: fewer than three users remain.
    """
    known, texts, ids = held_out(corpus, seed, words)
    found = {}
    for name in CLASSIFIERS:
        notify(f"{name}: {len(known)} users, {len(texts)} held-out texts")
        found[name] = validate(fit_verifier(name, known, seed), texts, ids)
    return found


def held_out(corpus: Corpus, seed: int, words: int) -> tuple[dict[str, list[str]], list[str], list[str]]:
    """What verifiers may learn from, by user; the held-out texts, cut to ``words``; and whose each of them is.

    Raises:
        TooLittleData: see `validate_panel`.
    """
    parts = portioned(corpus.users, _NEEDS, seed)
    if len(parts) < _NEEDS.users:
        raise NotEnoughData(
            f"{corpus.name} has {len(parts)} users with at least {_NEEDS.samples} texts that can be held apart; "
            f"{_NEEDS.users} are needed.",
            fix="Add texts or users, or look at --group-column.",
        )
    known = {user: [s.text for s in part.verifier] for user, part in parts.items()}
    tried = [(user, cut(s.text, words)) for user, part in parts.items() for s in part.evaluated]
    return known, [text for _, text in tried], [user for user, _ in tried]
