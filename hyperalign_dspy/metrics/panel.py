"""The panel: families of style verifiers that look at different things, so that they err differently.

*ngrams* is the primary one, declared before any search. *shape* looks at what the measured hypotheses look at; since
these choose among drafts, it never judges a draft and is here for people's own text only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from hyperalign_dspy.metrics.features import measure_all
from hyperalign_dspy.metrics.style import Floats, StyleVerifier, fit

Texts = Mapping[str, Sequence[str]]
# In few directions the regression takes a tenth of the time and ranks as well.
DIRECTIONS = 256
# Deflate looks back so far, in bytes: the last so much of a user's text is what a new text is compressed after.
WINDOW = 32_000

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


def fit_ngrams(texts_by_user: Texts, seed: int) -> StyleVerifier:
    """Character 2- to 4-grams, case and punctuation kept."""
    grams = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True, min_df=2, lowercase=False)
    parts = (grams, TruncatedSVD(DIRECTIONS, random_state=seed), StandardScaler(with_std=False))
    return fit("character n-grams", parts, _regression(30.0, seed), texts_by_user, seed)


def fit_words(texts_by_user: Texts, seed: int) -> StyleVerifier:
    """Relative frequencies of function words, square-rooted and standardised."""
    counts = CountVectorizer(vocabulary=sorted(set(FUNCTION_WORDS)), token_pattern=r"(?u)\b\w+\b")
    parts = (counts, FunctionTransformer(_root_share), StandardScaler())
    return fit("function words", parts, _regression(0.03, seed), texts_by_user, seed)


def fit_shape(texts_by_user: Texts, seed: int) -> StyleVerifier:
    """Punctuation, sentence and word lengths, casing, contractions and persons: the features of measured hypotheses."""
    parts = (FunctionTransformer(_shapes), StandardScaler())
    return fit("punctuation and shape", parts, _regression(0.3, seed), texts_by_user, seed)


def fit_compression(texts_by_user: Texts, seed: int) -> StyleVerifier:
    """How short a text becomes when it is compressed after a user's own (Benedetto et al., Language trees and zipping,
    2002)."""
    return fit("compression", (FunctionTransformer(_as_array),), Compression(), texts_by_user, seed)


VERIFIERS: Mapping[str, Callable[[Texts, int], StyleVerifier]] = {
    "ngrams": fit_ngrams,
    "words": fit_words,
    "compression": fit_compression,
    "shape": fit_shape,
}


class Compression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores users by the bytes that a text takes after theirs, against what it takes after others'."""

    def fit(self, texts: NDArray[Any], users: NDArray[Any]) -> Compression:
        """Keep each user's text."""
        self.classes_ = np.unique(users)
        self._known = ["\n".join(texts[users == user]).encode()[-WINDOW:] for user in self.classes_]
        return self

    def decision_function(self, texts: NDArray[Any]) -> Floats:
        """texts x users: nats saved against the mean over users."""
        taken = np.array([[_bytes(text, known) for known in self._known] for text in texts], dtype=float)
        nats = -8 * np.log(2) * taken
        return np.asarray(nats - nats.mean(axis=1, keepdims=True))


def _bytes(text: str, known: bytes) -> int:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, known)
    return len(packer.compress(text.encode()) + packer.flush())


def _regression(strength: float, seed: int) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=300, random_state=seed)


def _root_share(counts: Any) -> Floats:
    dense = np.asarray(counts.todense(), dtype=float)
    return np.asarray(np.sqrt(dense / np.maximum(1.0, dense.sum(axis=1, keepdims=True))))


def _shapes(texts: Sequence[str]) -> Floats:
    # Counts of rare marks lie far apart; their roots do not.
    return np.asarray(np.sqrt([list(measure_all(text).values()) for text in texts]))


def _as_array(texts: Sequence[str]) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)
