"""Style verifiers: the calibrated log-odds that a text is a user's, among N users. No model is asked.

A verifier is a classifier over users. How far a user's score lies above the mean of all users is its evidence that the
text is theirs; a straight line, fitted on held-out texts, makes log-odds of that (Platt, Probabilistic outputs for
support vector machines, 1999). Generated texts lie far from every user, where probabilities that have to sum to 1 over
users are flat and loud; differences along a line are not. The families are in `hyperalign_dspy.metrics.panel`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from threadpoolctl import threadpool_limits

from hyperalign_dspy.metrics.stats import Estimate, proportion

Floats = NDArray[np.float64]
# Generated texts are short; long human texts are cut to about this many words, so that like is compared with like.
_CHUNK_WORDS = 100
# So many pieces a user at most: more teach little, and one prolific user should not outweigh the others.
_MOST_CHUNKS = 40
# A probability so near to a half is no answer.
_OPEN = 0.05
# A judge is calibrated on texts held out in so many parts.
_FOLDS = 3


@dataclass(frozen=True)
class HumanValidation:
    """What a verifier scores on people's own held-out texts.

    accuracy: share ranked first. mrr: mean reciprocal rank. auc: true against wrong users' log-odds. ceiling and floor:
    mean log-odds of the true and of wrong users. The others are of verification, as at PAN. brier: mean squared error
    of the probabilities (0 is perfect, 0.25 is always saying a half). c_at_1: accuracy in which a claim left open
    counts as much as the accuracy on the others (Penas and Rodrigo, A simple measure to assess non-response, 2011).
    f05u: F0.5 of "yes" in which a claim left open counts as a miss (Bevendorff et al., Generalizing unmasking for short
    texts, 2019).
    """

    accuracy: Estimate
    mrr: Estimate
    auc: float
    brier: float
    c_at_1: float
    f05u: float
    ceiling: float
    floor: float
    candidates: int


class StyleVerifier:
    """Tells whose a text is among known users: a fitted classifier and the line that makes its log-odds."""

    def __init__(self, name: str, classifier: Any, line: tuple[float, float]) -> None:
        self.name, self._classifier, self._line = name, classifier, line
        self.users: Sequence[str] = [str(user) for user in classifier.classes_]
        self._place = {user: place for place, user in enumerate(self.users)}

    def table(self, texts: Sequence[str]) -> Floats:
        """texts x users, in the order of ``users``: the calibrated natural log-odds that each wrote each text."""
        slope, offset = self._line
        return slope * centred(self._classifier.decision_function(list(texts))) + offset

    def log_odds(self, texts: Sequence[str], user_ids: Sequence[str]) -> Floats:
        """Of each text to be its own user's."""
        return self.odds_and_ranks(texts, user_ids)[0]

    def odds_and_ranks(self, texts: Sequence[str], user_ids: Sequence[str]) -> tuple[Floats, NDArray[np.int64]]:
        """Of each text to be its own user's, and the user's rank among all; 1 is best, ties for their good."""
        table = self.table(texts)
        own = table[np.arange(len(table)), [self._place[user] for user in user_ids]]
        return own, np.asarray((table > own[:, None]).sum(axis=1) + 1)


def validate(verifier: StyleVerifier, texts: Sequence[str], user_ids: Sequence[str]) -> HumanValidation:
    """Try a verifier on human text that it was not trained on."""
    odds = verifier.table(texts)
    truth = np.array([[user == own for user in verifier.users] for own in user_ids])
    _, ranks = verifier.odds_and_ranks(texts, user_ids)
    brier, c_at_1, f05u = _score_claims(*_claims(odds, truth))
    return HumanValidation(
        accuracy=proportion((ranks == 1).astype(float).tolist(), user_ids),
        mrr=proportion((1 / ranks).tolist(), user_ids),
        auc=float(roc_auc_score(truth.ravel(), odds.ravel())),
        brier=brier,
        c_at_1=c_at_1,
        f05u=f05u,
        ceiling=float(odds[truth].mean()),
        floor=float(odds[~truth].mean()),
        candidates=len(verifier.users),
    )


