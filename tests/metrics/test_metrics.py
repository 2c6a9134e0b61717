"""The measuring instruments: on human text first, and against numbers that can be checked by hand."""

from __future__ import annotations

import math
import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.metrics.copying import RUN, longest_run_among, longest_shared_run, overlap
from hyperalign_dspy.metrics.features import FEATURES, Background, measure_all, measured_hypotheses, reward
from hyperalign_dspy.metrics.panel import PRIMARY, fit_verifier
from hyperalign_dspy.metrics.stats import paired, proportion, smallest_gain, verdict
from hyperalign_dspy.metrics.style import _MOST_CHUNKS, _chunks, _pieces, centred, validate

WORDS = st.lists(st.sampled_from(["one", "two", "three", "four", "five", "six", "seven"]), max_size=30).map(" ".join)


def by_topics(first: int, last: int) -> dict[str, list[str]]:
    return {user.user_id: [s.text for s in user.samples[first:last]] for user in bundled_corpus().users}


def flat(texts: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    return [t for found in texts.values() for t in found], [u for u, found in texts.items() for _ in found]


@pytest.mark.parametrize(
    ("name", "accuracy", "auc"),
    [(PRIMARY, 0.9, 0.98), ("function words", 0.6, 0.95), ("compression", 0.4, 0.9), ("grammar", 0.6, 0.95)],
)
def test_a_verifier_knows_people_on_topics_that_it_never_saw(name: str, accuracy: float, auc: float) -> None:
    found = validate(fit_verifier(name, by_topics(0, 8), 0), *flat(by_topics(8, 12)))
    assert found.accuracy.mean > accuracy
    assert found.auc > auc
    assert found.ceiling > 0 > found.floor
    assert found.brier < 0.15
    assert found.candidates == 48


@pytest.mark.usefixtures("afresh")
def test_a_verifier_is_the_same_every_time() -> None:
    texts, users = flat(by_topics(8, 10))
    first, second = (fit_verifier("function words", by_topics(0, 8), 1) for _ in range(2))
    assert np.array_equal(first.log_odds(texts, users), second.log_odds(texts, users))


def test_log_odds_are_as_sure_as_they_are_right() -> None:
    texts, users = flat(by_topics(8, 12))
    judge = fit_verifier(PRIMARY, by_topics(0, 8), 0)
    likely = special.expit(judge.table(texts))
    # Of all claims that a text is a user's one in 48 is true, and of those taken to be sure nearly all are.
    assert likely.mean() == pytest.approx(1 / 48, rel=0.3)
    truth = np.array([[user == own for user in judge.users] for own in users])
    sure = likely > 0.7
    assert truth[sure].mean() == pytest.approx(likely[sure].mean(), abs=0.1)
    assert truth[likely < 0.1].mean() < 0.01


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=8), st.floats(-1e3, 1e3))
def test_evidence_does_not_depend_on_what_speaks_for_all_users_alike(scores: list[float], shift: float) -> None:
    row = np.array([scores])
    assert np.allclose(centred(row + shift), centred(row), atol=1e-6)


def test_people_who_share_no_function_word_with_english_are_told_apart() -> None:
    signs = ["狗跑得快", "猫睡得久", "鸟飞得高"]
    texts = {f"u{n}": [f"{sign}{k}。" * 12 for k in range(6)] for n, sign in enumerate(signs)}
    judge = fit_verifier(PRIMARY, texts, 0)
    new = [f"{sign}{9}。" * 6 for sign in signs]
    _, ranks = judge.odds_and_ranks(new, list(texts))
    assert ranks.tolist() == [1, 1, 1]
    assert np.isfinite(judge.table([*new, "", "An English text."])).all()


def test_of_a_prolific_user_every_text_is_learnt_from() -> None:
    long = " ".join(f"word{n % 50}" for n in range(100 * _MOST_CHUNKS * 2))
    found = _pieces(["A short one.", long, "Another short one."], 0)
    assert len(found) == _MOST_CHUNKS
    assert {number for number, _ in found} == {0, 1, 2}


def test_chunks_lose_nothing() -> None:
    text = " ".join(f"w{n}" for n in range(333))
    pieces = _chunks(text)
    assert " ".join(pieces) == text
    assert [len(piece.split()) for piece in pieces] == [111, 111, 111]


def test_the_reward_prefers_the_users_own_text() -> None:
    users = bundled_corpus().users[24:]
    background = Background.of(s.text for user in bundled_corpus().users[:24] for s in user.samples)
    better = []
    for user in users:
        known = measured_hypotheses([s.text for s in user.samples[:4]], background)
        for place in range(4, 8):
            own = reward(user.samples[place].text, known)
            better += [own > reward(o.samples[place].text, known) for o in users if o is not user]
    assert fmean(better) > 0.85


