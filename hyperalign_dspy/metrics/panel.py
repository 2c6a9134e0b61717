"""The panel: families of style verifiers that look at different things, so that they err differently.

*primary* is the one that decides, declared before any search: the mean of all of `_MEMBERS`. *grammar* decides nothing:
it is printed beside it. *shape* looks at what the measured hypotheses look at; since these choose among drafts, it
never judges a draft and is here for people's own text only.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, normalize

from hyperalign_dspy.metrics.features import measure_all
from hyperalign_dspy.metrics.style import Floats, StyleVerifier, centred, fit

PRIMARY = "primary"
# Deflate looks back so far, in bytes: the last so much of a user's text is what a new text is compressed after.
_WINDOW = 32_000
# A word with its contraction, or a sign.
_TOKEN = r"\w+(?:['’]\w+)?|[^\w\s]"
_SIGNS = ".,;:!?-—–\"'()…’“”"

_FUNCTION_WORDS = """a about above across after again against all almost along already also although always among an and
another any anyone anything are around as at away back be because been before behind being below between both but by can
cannot could did do does done down during each either else enough even ever every everyone everything except few for
from further had has have he hence her here hers him his how however if in indeed instead into is it its itself just
last least less like many may maybe might more most much must near neither never next no nobody none nor not nothing now
of off often on once one only or other others otherwise out over own perhaps quite rather really same several shall she
should since so some someone something sometimes soon still such than that the their them then there therefore these
they this those though through throughout thus till to together too toward towards under unless until up upon very was
well were what whatever when where whereas whether which while who whom whose why will with within without would
yet i me my mine myself we us our ours you your yours yourself he him his himself she her hers herself it they
them""".split()


def _character_grams() -> Any:
    """Character 2- to 4-grams, case and punctuation kept."""
    return TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True, min_df=2, lowercase=False)


def _word_grams() -> Any:
    """Words and signs, alone and in pairs, case kept."""
    return TfidfVectorizer(token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True, min_df=2, lowercase=False)


def _function_words() -> Any:
    """Words that carry no topic, and signs; each text's counts on a logarithmic scale, of equal length."""
    known = sorted({*_FUNCTION_WORDS, *_SIGNS})
    return TfidfVectorizer(token_pattern=_TOKEN, vocabulary=known, use_idf=False, sublinear_tf=True)


def _shape() -> Any:
    """Punctuation, sentence and word lengths, casing, contractions and persons: the features of measured hypotheses."""
    return make_pipeline(FunctionTransformer(_shapes), StandardScaler(), LogisticRegression(C=0.3, max_iter=300))


class Regression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression on a sparse table with far more columns than rows.

    Its weights are sums of rows, so it is solved in as many dimensions as there are rows, and is the same (Schölkopf et
    al., A generalized representer theorem, 2001).
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def fit(self, table: Any, users: NDArray[Any]) -> Regression:
        """Fit the weights of every column."""
        values, vectors = np.linalg.eigh((table @ table.T).toarray())
        # Where no text has any of the columns, one empty direction is left.
        kept = values >= max(values[-1], _NOTHING) * 1e-10
        kept[-1] = True
        roots = np.sqrt(np.maximum(values[kept], _NOTHING))
        found = LogisticRegression(C=self.strength, max_iter=300).fit(vectors[:, kept] * roots, users)
        self.classes_, self._offsets = found.classes_, found.intercept_
        self._weights = np.asarray(table.T @ ((vectors[:, kept] / roots) @ found.coef_.T))
        return self

    def decision_function(self, table: Any) -> Floats:
        """rows x users."""
        return np.asarray(table @ self._weights + self._offsets)


