"""Corpora as people really have them: ragged rows, numbered groups, stray folders, other scripts, very few users."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.data.brief import request_for
from hyperalign_dspy.data.load import Columns, load_corpus, read_samples
from hyperalign_dspy.data.split import Needs, portion, split_users
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import DataError, NotEnoughData
from hyperalign_dspy.types import Corpus, Sample, User


def rows_in(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_group_called_zero_is_a_group(tmp_path: Path) -> None:
    rows = [{"user": 0, "text": f"Text {n}.", "book": n // 2} for n in range(4)]
    (user,) = load_corpus(rows_in(tmp_path / "a.jsonl", *rows), Columns(group="book")).users
    assert user.user_id == "0"
    assert [sample.group for sample in user.samples] == ["0", "0", "1", "1"]


@pytest.mark.parametrize("second", [{"text": "y"}, {"user": None, "text": "y"}, {"user": " ", "text": "y"}])
def test_a_row_without_a_user_is_named(tmp_path: Path, second: dict[str, object]) -> None:
    source = rows_in(tmp_path / "a.jsonl", {"user": "a", "text": "x"}, second)
    with pytest.raises(DataError, match=r"Row 2 .* no user") as caught:
        load_corpus(source)
    assert "user" in caught.value.fix


def test_users_that_differ_in_blanks_only_are_one(tmp_path: Path) -> None:
    source = rows_in(tmp_path / "a.jsonl", {"user": "a", "text": "x"}, {"user": " a ", "text": "y"})
    assert [len(user.samples) for user in load_corpus(source).users] == [2]


def test_a_text_too_long_for_a_table_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user,text\na," + "word " * 40_000 + "\n")
    with pytest.raises(DataError, match="Line 2") as caught:
        load_corpus(str(path))
    assert ".jsonl" in caught.value.fix


def test_a_zero_byte_deep_in_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    head = b"user,text\n" + b"a,hello\n" * 1000
    path.write_bytes(head + b"\0")
    with pytest.raises(DataError, match=f"byte {len(head)} is zero"):
        load_corpus(str(path))


def test_a_letter_cut_by_the_first_look_is_no_fault(tmp_path: Path) -> None:
    text = "x" * (4096 - len("user,text\na,") - 1) + "é"
    path = tmp_path / "a.csv"
    path.write_text(f"user,text\na,{text}\n", encoding="utf-8-sig" if len(text) % 2 else "utf-8")
    assert load_corpus(str(path)).users[0].samples[0].text == text


def test_folders_that_are_no_users_are_passed_over(tmp_path: Path) -> None:
    for name in (".checkpoints", "ada"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"A text in {name}.")
    assert [user.user_id for user in load_corpus(str(tmp_path)).users] == ["ada"]


def test_a_page_beside_parquet_files_makes_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    data = tmp_path / "repo" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([{"user": "a", "text": "A text."}]), data / "train.parquet")
    (data / "README.md").write_text("About the data.")
    assert [user.user_id for user in load_corpus(str(tmp_path / "repo")).users] == ["a"]


@pytest.mark.parametrize("content", ["", '{"user": "a", "text": "x"}\n{"user": "a", "te\n'])
def test_a_folder_without_readable_rows_says_what_to_put_there(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    if content:
        (folder / "train.jsonl").write_text(content)
    with pytest.raises(DataError, match="repo") as caught:
        load_corpus(str(folder))
    assert ".txt" in caught.value.fix
    assert len(str(caught.value)) < 600


def test_samples_are_read_from_rows_whatever_the_case_of_the_ending(tmp_path: Path) -> None:
    rows_in(tmp_path / "rows.JSONL", {"text": "Row."})
    assert read_samples(tmp_path / "rows.JSONL") == (Sample("Row."),)


def test_a_brief_takes_no_contraction_and_keeps_accents() -> None:
    brief = request_for("I wouldn't and couldn’t. The company's café: Überlegung, Überlegung!", 80)
    assert brief == "Write about überlegung and company, in about 80 words."


def test_a_brief_knows_other_alphabets_but_takes_no_clause_for_a_word() -> None:
    assert "озеро" in request_for("Озеро, озеро!", 80)
    assert request_for("今日はとても良い天気でした。", 80) == "Write a short text, in about 80 words."


@given(st.integers(7, 48), st.integers(0, 99))
def test_a_split_of_any_size_parts_users(count: int, seed: int) -> None:
    corpus = Corpus("some", bundled_corpus().users[:count], "x")
    split = split_users(corpus, Needs(users=1), seed)
    ids = [user.user_id for part in (split.train, split.validation, split.sealed) for user in part]
    assert sorted(ids) == sorted(user.user_id for user in corpus.users)
    assert len(split.validation) >= 4
    assert len(split.train) >= 2
    assert split.sealed


@pytest.mark.parametrize("count", range(1, 7))
def test_users_too_few_for_three_parts_are_refused(count: int) -> None:
    corpus = Corpus("few", bundled_corpus().users[:count], "x")
    with pytest.raises(NotEnoughData, match="7 are needed"):
        split_users(corpus, Needs(users=1), 0)


def test_who_has_one_group_alone_is_left_out() -> None:
    user = User("u", tuple(Sample(f"text {n}", group=f"{n} {n + 1}") for n in range(12)))
    assert portion([user], Needs(), 0) == {}
