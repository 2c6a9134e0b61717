"""The panel of style verifiers on a corpus: tried on what its users wrote, and used on two systems' outputs for them,
whoever made these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hyperalign_dspy.data.split import Needs, portion
from hyperalign_dspy.errors import DataError, NotEnoughData
from hyperalign_dspy.metrics.copying import longest_shared_run
from hyperalign_dspy.metrics.panel import CLASSIFIERS, PRIMARY, fit_verifier
from hyperalign_dspy.metrics.stats import agreement, paired, proportion, verdict
from hyperalign_dspy.metrics.style import HumanValidation, validate
from hyperalign_dspy.program.infer import cut
from hyperalign_dspy.types import Corpus

_Row = Mapping[str, Any]
# Texts that are held out, and texts that a verifier learns from, at least.
_NEEDS = Needs(shown=0, evaluated=2, verifier=4, users=3)
# Of two systems' outputs the first decides; the others are printed beside it.
_JUDGES = (PRIMARY, "grammar", "shape")


def validate_panel(corpus: Corpus, seed: int, words: int, notify: Callable[[str], None]) -> dict[str, HumanValidation]:
    """Each family fitted on most of every user's texts and tried on the rest, cut to ``words``.

    Texts of one group (a book, a source document) are never on both sides. Users with too few texts are left out.

    Raises:
        NotEnoughData: fewer than three users remain.
    """
    known, held_out = _divided(corpus, seed)
    texts, ids = [cut(text, words) for _, text in held_out], [user for user, _ in held_out]
    found = {}
    for name in CLASSIFIERS:
        notify(f"{name}: {len(known)} users, {len(texts)} held-out texts")
        found[name] = validate(fit_verifier(name, known, seed), texts, ids)
    return found


def compare_outputs(pairs: Sequence[tuple[_Row, _Row]], corpus: Corpus, seed: int) -> dict[str, Any]:
    """Both outputs of every pair, judged as the user's whose they should be; each row has ``user`` and ``text``.

    What chose these outputs is not known here: "shape" may share what did, and decides nothing.

    Raises:
        DataError: a row without user or text, or a user whom the corpus does not have. NotEnoughData: a small corpus.
    """
    known, _ = _divided(corpus, seed)
    users = [_user(ours, theirs, known) for ours, theirs in pairs]
    ours, theirs = ([str(row["text"]) for row in side] for side in zip(*pairs, strict=True))
    gaps = {}
    for name in _JUDGES:
        judge = fit_verifier(name, known, seed)
        gaps[name] = [float(gap) for gap in judge.log_odds(ours, users) - judge.log_odds(theirs, users)]
    first, *others = _JUDGES
    return {
        "gaps": {name: asdict(paired(values, users)) for name, values in gaps.items()},
        "wins": asdict(proportion([0.5 if gap == 0 else float(gap > 0) for gap in gaps[first]], users)),
        "verdict": verdict(paired(gaps[first], users)),
        "agreement": {name: asdict(agreement(gaps[first], gaps[name], users)) for name in others},
        "longest_run": {
            side: max(
                longest_shared_run(text, other) for text, user in zip(rows, users, strict=True) for other in known[user]
            )
            for side, rows in (("ours", ours), ("theirs", theirs))
        },
    }


def _divided(corpus: Corpus, seed: int) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """What verifiers may learn from, by user; and the held-out texts, each with whose it is. Raises: NotEnoughData."""
    parts = portion(corpus.users, _NEEDS, seed)
    if len(parts) < _NEEDS.users:
        raise NotEnoughData(
            f"{corpus.name} has {len(parts)} users with at least {_NEEDS.samples} texts that can be held apart; "
            f"{_NEEDS.users} are needed.",
            fix="Add texts or users, or look at --column group=NAME.",
        )
    known = {user: [s.text for s in part.verifier] for user, part in parts.items()}
    return known, [(user, s.text) for user, part in parts.items() for s in part.evaluated]


def _user(ours: _Row, theirs: _Row, known: Mapping[str, Any]) -> str:
    for row in (ours, theirs):
        for column in ("user", "text"):
            if not str(row.get(column) or "").strip():
                raise DataError(f"An output has no {column!r}: {str(dict(row))[:120]}")
    user = str(ours["user"])
    if user != str(theirs["user"]):
        raise DataError(f"The outputs of a pair are for two users: {user} and {theirs['user']}.")
    if user not in known:
        raise DataError(
            f"The corpus has no user {user!r} with enough texts.", fix="Give the corpus that these outputs are for."
        )
    return user