class _Centroids(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores users by the cosine of the angle between a row of a table and the mean of theirs."""

    def fit(self, table: Any, users: NDArray[Any]) -> _Centroids:
        """Keep each user's mean."""
        self.classes_ = np.unique(users)
        self._means = normalize(np.vstack([np.asarray(table[users == user].mean(axis=0)) for user in self.classes_]))
        return self

    def decision_function(self, table: Any) -> Floats:
        """rows x users."""
        return np.asarray(table @ self._means.T)


class _Mean(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The mean of several classifiers' evidence, each in units of its standard deviation on what it learnt from.

    ``parts`` are tables, made of texts by a transformer, each with those that learn from it.
    """

    def __init__(self, parts: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        self.parts = parts

    def fit(self, texts: NDArray[Any], users: NDArray[Any]) -> _Mean:
        """Fit each."""
        self.classes_ = np.unique(users)
        self._fitted = clone(self.parts)
        # What takes all texts for anybody's alike has no unit, and nothing to say.
        self._units = [
            centred(each.fit(table, users).decision_function(table)).std() or 1.0
            for transformer, classifiers in self._fitted
            for table in [transformer.fit_transform(texts)]
            for each in classifiers
        ]
        return self

    def decision_function(self, texts: Sequence[str]) -> Floats:
        """texts x users."""
        evidence = [
            centred(each.decision_function(table))
            for transformer, classifiers in self._fitted
            for table in [transformer.transform(texts)]
            for each in classifiers
        ]
        return np.asarray(np.mean([one / unit for one, unit in zip(evidence, self._units, strict=True)], axis=0))


class _Compression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """How short a text becomes when it is compressed after a user's own, against after others' (Benedetto et al.,
    Language trees and zipping, 2002).
    """

    def fit(self, texts: NDArray[Any], users: NDArray[Any]) -> _Compression:
        """Keep each user's text."""
        self.classes_ = np.unique(users)
        self._known = ["\n".join(texts[users == user]).encode()[-_WINDOW:] for user in self.classes_]
        return self

    def decision_function(self, texts: Sequence[str]) -> Floats:
        """texts x users: bytes saved."""
        return -np.array([[_bytes(text, known) for known in self._known] for text in texts], dtype=float)


class _Grammar(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Whose grammar makes a text most likely, against everybody's: trigrams of function words, signs and the endings of
    all other words (LambdaG: Nini et al., Authorship verification based on the likelihood ratio of grammar models,
    2024, with absolute discounting in place of Kneser and Ney's).
    """

    def fit(self, texts: NDArray[Any], users: NDArray[Any]) -> _Grammar:
        """Count each user's grams."""
        self.classes_, own = np.unique(users, return_inverse=True)
        counts = Counter(
            (context, user, gram[2])
            for text, user in zip(texts, own.tolist(), strict=True)
            for gram in _grams(text)
            for context in _contexts(gram)
        )
        self._counts: defaultdict[tuple[str, ...], list[tuple[int, str, int]]] = defaultdict(list)
        for (context, user, token), count in counts.items():
            self._counts[context].append((user, token, count))
        # Made when they are asked for: most contexts never come up again.
        self._follows: dict[tuple[str, ...], _Follows] = {}
        return self

    def decision_function(self, texts: Sequence[str]) -> Floats:
        """texts x users: the mean over tokens of the log of the likelihood ratio."""
        likely = [np.log([self._likelihood(gram) for gram in _grams(text)]).mean(axis=0) for text in texts]
        return np.array([own[:-1] - own[-1] for own in likely])

    def _likelihood(self, gram: tuple[str, str, str]) -> Floats:
        """Of the last token after the two before it, by user and by everybody: what is taken off from grams that were
        seen goes to shorter contexts.
        """
        likelihood = np.full(len(self.classes_) + 1, _UNSEEN)
        for context in _contexts(gram):
            if context in self._counts:
                if context not in self._follows:
                    self._follows[context] = _Follows(self._counts[context], len(self.classes_))
                self._follows[context].refine(likelihood, gram[2])
        return likelihood


class _Follows:
    """What follows one context, by the number of whoever uses it; ``everybody``'s is the last."""

    def __init__(self, counts: Sequence[tuple[int, str, int]], everybody: int) -> None:
        self._tokens: defaultdict[str, Floats] = defaultdict(partial(np.zeros, everybody + 1))
        for user, token, count in counts:
            self._tokens[token][[user, everybody]] += count
        table = np.stack(list(self._tokens.values()))
        self._totals = table.sum(axis=0)
        self._users = np.flatnonzero(self._totals)
        self._rest = _DISCOUNT * np.count_nonzero(table, axis=0)[self._users] / self._totals[self._users]

    def refine(self, likelihood: Floats, token: str) -> None:
        """Turn the likelihoods of a token after shorter contexts, by user, into those after this one."""
        likelihood[self._users] *= self._rest
        if token in self._tokens:
            users = np.flatnonzero(self._tokens[token])
            likelihood[users] += (self._tokens[token][users] - _DISCOUNT) / self._totals[users]


_MEMBERS: Mapping[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "characters": (_character_grams, lambda: Regression(5.0)),
    "cosine": (_character_grams, _Centroids),
    "words": (_word_grams, lambda: Regression(20.0)),
    "function words": (_function_words, lambda: Regression(5.0)),
    "compression": (FunctionTransformer, _Compression),
}


def _member(name: str) -> Any:
    table, made = _MEMBERS[name]
    return make_pipeline(table(), made())


def _primary() -> Any:
    tables = dict.fromkeys(table for table, _ in _MEMBERS.values())
    return _Mean([(table(), [made() for of, made in _MEMBERS.values() if of is table]) for table in tables])


CLASSIFIERS: Mapping[str, Callable[[], Any]] = {
    PRIMARY: _primary,
    **{name: partial(_member, name) for name in _MEMBERS},
    "grammar": _Grammar,
    "shape": _shape,
}


def fit_verifier(name: str, texts_by_user: Mapping[str, Sequence[str]], seed: int) -> StyleVerifier:
    """The verifier of one family of `CLASSIFIERS`, fitted on users' texts and calibrated."""
    return fit(name, CLASSIFIERS[name](), texts_by_user, seed)


def _bytes(text: str, known: bytes) -> int:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, known)
    return len(packer.compress(text.encode()) + packer.flush())


def _grams(text: str) -> list[tuple[str, str, str]]:
    """Trigrams of tokens without topic; two more mark the beginning, and one the end."""
    tokens = ["", "", *map(_mask, re.findall(_TOKEN, text)), "\n"]
    return list(zip(tokens, tokens[1:], tokens[2:], strict=False))


def _contexts(gram: tuple[str, str, str]) -> tuple[tuple[str, ...], ...]:
    """None, one and two tokens before the last."""
    return (), gram[1:2], gram[:2]


def _mask(token: str) -> str:
    lower = token.lower()
    if lower in _KEPT or not token[0].isalnum() or not token.isalnum():
        return lower
    if token[0].isdigit():
        return "0"
    ending = _ENDING.search(lower)
    return ("X" if token[0].isupper() else "x") + (ending.group() if ending else "")


_NOTHING = 1e-12
# What absolute discounting takes off from a count, and how likely a token is that nobody ever used.
_DISCOUNT, _UNSEEN = 0.75, 1e-3
_KEPT = frozenset(_FUNCTION_WORDS)
_ENDING = re.compile(r"(?<=\w{3})(ing|ion|ness|ly|ed|er|es)$")


def _shapes(texts: Sequence[str]) -> Floats:
    # Counts of rare marks lie far apart; their roots do not.
    return np.asarray(np.sqrt([list(measure_all(text).values()) for text in texts]))
