"""Style verifiers: the calibrated probability that a text is a user's, among N users. No model is asked.

A verifier is a classifier over users whose scores are calibrated by a temperature fitted on held-out texts (Guo et al.,
On Calibration of Modern Neural Networks, 2017). The families are in `hyperalign_dspy.metrics.panel`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from hyperalign_dspy.metrics.claims import judge_claims
from hyperalign_dspy.metrics.stats import Estimate, proportion

Floats = NDArray[np.float64]
# Generated texts are short; long human texts are cut to about this many words, so that like is compared with like.
CHUNK_WORDS = 100
# So many pieces a user at most: more teach little, and one prolific user should not outweigh the others.
MOST_CHUNKS = 40
# A judge is calibrated on texts held out in so many parts.
FOLDS = 3
_CLIP = 1e-6


class StyleVerifier(Protocol):
    """Tells whose a text is among the users that it was fitted on."""

    name: str

    def log_odds(self, texts: Sequence[str], user_ids: Sequence[str]) -> Floats:
        """For each text the natural log-odds, calibrated, that it is its user's."""

    def ranks(self, texts: Sequence[str], user_ids: Sequence[str]) -> NDArray[np.int64]:
        """For each text the rank of its user among all, 1 the best."""

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """texts x users, in the order of ``users``."""

    users: Sequence[str]


@dataclass(frozen=True)
class HumanValidation:
    """What a verifier scores on people's own held-out texts.

    accuracy: share ranked first. mrr: mean reciprocal rank. auc: true against wrong users' log-odds. ceiling and floor:
    mean log-odds of the true and of wrong users. brier, c_at_1 and f05u are of verification, as at PAN (see `Claims`).
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


class _Calibrated:
    """A fitted pipeline with its temperature."""

    def __init__(self, name: str, pipeline: Pipeline, temperature: float) -> None:
        self.name, self._pipeline, self.temperature = name, pipeline, temperature
        self.users: Sequence[str] = [str(user) for user in pipeline.classes_]
        self._place = {user: place for place, user in enumerate(self.users)}

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """texts x users: how likely each user wrote each text."""
        return _softmax(_logits(self._pipeline, list(texts)) / self.temperature)

    def log_odds(self, texts: Sequence[str], user_ids: Sequence[str]) -> Floats:
        """Of each text to be its own user's, cut where a probability is as good as 0 or 1."""
        p = np.clip(self._own(self.probabilities(texts), user_ids), _CLIP, 1 - _CLIP)
        return np.asarray(np.log(p / (1 - p)))

    def ranks(self, texts: Sequence[str], user_ids: Sequence[str]) -> NDArray[np.int64]:
        """Of each text's own user among all; 1 is best, ties for their good."""
        table = self.probabilities(texts)
        own = self._own(table, user_ids)
        return np.asarray((table > own[:, None]).sum(axis=1) + 1)

    def _own(self, table: Floats, user_ids: Sequence[str]) -> Floats:
        return np.asarray(table[np.arange(len(table)), [self._place[user] for user in user_ids]])


def validate(verifier: StyleVerifier, texts: Sequence[str], user_ids: Sequence[str]) -> HumanValidation:
    """Try a verifier on human text that it was not trained on."""
    table = np.clip(verifier.probabilities(texts), _CLIP, 1 - _CLIP)
    truth = np.array([[user == own for user in verifier.users] for own in user_ids])
    odds = np.log(table / (1 - table))
    ranks = verifier.ranks(texts, user_ids)
    claims = judge_claims(*_claims(odds, truth))
    return HumanValidation(
        accuracy=proportion((ranks == 1).astype(float).tolist(), user_ids),
        mrr=proportion((1 / ranks).tolist(), user_ids),
        auc=float(roc_auc_score(truth.ravel(), odds.ravel())),
        **asdict(claims),
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
    return 1 / (1 + np.exp(-claimed)), np.repeat([True, False], n_texts)


def chunks(text: str, size: int = CHUNK_WORDS) -> list[str]:
    """A text cut into pieces of about ``size`` words, whitespace kept; a short one stays whole."""
    spans = [match.end() for match in re.finditer(r"\S+", text)]
    count = max(1, round(len(spans) / size))
    edges = [0, *(spans[round(len(spans) * k / count) - 1] for k in range(1, count)), len(text)]
    return [text[start:end].strip() for start, end in pairwise(edges)]


def fit(
    name: str, parts: Sequence[Any], classifier: Any, texts_by_user: Mapping[str, Sequence[str]], seed: int
) -> StyleVerifier:
    """Fit a family: ``parts`` turn texts into a table, ``classifier`` (scikit-learn's interface, with a
    ``decision_function``) tells users apart in it.
    """
    pieces = {user: _pieces(texts, seed) for user, texts in sorted(texts_by_user.items())}
    users = np.array([user for user, found in pieces.items() for _ in found])
    # All pieces of one text lie in one fold: half a text held out beside its other half would look too easy.
    folds = np.array([number % FOLDS for found in pieces.values() for number, _ in found])
    features = make_pipeline(*parts)
    # Tables are small: several threads only wait for each other, six times as long where a model keeps the cores busy.
    with threadpool_limits(1, user_api="blas"):
        table = np.asarray(features.fit_transform([piece for found in pieces.values() for _, piece in found]))
        temperature = _temperature(classifier, table, users, folds)
        return _Calibrated(name, make_pipeline(*parts, classifier.fit(table, users)), temperature)


def _pieces(texts: Sequence[str], seed: int) -> list[tuple[int, str]]:
    """Pieces, each with the number of the text that it comes from."""
    found = [(number, piece) for number, text in enumerate(texts) for piece in chunks(text)]
    return found if len(found) <= MOST_CHUNKS else random.Random(seed).sample(found, MOST_CHUNKS)


def _temperature(classifier: Any, table: NDArray[Any], users: NDArray[Any], folds: NDArray[np.int64]) -> float:
    """The temperature under which held-out texts are most likely; 1 where somebody's texts lie in one fold."""
    if min(len(np.unique(folds[users == user])) for user in np.unique(users)) < 2:
        return 1.0
    logits, truth = [], []
    for train, test in PredefinedSplit(folds).split():
        classifier.fit(table[train], users[train])
        logits.append(_logits(classifier, table[test]))
        truth.append(np.searchsorted(classifier.classes_, users[test]))
    scores, places = np.concatenate(logits), np.concatenate(truth)

    def loss(log_t: float) -> float:
        p = _softmax(scores / np.exp(log_t))[np.arange(len(places)), places]
        return float(-np.log(np.clip(p, 1e-12, 1)).mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def _logits(fitted: Any, cases: Any) -> Floats:
    scores = np.asarray(fitted.decision_function(cases))
    return np.column_stack([-scores, scores]) / 2 if scores.ndim == 1 else scores


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
