"""Compares two systems' outputs from files, whoever made them, by the instruments that judge our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.metrics.copying import longest_shared_run
from hyperalign_dspy.metrics.panel import PRIMARY, fit_verifier
from hyperalign_dspy.metrics.stats import agreement, paired, proportion, verdict
from hyperalign_dspy.tasks.validation import held_out
from hyperalign_dspy.types import Corpus

_Row = Mapping[str, Any]
# The first decides; the others are printed beside it.
_JUDGES = (PRIMARY, "grammar", "shape")


def compare(pairs: Sequence[tuple[_Row, _Row]], corpus: Corpus, seed: int, words: int) -> dict[str, Any]:
    """Both outputs of every pair, judged as the user's whose they should be.

    Each row has ``user`` and ``text``. Verifiers learn from the corpus, but for a part of each user's texts. What chose
    these outputs is not known here: "shape" may share what did, and decides nothing.

    Raises:
        DataError: a row without user or text, or a user whom the corpus does not have.
    """
    known, _, _ = held_out(corpus, seed, words)
    users = [_user(ours, theirs, known) for ours, theirs in pairs]
    texts = [[str(row["text"]) for row in side] for side in zip(*pairs, strict=True)]
    found = {name: _differences(fit_verifier(name, known, seed), texts, users) for name in _JUDGES}
    gaps = {name: asdict(paired(values, users)) for name, values in found.items()}
    wins = [0.5 if value == 0 else float(value > 0) for value in found[PRIMARY]]
    return {
        "gaps": gaps,
        "wins": asdict(proportion(wins, users)),
        "verdict": verdict(paired(found[PRIMARY], users)),
        "agreement": {
            name: asdict(agreement(found[PRIMARY], found[name], users)) for name in _JUDGES if name != PRIMARY
        },
        "longest_run": {
            side: max(
                longest_shared_run(text, other) for text, user in zip(rows, users, strict=True) for other in known[user]
            )
            for side, rows in zip(("ours", "theirs"), texts, strict=True)
        },
    }


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


def _differences(judge: Any, texts: Sequence[Sequence[str]], users: Sequence[str]) -> list[float]:
    ours, theirs = (judge.log_odds(side, users) for side in texts)
    return [float(value) for value in ours - theirs]
