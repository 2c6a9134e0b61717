"""Pairs of which the better is known: the three shapes in which they come, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperalign_dspy.data.load import Columns
from hyperalign_dspy.data.pairs import load_pairs, paired_outputs
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import DataError


def test_answers_that_people_preferred_are_read(tmp_path: Path) -> None:
    rows = [{"input": "Say yes.", "output_1": "no", "output_2": "yes", "label": 2}]
    (tmp_path / "bar.json").write_text(json.dumps(rows))
    (pair,) = load_pairs(str(tmp_path / "bar.json"), Columns(), 0)
    assert (pair.purpose, pair.request, pair.first_is_right) == ("helpfulness", "Say yes.", False)


def test_paraphrases_in_two_styles_are_read(tmp_path: Path) -> None:
    header = "Anchor 1\tAnchor 2\tAlternative 1.1\tAlternative 1.2\tCorrect Alternative\n"
    (tmp_path / "stel.tsv").write_text(header + "it's late\tit is late\tshe's in\tshe is in\t1\n")
    (pair,) = load_pairs(str(tmp_path / "stel.tsv"), Columns(), 0)
    assert (pair.purpose, pair.samples, pair.first, pair.first_is_right) == ("style", ("it's late",), "she's in", True)


def test_a_users_own_text_stands_against_anothers_on_the_same_request() -> None:
    pairs = load_pairs("bundled", Columns(), 0)
    texts = {s.text: (u.user_id, s.request) for u in bundled_corpus().users for s in u.samples}
    assert len(pairs) == 2 * 48
    assert 40 < sum(pair.first_is_right for pair in pairs) < 56
    for pair in pairs:
        right, wrong = (pair.first, pair.second) if pair.first_is_right else (pair.second, pair.first)
        assert texts[right][0] == pair.user_id != texts[wrong][0]
        assert texts[right][1] == texts[wrong][1] == pair.request
        assert not {right, wrong} & set(pair.samples)


@pytest.mark.parametrize("label", ["3", "", "first"])
def test_a_label_that_names_neither_is_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / "bar.json").write_text(json.dumps([{"input": "a", "output_1": "b", "output_2": "c", "label": label}]))
    with pytest.raises(DataError, match="it is 1 or 2"):
        load_pairs(str(tmp_path / "bar.json"), Columns(), 0)


def test_outputs_meet_by_their_key() -> None:
    ours, theirs = [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], [{"id": "2", "text": "c"}, {"id": 3, "text": "d"}]
    assert paired_outputs(ours, theirs, "id") == [(ours[1], theirs[0])]
    with pytest.raises(DataError, match="same 'id'"):
        paired_outputs(ours, [{"id": 9}], "id")
    with pytest.raises(DataError, match="no column"):
        paired_outputs(ours, theirs, "key")
    with pytest.raises(DataError, match="two rows"):
        paired_outputs([*ours, ours[0]], theirs, "id")