def _claims(odds: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """For each text the claim that its user wrote it and the claim that another did, the users taken in turn.

    Log-odds among N users become a probability for the one claim at even odds, as a verification asks.
    """
    n_texts, n_users = truth.shape
    own = truth.argmax(axis=1)
    other = (own + 1 + np.arange(n_texts) % (n_users - 1)) % n_users
    rows = np.arange(n_texts)
    claimed = np.concatenate([odds[rows, own], odds[rows, other]]) + np.log(n_users - 1)
    return special.expit(claimed), np.repeat([True, False], n_texts)


def _chunks(text: str) -> list[str]:
    """A text cut into pieces of about so many words, whitespace kept; a short one stays whole."""
    spans = [match.end() for match in re.finditer(r"\S+", text)]
    count = max(1, round(len(spans) / _CHUNK_WORDS))
    edges = [0, *(spans[round(len(spans) * k / count) - 1] for k in range(1, count)), len(text)]
    return [text[start:end].strip() for start, end in pairwise(edges)]


def fit(name: str, classifier: Any, texts_by_user: Mapping[str, Sequence[str]], seed: int) -> StyleVerifier:
    """Fit a ``classifier`` of texts by user (with a ``decision_function``, as in scikit-learn) and calibrate it.

    Every user needs two texts at least.
    """
    found = {user: _pieces(texts, seed) for user, texts in sorted(texts_by_user.items())}
    pieces = np.array([piece for own in found.values() for _, piece in own], dtype=object)
    users = np.array([user for user, own in found.items() for _ in own])
    # All pieces of one text lie in one fold: half a text held out beside its other half would look too easy.
    folds = np.array([number % _FOLDS for own in found.values() for number, _ in own])
    # Tables are small: several threads only wait for each other, six times as long where a model keeps the cores busy.
    with threadpool_limits(1, user_api="blas"):
        line = _line(classifier, pieces, users, folds)
        return StyleVerifier(name, clone(classifier).fit(pieces, users), line)


def centred(scores: Any) -> Floats:
    """texts x users: how far each score lies above the mean over users.

    What a text has that speaks for all users alike, such as being unlike a model's, is no evidence for any of them.
    """
    return np.asarray(scores - np.mean(scores, axis=1, keepdims=True), dtype=float)


def _pieces(texts: Sequence[str], seed: int) -> list[tuple[int, str]]:
    """Pieces, each with its text's number; of too many, as many of each text as can be had."""
    rng, found = random.Random(seed), list[tuple[int, float, int, str]]()
    for number, text in enumerate(texts):
        cut = _chunks(text)
        rng.shuffle(cut)
        found += [(place, rng.random(), number, piece) for place, piece in enumerate(cut)]
    return [(number, piece) for _, _, number, piece in sorted(found)[:_MOST_CHUNKS]]


def _line(classifier: Any, pieces: NDArray[Any], users: NDArray[Any], folds: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and offset under which the claims of all users to held-out texts are most likely."""
    evidence, truth = [], []
    for train, test in PredefinedSplit(folds).split():
        fitted = clone(classifier).fit(pieces[train], users[train])
        evidence.append(centred(fitted.decision_function(pieces[test])).ravel())
        truth.append((users[test][:, None] == fitted.classes_).ravel())
    found = LogisticRegression().fit(np.concatenate(evidence)[:, None], np.concatenate(truth))
    return float(found.coef_[0, 0]), float(found.intercept_[0])


def _score_claims(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Brier score, c@1 and F0.5u of the probabilities of claims against what is true of them."""
    n = len(truth)
    left = np.abs(probabilities - 0.5) < _OPEN
    yes = (probabilities > 0.5) & ~left
    right = int((~left & (yes == truth)).sum())
    hits, false = int((yes & truth).sum()), int((yes & ~truth).sum())
    missed = int((~yes & ~left & truth).sum()) + int(left.sum())
    below = 1.25 * hits + 0.25 * missed + false
    c_at_1 = (right + int(left.sum()) * right / n) / n
    return float(np.mean((probabilities - truth) ** 2)), c_at_1, 1.25 * hits / below if below else 0.0
