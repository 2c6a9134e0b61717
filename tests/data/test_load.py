"""Loading through one interface, and clear words for whatever is wrong."""

from __future__ import annotations

import csv
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
from hyperalign_dspy.metrics.copying import longest_shared_run
from hyperalign_dspy.types import Corpus, Sample, User

ROWS = [
    {
        "author": f"u{user}",
        "title": f"Topic {n}",
        "body": f"Text {n} of user {user}, with words of its own: {user * n}.",
    }
    for user in range(3)
    for n in range(4)
]


def written(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"corpus.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_corpus(tmp_path: Path, kind: str) -> None:
    corpus = load_corpus(str(written(tmp_path, kind)))
    reference = load_corpus(str(written(tmp_path, "jsonl")))
    assert corpus.digest == reference.digest
    assert [len(user.samples) for user in corpus.users] == [4, 4, 4]
    assert corpus.users[0].samples[0].request == 'Write the text "Topic 0", in about 80 words.'


def test_a_folder_of_texts_a_user(tmp_path: Path) -> None:
    for row in ROWS:
        folder = tmp_path / "people" / str(row["author"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['title']}.txt").write_text(str(row["body"]))
    corpus = load_corpus(str(tmp_path / "people"))
    assert [user.user_id for user in corpus.users] == ["u0", "u1", "u2"]


def test_a_hub_shaped_folder_goes_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    data = tmp_path / "repo" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), data / "train-00000.parquet")
    corpus = load_corpus(str(tmp_path / "repo"))
    assert [len(user.samples) for user in corpus.users] == [4, 4, 4]


def test_repeated_and_empty_texts_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = ["One text.", "one   TEXT.", "", "Another."]
    path.write_text("".join(json.dumps({"user": "a", "text": text}) + "\n" for text in texts))
    assert [s.text for s in load_corpus(str(path)).users[0].samples] == ["One text.", "Another."]


def test_where_keeps_rows_by_value(tmp_path: Path) -> None:
    corpus = load_corpus(str(written(tmp_path, "csv")), Columns(where=(("title", "Topic 1"),)))
    assert [len(user.samples) for user in corpus.users] == [1, 1, 1]