def test_a_measured_hypothesis_says_what_was_measured() -> None:
    background = Background.of(["One sentence here. Another one there.", "No questions at all. None."])
    found = measured_hypotheses(["Why? Who knows? Do you?", "Really? Is it so?"], background)
    questions = next(h for h in found if h.feature == "questions")
    assert (questions.direction, questions.facet, questions.kind) == ("more", "communication", "measured")
    assert questions.value > questions.typical == 0
    assert len(found) == len(FEATURES)
    assert [h.strength for h in found] == sorted((h.strength for h in found), reverse=True)


def test_a_struck_hypothesis_no_longer_counts() -> None:
    background = Background.of(["Plain words. More words."])
    known = measured_hypotheses(["Oh! Wow! Yes!"], background)
    kept = [h for h in known if h.feature != "exclamations"]
    shout, calm = "Yes! Yes! Yes!", "Yes. Yes. Yes."
    assert reward(shout, known) > reward(calm, known)
    assert reward(shout, kept) == reward(calm, kept)


@given(st.text(max_size=300))
def test_any_text_can_be_measured(text: str) -> None:
    assert all(math.isfinite(value) for value in measure_all(text).values())


@given(WORDS, WORDS)
def test_shared_runs_are_symmetric_and_bounded(a: str, b: str) -> None:
    run = longest_shared_run(a, b)
    assert run == longest_shared_run(b, a)
    assert 0 <= run <= min(len(a.split()), len(b.split()))
    assert longest_shared_run(a, a) == len(a.split())


@given(st.integers(1, 12), st.integers(0, 5))
def test_a_planted_run_is_found_whatever_its_case(length: int, before: int) -> None:
    planted = [f"p{n}" for n in range(length)]
    text = " ".join([*(f"x{n}" for n in range(before)), *(word.upper() for word in planted), "end."])
    assert longest_shared_run(text, ", ".join(planted)) == length
    assert (longest_shared_run(text, " ".join(planted)) >= RUN) is (length >= 8)


def test_an_interval_is_students_t_on_user_means() -> None:
    values, users = [1.0, 3.0, 2.0, 2.0, 6.0, 4.0], ["a", "a", "b", "b", "c", "c"]
    found = paired(values, users)
    low, high = scipy_stats.t.interval(0.95, 2, loc=3.0, scale=scipy_stats.sem([2.0, 2.0, 5.0]))
    assert (found.mean, found.n_users, found.n_instances) == (3.0, 3, 6)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert math.isnan(paired([1.0, 2.0], ["a", "b"]).low)


def test_intervals_cover_what_they_claim() -> None:
    rng = random.Random(0)
    covered = 0
    for _ in range(1500):
        values, users = [], []
        for user in range(8):
            own = rng.gauss(0.3, 1)
            values += [own + rng.gauss(0, 1) for _ in range(2)]
            users += [str(user)] * 2
        found = paired(values, users)
        covered += found.low <= 0.3 <= found.high
    assert 0.93 < covered / 1500 < 0.97


@pytest.mark.parametrize("users", [3, 5, 6, 12, 100, 1000])
def test_a_smallest_gain_exists_for_any_number_of_users(users: int) -> None:
    assert 0 < smallest_gain(users + 1, 1.0) < smallest_gain(users, 1.0) < 4


def test_the_smallest_gain_is_found_as_often_as_it_says() -> None:
    gain, rng = smallest_gain(16, 1.0), random.Random(1)
    found = [verdict(paired([rng.gauss(gain, 1) for _ in range(16)], [str(n) for n in range(16)])) for _ in range(1500)]
    assert 0.77 < fmean(v == "gain" for v in found) < 0.83


def test_a_share_stays_between_nothing_and_all() -> None:
    found = proportion([1.0, 1.0, 1.0, 0.0], list("abcd"))
    assert (found.mean, found.high) == (0.75, 1.0)
    assert 0 <= found.low < 0.75


def test_phrases_that_stand_in_a_sample_are_counted() -> None:
    sample = "the rain in spain falls mainly on the plain"
    assert overlap("the rain in spain is wet", [sample]) == pytest.approx(1 / 3)
    assert overlap("too short", [sample]) == 0
    assert longest_run_among("so the rain in spain falls", ["nothing", sample]) == 5
    assert longest_run_among("the rain falls", [sample]) == 0
