"""Names and quoted matter go; how a text is written stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.data.load import Columns, load_corpus
from hyperalign_dspy.data.mask import mask
from hyperalign_dspy.errors import UnknownName
from hyperalign_dspy.types import Sample, User


def masked(kind: str, texts: list[str]) -> list[str]:
    users = mask([User("a", tuple(map(Sample, texts)))], [kind])
    return [sample.text for user in users for sample in user.samples]


def test_a_name_goes_wherever_it_stands_and_other_words_stay() -> None:
    texts = ["Yesterday I met Elinor. Elinor's hat was green.", "The green hat pleased Elinor, and I said so."]
    assert masked("names", texts) == [
        "Yesterday I met Name. Name hat was green.",
        "The green hat pleased Name, and I said so.",
    ]


def test_a_word_that_is_mostly_small_is_no_name() -> None:
    texts = ["we met in may, in may, in may", "They came in May and in may. In may we left."] * 5
    assert masked("names", texts) == texts


def test_quoted_lines_headers_and_addresses_go() -> None:
    text = "I agree. > he wrote this > and this.\n> and a line\nSubject: Re: lunch\nCall me at joe@mill.com today."
    kept = masked("quotes", [text])[0]
    assert "I agree." in kept
    assert "Call me at" in kept
    assert not any(gone in kept for gone in ("he wrote", "a line", "lunch", "joe@"))


def test_samples_that_were_only_quoted_are_dropped() -> None:
    users = (User("a", (Sample("> all of this"), Sample("Mine."))), User("b", (Sample("> theirs"),)))
    assert [(u.user_id, [s.text for s in u.samples]) for u in mask(users, ["quotes"])] == [("a", ["Mine."])]


@pytest.mark.parametrize("source", ["bundled", "some.csv"])
def test_any_corpus_can_be_masked_and_a_wrong_mask_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "some.csv").write_text("user,text\na,We met Elinor there.\nb,So Elinor left us.\n")
    whole, nameless = load_corpus(source), load_corpus(source, Columns(masks=("names",)))
    assert whole.digest != nameless.digest
    assert all("Elinor" not in s.text for u in nameless.users for s in u.samples)
    with pytest.raises(UnknownName, match="'nam'"):
        load_corpus(source, Columns(masks=("nam",)))


@given(st.lists(st.text(max_size=200), max_size=5))
def test_any_text_can_be_masked(texts: list[str]) -> None:
    # Every text keeps its user; one that is all quoted, or empty, goes.
    users = [User(str(place), (Sample(text),)) for place, text in enumerate(texts)]
    names = [user.user_id for user in mask(users, ["names"])]
    assert names == [str(place) for place, text in enumerate(texts) if text.strip()]
    assert {user.user_id for user in mask(users, ["quotes"])} <= set(names)