def broken(tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    contents = {
        "empty.jsonl": b"",
        "binary.jsonl": b"\x00\x01\x02PNG" * 100,
        "latin.csv": "user,text\na,caf\xe9\n".encode("latin-1"),
        "cut.jsonl": b'{"user": "a", "text": "x"}\n{"user": "a", "te\n',
        "list.jsonl": b"[1, 2]\n",
        "bad.parquet": b"PAR1 and nothing else",
        "notes.docx": b"x",
    }
    path.write_bytes(contents[name])
    return str(path)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty.jsonl", "empty"),
        ("binary.jsonl", "byte 0"),
        ("latin.csv", "UTF-8"),
        ("cut.jsonl", "Line 2"),
        ("list.jsonl", "not a JSON object"),
        ("bad.parquet", "Parquet"),
        ("notes.docx", "ending"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, name: str, word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        load_corpus(broken(tmp_path, name))
    assert len(str(caught.value)) < 600


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "jsonl")
    with pytest.raises(DataError) as caught:
        load_corpus(str(tmp_path / "corpsu.jsonl"))
    assert "corpus.jsonl" in caught.value.fix


def test_a_wrong_column_lists_the_columns_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'writer'") as caught:
        load_corpus(str(written(tmp_path, "csv")), Columns(user="writer"))
    assert "author, title, body" in caught.value.fix
    assert "--column user=NAME" in caught.value.fix


def test_samples_of_one_person_from_a_file_a_folder_and_rows(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("A text.")
    (tmp_path / "two.txt").write_text("Another.")
    assert [s.text for s in read_samples(tmp_path / "one.txt")] == ["A text."]
    assert [s.text for s in read_samples(tmp_path)] == ["A text.", "Another."]
    (tmp_path / "rows.jsonl").write_text('{"text": "Row.", "request": "Say."}\n')
    assert read_samples(tmp_path / "rows.jsonl") == (Sample("Row.", "Say."),)
    with pytest.raises(DataError):
        read_samples(tmp_path / "none")


@given(st.text(alphabet=st.sampled_from("abcdefgh ,.?!\nTHE"), max_size=600))
def test_a_brief_leaks_no_six_words_in_a_row(text: str) -> None:
    assert longest_shared_run(request_for(text, 80), text) < 6


def test_a_brief_of_a_real_text_names_its_matter_and_a_budget() -> None:
    text = bundled_corpus().users[0].samples[0].text
    brief = request_for(text, 80)
    assert "in about 80 words" in brief
    assert longest_shared_run(brief, text) < 6


def test_a_request_that_is_a_sentence_is_kept() -> None:
    assert request_for("Any.", 80, "Write about the street you live on.") == "Write about the street you live on."


def test_the_bundled_corpus_is_as_promised() -> None:
    corpus = bundled_corpus()
    texts = [s.text for user in corpus.users for s in user.samples]
    assert len(corpus.users) >= 32
    assert all(len(user.samples) >= 10 for user in corpus.users)
    assert all(50 <= len(text.split()) <= 120 for text in texts)
    assert {frozenset(s.request for s in user.samples) for user in corpus.users}.__len__() == 1
    seen: dict[str, int] = {}
    for number, text in enumerate(texts):
        words = text.lower().split()
        for start in range(len(words) - 7):
            run = " ".join(words[start : start + 8])
            assert seen.setdefault(run, number) == number, run


@given(st.integers(0, 10_000))
def test_a_split_parts_users_and_repeats(seed: int) -> None:
    corpus = bundled_corpus()
    split = split_users(corpus, Needs(), seed)
    ids = [user.user_id for part in (split.train, split.validation, split.sealed) for user in part]
    assert sorted(ids) == sorted(user.user_id for user in corpus.users)
    assert len(split.sealed) == 24
    assert split_users(corpus, Needs(), seed).digest == split.digest


def test_a_split_does_not_depend_on_the_order_of_users() -> None:
    corpus = bundled_corpus()
    turned = Corpus(corpus.name, corpus.users[::-1], corpus.digest)
    assert split_users(turned, Needs(), 3).digest == split_users(corpus, Needs(), 3).digest


def test_too_few_users_are_refused_with_both_numbers() -> None:
    corpus = Corpus("two", bundled_corpus().users[:2], "x")
    with pytest.raises(NotEnoughData, match=r"2 users .* 12 are needed"):
        split_users(corpus, Needs(), 0)


def test_a_group_is_never_on_both_sides_of_the_judge() -> None:
    samples = tuple(Sample(f"text {n}", group=str(n // 3)) for n in range(18))
    parts = portion([User("u", samples)], Needs(), 0)["u"]
    prompts = {s.group for s in (*parts.shown, *parts.evaluated)}
    assert not prompts & {s.group for s in parts.verifier}


@pytest.mark.parametrize(("count", "evaluated"), [(10, 2), (16, 3), (40, 8)])
def test_who_has_many_texts_gives_more_of_them_to_be_answered(count: int, evaluated: int) -> None:
    parts = portion([User("u", tuple(Sample(f"text {n}") for n in range(count)))], Needs(), 0)["u"]
    assert (len(parts.shown), len(parts.evaluated)) == (4, evaluated)
    assert len(parts.verifier) == count - 4 - evaluated


def test_samples_that_tie_all_groups_together_are_left_out() -> None:
    groups = ["1", "1", "1 2", "2", "2", "2 3", "3", "3", "3 4", "4", "4", "4", "4"]
    samples = tuple(Sample(f"text {n}", group=group) for n, group in enumerate(groups))
    parts = portion([User("u", samples)], Needs(), 0)["u"]
    assert all(" " not in s.group for s in (*parts.shown, *parts.evaluated, *parts.verifier))


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("file", "columns", "users", "able"),
    [
        ("blogs/digitalgov_ge10posts.jsonl", Columns("author", "text", "title"), 24, 24),
        ("essays/ebg_amt.jsonl", Columns(group="source_docs", where=(("kind", "sample"),)), 45, 20),
        ("emails/enron_demo.jsonl", Columns(), 50, 50),
        ("novels/passages.jsonl", Columns(group="book"), 8, 0),
        ("federalist/federalist.jsonl", Columns(), 3, 0),
    ],
)
def test_real_corpora_load_as_they_are(corpora: Path, file: str, columns: Columns, users: int, able: int) -> None:
    corpus = load_corpus(str(corpora / file), columns)
    samples = [sample for user in corpus.users for sample in user.samples]
    print(f"{file}: {len(corpus.users)} users, {len(samples)} samples")
    assert len(corpus.users) == users
    # A title may repeat the words of its text; a brief may not.
    made = [sample for sample in samples if sample.request.startswith("Write about ")]
    assert all(longest_shared_run(sample.request, sample.text) < 6 for sample in made)
    if not able:
        with pytest.raises(NotEnoughData, match="12 are needed"):
            split_users(corpus, Needs(), 0)
        return
    split = split_users(corpus, Needs(), 0)
    assert len((*split.train, *split.validation, *split.sealed)) == able
