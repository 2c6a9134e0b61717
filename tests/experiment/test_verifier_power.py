"""What a confirmation finds, replayed on recorded differences, against what is known of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hyperalign_dspy.data.load import Columns
from hyperalign_dspy.experiment.verifier_power import measure_power, recorded_power, remember_power, write_texts
from hyperalign_dspy.lm.connect import concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.metrics.panel import PRIMARY
from hyperalign_dspy.metrics.style import _pieces
from hyperalign_dspy.optimize.study import Space
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.tasks.authorship import AuthorshipData
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import Job


@pytest.fixture
def found_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """The share of confirmations that find a gain, by recorded differences."""
    monkeypatch.setenv("HYPERALIGN_RUNS", str(tmp_path / "runs"))

    def share(differences: Mapping[str, Sequence[float]], users: int, requests: int) -> float:
        remember_power("digest", "scripted", differences)
        task_data: Any = SimpleNamespace(facts={"corpus_digest": "digest"})
        found = recorded_power(task_data, "scripted", users, requests)
        assert found
        assert found[1] == len(differences)
        assert recorded_power(task_data, "scripted:b", users, requests) is None
        return found[0]

    return share


def test_replays_find_what_the_t_distribution_says(found_share: Callable[..., float]) -> None:
    rng = random.Random(0)
    # Many users, so that drawing from them is as good as drawing anew.
    differences = {str(n): [rng.gauss(0.5, 1.0)] for n in range(2_000)}
    shift, critical = 0.5 * 24**0.5, stats.t.ppf(0.975, 23)
    expected = 1 - stats.nct.cdf(critical, 23, shift)
    assert abs(found_share(differences, 24, 1) - expected) < 0.05


def test_of_no_difference_hardly_anything_is_found_and_of_a_sure_one_everything(
    found_share: Callable[..., float],
) -> None:
    rng = random.Random(1)
    nothing = {str(n): [rng.gauss(0, 1), rng.gauss(0, 1)] for n in range(1_000)}
    assert found_share(nothing, 24, 2) < 0.06
    assert found_share({"a": [1.0, 1.1], "b": [0.9]}, 12, 2) == 1.0


class Former:
    """The verifier that decided before: character n-grams in 256 directions, and a softmax with a temperature."""

    def __init__(self, texts_by_user: Mapping[str, Sequence[str]]) -> None:
        found = {user: _pieces(texts, 0) for user, texts in sorted(texts_by_user.items())}
        pieces = np.array([piece for own in found.values() for _, piece in own], dtype=object)
        users = np.array([user for user, own in found.items() for _ in own])
        folds = np.array([number % 3 for own in found.values() for number, _ in own])
        grams = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True, min_df=2, lowercase=False)
        self._parts = make_pipeline(grams, TruncatedSVD(256, random_state=0), StandardScaler(with_std=False))
        table = self._parts.fit_transform(pieces)
        scores, places = [], []
        for train, test in PredefinedSplit(folds).split():
            part = LogisticRegression(C=30.0, max_iter=300).fit(table[train], users[train])
            scores.append(part.decision_function(table[test]))
            places.append(np.searchsorted(part.classes_, users[test]))
        held, own = np.concatenate(scores), np.concatenate(places)

        def loss(log_t: float) -> float:
            return -float(special.log_softmax(held / np.exp(log_t), axis=1)[np.arange(len(own)), own].mean())

        self._temperature = np.exp(optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)
        self._fitted = LogisticRegression(C=30.0, max_iter=300).fit(table, users)

    def log_odds(self, texts: Sequence[str], user_ids: Sequence[str]) -> Any:
        scores = self._fitted.decision_function(self._parts.transform(texts)) / self._temperature
        own = np.searchsorted(self._fitted.classes_, user_ids)
        p = np.clip(special.softmax(scores, axis=1)[np.arange(len(own)), own], 1e-6, 1 - 1e-6)
        return np.log(p / (1 - p))


@pytest.mark.evidence
@pytest.mark.parametrize(("name", "ratio", "drafts"), [("bundled", 1.5, 1), ("blogs", 1.0, 1), ("essays", 1.0, 3)])
def test_it_sees_more_than_what_decided_before_and_nothing_in_another_users_samples(
    name: str, ratio: float, drafts: int, corpora: Path, weights: Path
) -> None:
    """`pytest -m evidence tests/experiment/test_power.py -s`: about 25 minutes on two cores with the real model.

    Essays have a third of the bundled corpus's requests, so each is written three times.
    """
    sources = {
        "bundled": ("bundled", Columns()),
        "blogs": (str(corpora / "blogs/digitalgov_ge10posts.jsonl"), Columns(request="title")),
        "essays": (
            str(corpora / "essays/ebg_amt.jsonl"),
            Columns(group="source_docs", where=(("kind", "sample"),)),
        ),
    }
    source, columns = sources[name]
    recipe = replace(load_recipe("quick", "authorship"), confirm_users=10**6, confirm_requests=4, max_tokens=72)
    job = Job(load_program("authorship"), recipe, source, {"columns": columns, "words": 54}, on="validation")
    task_data: Any = AuthorshipData(job)
    with Ledger() as ledger:
        lm = connect("local", ledger=ledger, max_tokens=recipe.max_tokens)
        with Evaluator(task_data, lm, ledger, concurrency_of(lm)) as evaluator:
            written = []
            for draft in range(drafts):
                # Another seed of the texts: users are split and portioned already.
                task_data.job = replace(job, seed=draft)
                written += write_texts(task_data, evaluator, Space(job.program, recipe).baseline)
    known = task_data._unshown(task_data._everyone)

    def power(judge: Any) -> Any:
        bench: Any = SimpleNamespace(verifier=lambda name: judge)
        return measure_power(bench, written, (16, 2))[0][PRIMARY]

    then, now = power(Former(known)), power(task_data.verifier(PRIMARY))
    print(
        f"\n{name}: {len(written)} texts of {len({each.user_id for each in written})} users: t {now.t:.2f}, before "
        f"{then.t:.2f}; wrong user's samples win {now.wrong.mean:.2f}"
    )
    assert now.t >= ratio * then.t
    assert now.wrong.mean <= 0.5
