"""A corpus that a TOML file describes is the very one that options say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperalign_dspy.data.load import Columns, described, load_corpus
from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.prepare import prepare
from tests.cli.test_main_job import Inside, inside, small

__all__ = ["inside", "small"]

WHOLE = """schema = 1
source = "letters.jsonl"
user = "author"
text = "body"
request = "title"
group = "book"
mask = ["names"]
[where]
kind = "sample"
year = 1911
"""
SAID = Columns("author", "body", "title", "book", (("kind", "sample"), ("year", "1911")), ("names",))


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_it_says_what_options_say() -> None:
    assert described(written(Path("own.toml"), WHOLE), Columns()) == ("letters.jsonl", SAID)
    assert described(written(Path("a/b.TOML"), WHOLE), Columns()) == ("a/letters.jsonl", SAID)
    assert described("letters.jsonl", SAID) == ("letters.jsonl", SAID)
    assert described(written(Path("least.toml"), 'schema = 1\nsource = "bundled"\n'), Columns()) == (
        "bundled",
        Columns(),
    )


def test_what_is_given_beside_it_wins_and_rows_have_to_pass_both() -> None:
    beside = Columns(user="writer", where=(("year", "1912"),), masks=("quotes",))
    _, columns = described(written(Path("own.toml"), WHOLE), beside)
    assert columns == Columns("writer", "body", "title", "book", (*SAID.where, ("year", "1912")), ("quotes",))


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("owner/name", "owner/name"),
        ("owner/name:config@test", "owner/name:config@test"),
        ("texts/letters.jsonl", "a/texts/letters.jsonl"),
        ("texts", "a/texts"),
        ("../letters.csv", "a/../letters.csv"),
        ("/srv/letters.csv", "/srv/letters.csv"),
        ("here/folder", "a/here/folder"),
    ],
)
def test_a_source_lies_beside_the_file_or_on_a_hub(source: str, place: str) -> None:
    Path("a/here/folder").mkdir(parents=True)
    assert described(written(Path("a/own.toml"), f'schema = 1\nsource = "{source}"\n'), Columns())[0] == place


BAD = {
    "no TOML": ("source = ", "not valid TOML"),
    "no schema": ('source = "a.jsonl"', "schema is None"),
    "another schema": ('schema = 2\nsource = "a.jsonl"', "schema is 2"),
    "true": ('schema = true\nsource = "a.jsonl"', "schema is True"),
    "no source": ("schema = 1", "names no source"),
    "an empty source": ('schema = 1\nsource = ""', "names no source"),
    "a list of sources": ('schema = 1\nsource = ["a.jsonl"]', "source is ['a.jsonl']"),
    "unknown": ('schema = 1\nsource = "a.jsonl"\nuesr = "author"', "uesr is 'author'"),
    "a number": ('schema = 1\nsource = "a.jsonl"\nuser = 3', "user is 3"),
    "one mask": ('schema = 1\nsource = "a.jsonl"\nmask = "names"', "mask is 'names'"),
    "masks that are numbers": ('schema = 1\nsource = "a.jsonl"\nmask = [1]', "mask is [1]"),
    "where is a text": ('schema = 1\nsource = "a.jsonl"\nwhere = "kind=sample"', "where is 'kind=sample'"),
    "where holds a list": ('schema = 1\nsource = "a.jsonl"\n[where]\nkind = ["a"]', "where is"),
    "where holds a truth": ('schema = 1\nsource = "a.jsonl"\n[where]\nkind = true', "where is"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_describes_no_corpus_is_refused_with_what_to_write(kind: str) -> None:
    text, said = BAD[kind]
    with pytest.raises(DataError) as caught:
        described(written(Path("bad.toml"), text), Columns())
    assert said in caught.value.message
    assert "schema = 1" in caught.value.fix


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\0" * 50, b'schema = 1\r\nsource = "a\x01"', None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "bad.toml"
    path.mkdir() if data is None else path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be read|not valid TOML"):
        described(str(path), Columns())


def test_a_source_that_is_not_there_is_said_with_its_place() -> None:
    source, columns = described(written(Path("a/own.toml"), 'schema = 1\nsource = "lettres.jsonl"\n'), Columns())
    written(Path("a/letters.jsonl"), "{}")
    with pytest.raises(DataError, match=r"There is no a/lettres.jsonl") as caught:
        load_corpus(source, columns)
    assert "a/letters.jsonl" in caught.value.fix


def test_it_makes_the_run_that_options_make(small: Path, inside: Inside) -> None:
    rows = [json.loads(line) for line in (small / "small.jsonl").read_text().splitlines()]
    lines = [{"who": row["user"], "body": row["text"], "ask": row["request"], "kind": "sample"} for row in rows]
    own = "".join(json.dumps(line) + "\n" for line in [*lines, {**lines[0], "body": "Nothing.", "kind": "other"}])
    written(small / "own/letters.jsonl", own)
    described_by = 'schema = 1\nsource = "letters.jsonl"\nuser = "who"\nrequest = "ask"\n[where]\nkind = "sample"\n'
    written(small / "own/letters.toml", described_by)
    words = ("compile", "--model", "scripted", "--recipe", "small", "--plan", "--json", "--data")
    columns = ("--column", "user=who", "--column", "request=ask", "--where", "kind=sample")
    said = json.loads(inside(*words, "own/letters.jsonl", *columns, cwd=small).stdout)
    assert json.loads(inside(*words, "own/letters.toml", cwd=small).stdout) == said
    assert prepare("authorship", "scripted", "small", data="own/letters.toml").plan().run_id == said["plan"]["run_id"]
    other = json.loads(inside(*words, "own/letters.toml", "--mask", "names", cwd=small).stdout)
    assert other["plan"]["run_id"] != said["plan"]["run_id"]


def test_a_real_corpus_is_the_same_either_way(corpora: Path, tmp_path: Path) -> None:
    path = corpora / "essays/ebg_amt.jsonl"
    text = f'schema = 1\nsource = {json.dumps(str(path))}\ngroup = "source_docs"\n[where]\nkind = "sample"\n'
    source, columns = described(written(tmp_path / "essays.toml", text), Columns())
    said = Columns(group="source_docs", where=(("kind", "sample"),))
    assert (source, columns) == (str(path), said)
    assert load_corpus(source, columns) == load_corpus(str(path), said)
