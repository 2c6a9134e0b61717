"""Style verifiers: the calibrated probability that a text is a user's, among N users. No model is asked.

Two families: character n-grams, and function words with nothing else. Both are a logistic regression whose
probabilities are calibrated by a temperature fitted on held-out folds (Guo et al., On Calibration of Modern Neural
Networks, 2017).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from hyperalign_dspy.metrics.stats import Estimate, proportion

Floats = NDArray[np.float64]
# Generated texts are short; long human texts are cut to about this many words, so that like is compared with like.
CHUNK_WORDS = 100
# So many pieces a user at most: more teach little, and one prolific user should not outweigh the others.
MOST_CHUNKS = 40
DIRECTIONS = 256
# A judge is calibrated on texts held out in so many parts.
FOLDS = 3
_CLIP = 1e-6

# No pronouns of the first and second person and no contractions: measured hypotheses count those, and a judge must not
# share what chose a draft.
FUNCTION_WORDS = """a about above across after again against all almost along already also although always among an and
another any anyone anything are around as at away back be because been before behind being below between both but by can
cannot could did do does done down during each either else enough even ever every everyone everything except few for
from further had has have he hence her here hers him his how however if in indeed instead into is it its itself just
last least less like many may maybe might more most much must near neither never next no nobody none nor not nothing now
of off often on once one only or other others otherwise out over own perhaps quite rather really same several shall she
should since so some someone something sometimes soon still such than that the their them then there therefore these
they this those though through throughout thus till to together too toward towards under unless until up upon very was
well were what whatever when where whereas whether which while who whom whose why will with within without would
yet""".split()


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

    accuracy: share ranked first. mrr: mean reciprocal rank. auc: true against wrong users' log-odds. brier: mean
    squared error of these probabilities. ceiling and floor: mean log-odds of the true and of wrong users.
    """

    accuracy: Estimate
    mrr: Estimate
    auc: float
    brier: float
    ceiling: float
    floor: float
    candidates: int


class _Classifier:
    """A fitted pipeline with its temperature."""

    def __init__(self, name: str, pipeline: Pipeline, temperature: float) -> None:
        self.name, self._pipeline, self.temperature = name, pipeline, temperature
        self.users: Sequence[str] = [str(user) for user in pipeline.classes_]
        self._place = {user: place for place, user in enumerate(self.users)}

    def probabilities(self, texts: Sequence[str]) -> Floats:
        return _softmax(_logits(self._pipeline, list(texts)) / self.temperature)

    def log_odds(self, texts: Sequence[str], user_ids: Sequence[str]) -> Floats:
        p = np.clip(self._own(self.probabilities(texts), user_ids), _CLIP, 1 - _CLIP)
        return np.asarray(np.log(p / (1 - p)))

    def ranks(self, texts: Sequence[str], user_ids: Sequence[str]) -> NDArray[np.int64]:
        table = self.probabilities(texts)
        own = self._own(table, user_ids)
        return np.asarray((table > own[:, None]).sum(axis=1) + 1)

    def _own(self, table: Floats, user_ids: Sequence[str]) -> Floats:
        return np.asarray(table[np.arange(len(table)), [self._place[user] for user in user_ids]])


def fit_ngrams(texts_by_user: Mapping[str, Sequence[str]], seed: int) -> StyleVerifier:
    """Character 2- to 4-grams, case and punctuation kept."""
    features = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True, min_df=2, lowercase=False)
    # In few directions the regression takes a tenth of the time and ranks as well.
    parts = (features, TruncatedSVD(DIRECTIONS, random_state=seed), StandardScaler(with_std=False))
    return _fit("character n-grams", parts, 30.0, texts_by_user, seed)


def fit_function_words(texts_by_user: Mapping[str, Sequence[str]], seed: int) -> StyleVerifier:
    """Relative frequencies of function words, square-rooted and standardised."""
    counts = CountVectorizer(vocabulary=sorted(set(FUNCTION_WORDS)), token_pattern=r"(?u)\b\w+\b")
    parts = (counts, FunctionTransformer(_root_share), StandardScaler())
    return _fit("function words", parts, 0.03, texts_by_user, seed)


def validate(verifier: StyleVerifier, texts: Sequence[str], user_ids: Sequence[str]) -> HumanValidation:
    """Try a verifier on human text that it was not trained on."""
    table = np.clip(verifier.probabilities(texts), _CLIP, 1 - _CLIP)
    truth = np.array([[user == own for user in verifier.users] for own in user_ids])
    odds = np.log(table / (1 - table))
    ranks = verifier.ranks(texts, user_ids)
    return HumanValidation(
        accuracy=proportion((ranks == 1).astype(float).tolist(), user_ids),
        mrr=proportion((1 / ranks).tolist(), user_ids),
        auc=float(roc_auc_score(truth.ravel(), odds.ravel())),
        brier=float(np.mean((table - truth) ** 2)),
        ceiling=float(odds[truth].mean()),
        floor=float(odds[~truth].mean()),
        candidates=len(verifier.users),
    )


def chunks(text: str, size: int = CHUNK_WORDS) -> list[str]:
    """A text cut into pieces of about ``size`` words, whitespace kept; a short one stays whole."""
    spans = [match.end() for match in re.finditer(r"\S+", text)]
    count = max(1, round(len(spans) / size))
    edges = [0, *(spans[round(len(spans) * k / count) - 1] for k in range(1, count)), len(text)]
    return [text[start:end].strip() for start, end in pairwise(edges)]


def _fit(
    name: str, parts: Sequence[Any], strength: float, texts_by_user: Mapping[str, Sequence[str]], seed: int
) -> StyleVerifier:
    pieces = {user: _pieces(texts, seed) for user, texts in sorted(texts_by_user.items())}
    users = np.array([user for user, found in pieces.items() for _ in found])
    # All pieces of one text lie in one fold: half a text held out beside its other half would look too easy.
    folds = np.array([number % FOLDS for found in pieces.values() for number, _ in found])
    features = make_pipeline(*parts)
    table = np.asarray(features.fit_transform([piece for found in pieces.values() for _, piece in found]))
    regression = LogisticRegression(C=strength, max_iter=300, random_state=seed)
    temperature = _temperature(regression, table, users, folds)
    return _Classifier(name, make_pipeline(*parts, regression.fit(table, users)), temperature)


def _pieces(texts: Sequence[str], seed: int) -> list[tuple[int, str]]:
    """Pieces, each with the number of the text that it comes from."""
    found = [(number, piece) for number, text in enumerate(texts) for piece in chunks(text)]
    return found if len(found) <= MOST_CHUNKS else random.Random(seed).sample(found, MOST_CHUNKS)


def _temperature(regression: LogisticRegression, table: Floats, users: NDArray[Any], folds: NDArray[np.int64]) -> float:
    """The temperature under which held-out texts are most likely; 1 where somebody's texts lie in one fold."""
    if min(len(np.unique(folds[users == user])) for user in np.unique(users)) < 2:
        return 1.0
    logits, truth = [], []
    for train, test in PredefinedSplit(folds).split():
        regression.fit(table[train], users[train])
        logits.append(_logits(regression, table[test]))
        truth.append(np.searchsorted(regression.classes_, users[test]))
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


def _root_share(counts: Any) -> Floats:
    dense = np.asarray(counts.todense(), dtype=float)
    return np.asarray(np.sqrt(dense / np.maximum(1.0, dense.sum(axis=1, keepdims=True))))
