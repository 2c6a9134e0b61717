"""How much of what a request deserves can be told from its words alone, without understanding anything.

Where a bag of words tells a lot, refusing by keywords looks like judgement: no figure on a corpus of requests should be
read without this one beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from hyperalign_dspy.data.requests import Request, Requests
from hyperalign_dspy.metrics.stats import Estimate, proportion

FOLDS = 10
VIEWS: Mapping[str, Callable[[Request], str]] = {
    "request alone": lambda request: request.request,
    "attributes alone": lambda request: " ".join(request.attributes.values()),
    "both": lambda request: " ".join([request.request, *request.attributes.values()]),
}


def surface(corpus: Requests) -> dict[str, Estimate]:
    """The share of requests that a bag of words sorts rightly, by what it may look at; half is chance where both kinds
    are equally many.

    Words and pairs of words, logistic regression, ten folds; a request and its contrast are never on both sides. Views
    that the corpus has nothing for are left out.
    """
    right = [request.deserves_help for request in corpus.requests]
    pairs = [request.pair for request in corpus.requests]
    found = {}
    for name, view in VIEWS.items():
        texts = [view(request) for request in corpus.requests]
        if len(set(texts)) < FOLDS or (name == "both" and "attributes alone" not in found):
            continue
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=2000)
        )
        said = cross_val_predict(model, texts, right, groups=pairs, cv=GroupKFold(min(FOLDS, len(set(pairs)))))
        found[name] = proportion([float(a == b) for a, b in zip(said, right, strict=True)], pairs)
    return found
