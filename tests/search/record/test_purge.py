"""What a purge leaves: nothing of the user, everything of the others, and runs that can still be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.metrics.traces import WINDOW, Traces, letters, too_short
from hyperalign_dspy.search.record.purge import Person, frozen_with, held, purge
from hyperalign_dspy.search.record.runs import folder_for, home

MINE = "The kettle sang its one note, and nobody at the table would admit to having put it on in the first place."
OTHER = "A bus went by with its lights off, which my brother says is how they go home to wherever buses sleep."
SHORT = "Bread, then bed."
CLAIM = "Writes in a wry and patient tone about small domestic things."
DRAFT = "The lamp hummed all evening and the cat pretended not to care about any of it."
ADA = Person("ada", (MINE, SHORT))


def call(asked: str, text: str, number: int) -> dict[str, Any]:
    return {
        "key": f"{number}",
        "model": "scripted",
        "request": {"messages": [{"role": "user", "content": asked}], "config": {}},
        "text": text,
        "finish_reason": "stop",
        "input_tokens": 1,
        "output_tokens": 1,
        "seconds": 0.1,
        "session": 1,
    }


CALLS = [
    call(f"Samples:\n- {MINE[:60]}", json.dumps({"style": [CLAIM]}), 0),
    call(f"Known: {CLAIM}\nWrite about a lamp.", DRAFT, 1),
    call(f"Which is hers?\nA: {DRAFT}\nB: something else", "A", 2),
    call(f"Samples:\n- {OTHER}", json.dumps({"style": ["Writes plainly and with an eye for buses at night."]}), 3),
    call("Write about a lamp.", "A lamp is a lamp.", 4),
    call(f"Write.\n{SHORT.upper()}", "No.", 5),
]
OUTPUTS = [
    {"user": "u1", "reference": MINE, "text": DRAFT, "arm": "compiled", "request": "Write about a lamp."},
    {"user": "u1", "reference": "Quite another text of the same person, who went to sea.", "text": "x", "arm": "a"},
    {"user": "u2", "reference": OTHER, "text": "y", "arm": "compiled", "request": "Write about a lamp."},
]


@pytest.fixture
def run() -> Path:
    folder = folder_for("authorship-quick-12345678")
    (folder / "plan.json").write_text(json.dumps({"program": "authorship", "model": "scripted"}))
    (folder / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CALLS))
    (folder / "outputs.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in OUTPUTS))
    (folder / "visits.jsonl").write_text('{"visit": 1, "gap": 0.5}\n')
    (folder / "report.html").write_text(f"<p>{MINE}</p>")
    return folder


def keys(folder: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (folder / "calls.jsonl").read_text().splitlines()]


def test_calls_outputs_and_pages_of_the_user_go_and_the_rest_can_be_read(run: Path) -> None:
    found = held(ADA)
    assert [one.folder for one in found] == [run]
    purge(found)
    assert keys(run) == ["3", "4"]
    assert [json.loads(line)["user"] for line in (run / "outputs.jsonl").read_text().splitlines()] == ["u2"]
    assert not (run / "report.html").exists()
    assert (run / "visits.jsonl").read_text() == '{"visit": 1, "gap": 0.5}\n'
    assert held(ADA) == []
    with Ledger(run / "calls.jsonl") as ledger:
        assert ledger.cost().calls == 2


def test_what_came_of_calls_that_go_goes_with_them(run: Path) -> None:
    (run / "outputs.jsonl").unlink()
    row = {"arm": "0123", "text": "Written in a name that no line says.", "value": 0.5}
    rows = [
        {**row, "user": f"u{n}", "instance": f"u{n}/0", "asked": asked} for n, asked in enumerate((["4"], ["4", "1"]))
    ]
    (run / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    purge(held(ADA))
    assert [json.loads(line)["user"] for line in (run / "outcomes.jsonl").read_text().splitlines()] == ["u0"]
    assert held(ADA) == []
    hostile = [{**row, "user": "U0 ", "asked": [{"a": 1}]}, {**row, "user": "ADA", "asked": ["4"]}]
    (run / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hostile))
    assert held(ADA)[0].lines == {"outcomes.jsonl": {1}}


def test_records_further_down_go_by_line_too(run: Path) -> None:
    (run / "points" / "1").mkdir(parents=True)
    (run / "calls.jsonl").unlink()
    (run / "outputs.jsonl").rename(run / "points" / "1" / "outputs.jsonl")
    found = held(ADA)
    assert (found[0].whole, found[0].lines) == ("", {"points/1/outputs.jsonl": {0, 1}})
    purge(found)
    assert "u2" in (run / "points/1/outputs.jsonl").read_text()


def test_what_is_believed_finds_calls_that_hold_no_sample(run: Path) -> None:
    (run / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CALLS[1:5]))
    purge(held(Person("ada", ("A text that no run has ever seen, whoever wrote it.",), (CLAIM,))))
    assert keys(run) == ["3", "4"]


def test_of_a_user_of_the_corpus_with_the_same_name_the_outputs_alone_go(run: Path) -> None:
    (run / "candidates.json").write_text(json.dumps({"demos": [{"text": OTHER}]}))
    found = held(Person("U2", ("Something that no run has ever seen at all.",)))
    assert (found[0].lines, found[0].whole) == ({"outputs.jsonl": {2}}, "")


def test_a_run_whose_candidates_hold_the_text_goes_as_a_whole(run: Path) -> None:
    (run / "candidates.json").write_text(json.dumps({"demos": [{"text": MINE}]}))
    found = held(ADA)
    assert found[0].whole == "candidates.json"
    purge(found)
    assert not run.exists()


JAPANESE = "昨日は雨が降っていたので、傘を持って出かけました。帰り道はもう晴れていました。"


@pytest.mark.parametrize("text", [MINE, JAPANESE])
def test_the_board_of_calls_goes_and_the_run_stays(run: Path, text: str) -> None:
    (run / "calls.journal").write_text('{"op_code": 0}\n' + json.dumps({"call": {"said": [text]}}) + "\n")
    found = held(Person("eve", (text,)))
    assert (found[0].whole, "calls.journal" in found[0].pages) == ("", True)
    purge(found)
    assert not (run / "calls.journal").exists()
    assert (run / "plan.json").is_file()


def test_a_study_whose_journal_spells_a_text_in_escapes_goes(run: Path) -> None:
    (run / "study.journal").write_text('{"op_code": 0}\n' + json.dumps({"attr": {"demo": JAPANESE}}) + "\n")
    assert held(Person("eve", (JAPANESE,)))[0].whole == "study.journal"


def test_nobody_elses_runs_are_touched(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.iterdir()}
    purge(held(Person("bob", ("A text that no run has ever seen, whoever wrote it.", "Yes.", ""))))
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_other_homes_and_the_judges_records_are_looked_through(run: Path, tmp_path: Path) -> None:
    judge = home().parent / "judge"
    judge.mkdir()
    (judge / "calls.jsonl").write_text(json.dumps(CALLS[0]) + "\n")
    elsewhere = tmp_path / "elsewhere" / "runs"
    (elsewhere / "r").mkdir(parents=True)
    (elsewhere / "r" / "calls.jsonl").write_text(json.dumps(CALLS[0]) + "\n" + '{"torn')
    assert {one.folder for one in held(ADA, [elsewhere])} == {run, judge, elsewhere / "r"}
    purge(held(ADA, [elsewhere]))
    assert (elsewhere / "r" / "calls.jsonl").read_text() == '{"torn'


def test_what_lies_beside_runs_and_is_none_is_left_alone(run: Path) -> None:
    texts = run.parent / "my-texts"
    texts.mkdir()
    (texts / "mine.json").write_text(json.dumps([MINE]))
    purge(held(ADA, [run.parent.parent, run.parent]))
    assert (texts / "mine.json").is_file()


def test_a_run_at_work_is_not_touched(run: Path) -> None:
    found = held(ADA)
    with FileLock(f"{run / 'calls.jsonl'}.lock"), pytest.raises(UsageError, match="in use"):
        purge(found)
    assert len(keys(run)) == len(CALLS)


def test_frozen_programs_that_hold_a_text_are_found(tmp_path: Path) -> None:
    for name, text in (("mine", MINE.replace(" ", "\n")), ("other", OTHER)):
        folder = tmp_path / "programs/authorship/frozen" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "program.json").write_text(json.dumps({"demos": [{"text": text}]}))
    assert [folder.name for folder in frozen_with(ADA)] == ["mine"]


@given(st.text(min_size=1), st.text(), st.text())
def test_a_text_is_found_in_whatever_holds_it(text: str, before: str, after: str) -> None:
    long = text + MINE
    assert Traces([long])(f"{before} {long.upper() if long.isascii() else long} {after}")
    assert Traces([long])(" \n".join(MINE.split()))


@given(st.text(max_size=200))
def test_less_than_a_window_of_a_long_text_is_anybodys(text: str) -> None:
    traces = Traces([MINE])
    assert not traces(MINE[: WINDOW - 1])
    assert traces(text) == any(letters(MINE)[n : n + WINDOW] in letters(text) for n in range(len(letters(MINE)) - 31))


def test_a_cut_sample_and_one_in_a_script_without_spaces_are_found() -> None:
    assert Traces([MINE])(" ".join(MINE.split()[:9]))
    assert Traces(["昨日は雨が降っていたので、傘を持って出かけました。"])(
        "彼女は「昨日は雨が降っていたので、傘を持って出かけました。」と書いた。"
    )


def test_a_short_text_is_found_where_it_is_a_whole_message_or_reference(run: Path) -> None:
    rows = [call("Thanks!", "No.", 0), call("She said: Thanks! And left.", "Thanks.", 1), call("user", "stop", 2)]
    (run / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = held(Person("eve", ("thanks", "User", "!")))
    assert {name: set(lines) for name, lines in found[0].lines.items()} == {"calls.jsonl": {0, 2}}
    (run / "outputs.jsonl").write_text(json.dumps({"user": "u9", "reference": "Thanks."}) + "\n")
    assert held(Person("eve", ("Thanks!",)))[0].lines["outputs.jsonl"] == {0}


@pytest.mark.parametrize("text", ["今天又下雨了。", "今日は雨だった。", "오늘은 비 왔다."])
def test_a_short_sentence_in_signs_that_say_more_is_found_within_others(text: str) -> None:
    assert not too_short(text)
    assert Traces([text])(f"他说:{text}然后走了。")
    assert not Traces([text])(text[:-2])
    assert too_short("Yes, do it.")
