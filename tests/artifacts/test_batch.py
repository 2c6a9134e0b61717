"""Many requests: every line answered once, in order, and on from wherever it was cut off."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dspy.lm15 import Request, ServerError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyperalign_dspy import HyPerAlign, Profile, Settings
from hyperalign_dspy.artifacts.batch import Batch, read_lines
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import (
    BudgetReached,
    DataError,
    MissingFolder,
    MissingKey,
    RunMismatch,
    UnknownName,
    UsageError,
)
from hyperalign_dspy.lm import connect
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.limits import Prices
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.runs import home
from tests.cli.test_main_job import HYPERALIGN, Inside, inside

__all__ = ["inside"]

USERS = bundled_corpus().users[:3]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def requests(count: int) -> list[dict[str, Any]]:
    """For three users in turn, whose samples stand in their first lines."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        user = USERS[number % len(USERS)]
        own = {"samples": [sample.text for sample in user.samples[:3]]} if number < len(USERS) else {}
        rows.append({"id": f"q{number}", "user": user.user_id, "request": f"Write about thing {number}.", **own})
    return rows


class Provider:
    """What stands in for a model: counts what it is asked, by the last thing said to it, and fails where told to."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.fails: Callable[[str], bool] = lambda request: False
        self.before: Callable[[str], None] = lambda request: None
        self._lock = threading.Lock()

    def answer(self, request: Request) -> str:
        said = messages_of(request)[-1]["content"]
        if "Style:" not in said:
            said = said.rpartition("\n")[2]
        self.before(said)
        with self._lock:
            self.asked[said] += 1
        if self.fails(said):
            raise ServerError("no room")
        if "Style:" in said:
            return json.dumps({name: [f"Says {name} things."] for name in ("style", "personality", "communication")})
        return f"An answer to: {said}"

    @property
    def inferences(self) -> int:
        return sum(count for said, count in self.asked.items() if "Style:" in said)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    made = Provider()
    monkeypatch.setattr(connect, "_engine_of", lambda model, ledger: ScriptedEngine(made.answer))
    # A call that fails is tried again by DSPy after pauses.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return made


def answer(source: Path, out: Path, module: Any = None, model: str = "scripted") -> Any:
    module = module or HyPerAlign(Settings(drafts=1))
    batch = Batch(read_lines(source), module, "authorship", model, out)
    with following("none") as nobody:
        return batch.answer_all(Prices(), nobody)


def answered(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_request_is_answered_in_order_and_each_user_inferred_once(tmp_path: Path, provider: Provider) -> None:
    source = write_lines(tmp_path / "in.jsonl", requests(9))
    # The first is the slowest, and still comes first.
    provider.before = lambda said: threading.Event().wait(0.2 if said.endswith("thing 0.") else 0)
    tally = answer(source, tmp_path / "out.jsonl")
    rows = answered(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(9)]
    assert [row["text"] for row in rows] == [f"An answer to: Write about thing {n}." for n in range(9)]
    assert rows[0]["hypotheses"] == ["Says style things.", "Says personality things.", "Says communication things."]
    assert (tally.lines, tally.failed, tally.cost.calls, provider.inferences) == (9, 0, 12, 3)
    assert list(home().glob("batch-*")) == []
    assert answer(source, tmp_path / "out.jsonl").cost.calls == 0
    assert len(answered(tmp_path / "out.jsonl")) == 9


def test_a_profiles_hypotheses_are_inferred_first_and_kept(tmp_path: Path, provider: Provider) -> None:
    for user in USERS:
        Profile.add(user.user_id, user.samples[:3])
    rows = [{k: v for k, v in row.items() if k != "samples"} for row in requests(6)]
    answer(write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert provider.inferences == 3
    answer(write_lines(tmp_path / "in.jsonl", [{**row, "seed": 7} for row in rows]), tmp_path / "again.jsonl")
    assert provider.inferences == 3
    assert {row["seed"] for row in answered(tmp_path / "again.jsonl")} == {7}


def test_what_fails_is_said_in_its_line_and_asked_again_without_paying_for_the_rest(
    tmp_path: Path, provider: Provider
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(7)), tmp_path / "out.jsonl"
    provider.fails = lambda said: said.endswith("thing 3.")
    assert answer(source, out).failed == 1
    rows = answered(out)
    assert len(rows) == 7
    assert "no room" in rows[3]["error"]
    assert "text" not in rows[3]
    paid = provider.asked.copy()
    provider.fails = lambda said: False
    assert answer(source, out).failed == 0
    assert [row["text"] for row in answered(out)] == [f"An answer to: Write about thing {n}." for n in range(7)]
    assert provider.asked - paid == Counter({"Write about thing 3.": 1})
    assert list(home().glob("batch-*")) == []


def test_who_cannot_be_inferred_fails_alone(tmp_path: Path, provider: Provider) -> None:
    for user in USERS:
        Profile.add(user.user_id, user.samples[:3])
    rows = [{k: v for k, v in row.items() if k != "samples"} for row in requests(6)]
    marked = " ".join(USERS[1].samples[0].text.split()[:3])
    provider.fails = lambda said: "Style:" in said and marked in " ".join(said.split())
    assert answer(write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl").failed == 2
    assert [("error" in row) for row in answered(tmp_path / "out.jsonl")] == [False, True, False] * 2


def test_one_bad_request_does_not_stop_the_others(tmp_path: Path, provider: Provider) -> None:
    for user in USERS:
        Profile.add(user.user_id, user.samples[:3])
    damaged = Profile.load(USERS[1].user_id).place("authorship", "scripted")
    damaged.parent.mkdir()
    damaged.write_text('{"facet": "mood", "text": "x"}\n')

    def refuse(said: str) -> None:
        if said.endswith("thing 3."):
            raise UsageError("its own marker")

    provider.before = refuse
    rows = [{k: v for k, v in row.items() if k != "samples"} for row in requests(6)]
    out = tmp_path / "out.jsonl"
    assert answer(write_lines(tmp_path / "in.jsonl", rows), out).failed == 3
    errors = [row.get("error", "") for row in answered(out)]
    assert [bool(error) for error in errors] == [False, True, False, True, True, False]
    assert "facet 'mood'" in errors[1]
    assert "its own marker" in errors[3]


@pytest.mark.parametrize("error", [BudgetReached, MissingKey])
def test_what_concerns_every_request_ends_the_command(
    error: type[Exception], tmp_path: Path, provider: Provider
) -> None:
    def fail(said: str) -> None:
        raise error("for all")

    provider.before = fail
    with pytest.raises(error, match="for all"):
        answer(write_lines(tmp_path / "in.jsonl", requests(3)), tmp_path / "out.jsonl")


def test_an_id_that_is_null_is_none(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [{"id": None, "samples": "a", "request": "b"}] * 2)
    assert [line.line_id for line in read_lines(source)] == ["1", "2"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_from_wherever_it_was_cut_off_it_comes_to_the_same_end(
    tmp_path: Path, provider: Provider, share: float
) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(5)), tmp_path / "out.jsonl"
    out.unlink(missing_ok=True)
    answer(source, out)
    whole = out.read_bytes()
    out.write_bytes(whole[: int(share * len(whole))])
    answer(source, out)
    assert out.read_bytes() == whole


def test_cut_off_in_the_middle_it_costs_what_was_in_flight(tmp_path: Path, provider: Provider) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(8)), tmp_path / "out.jsonl"

    def stop(said: str) -> None:
        if said.endswith("thing 5."):
            raise BudgetReached("stopped here")

    provider.before = stop
    with pytest.raises(BudgetReached, match="stopped here"):
        answer(source, out)
    provider.before = lambda said: None
    assert len(answered(out)) <= 5
    assert answer(source, out).lines == 8
    assert [row["id"] for row in answered(out)] == [f"q{n}" for n in range(8)]
    # Three users and eight requests, and at most the three calls beside the one that stopped it.
    assert sum(provider.asked.values()) <= 11 + 3


def test_answers_to_something_else_are_left_alone(tmp_path: Path, provider: Provider) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(3)), tmp_path / "out.jsonl"
    answer(source, out)
    before = out.read_bytes()
    changed = [*requests(2), {**requests(3)[2], "request": "Write about nothing."}]
    with pytest.raises(RunMismatch, match="Line 3"):
        answer(write_lines(tmp_path / "in.jsonl", changed), out)
    write_lines(tmp_path / "in.jsonl", requests(3))
    for other in ({"model": "scripted:delay=0"}, {"module": HyPerAlign(Settings(drafts=2))}):
        with pytest.raises(RunMismatch, match="Line 1"):
            answer(source, out, **other)
    with pytest.raises(RunMismatch):
        answer(write_lines(tmp_path / "in.jsonl", requests(2)), out)
    assert out.read_bytes() == before
    assert answer(write_lines(tmp_path / "in.jsonl", requests(5)), out).lines == 5
    assert out.read_bytes().startswith(before)


def test_a_file_of_something_else_is_not_cut(tmp_path: Path, provider: Provider) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(3)), tmp_path / "notes.txt"
    out.write_text("My notes.\nNot yours.\n")
    with pytest.raises(RunMismatch):
        answer(source, out)
    assert out.read_text() == "My notes.\nNot yours.\n"


FOREIGN = [
    b"My notes, in one line.",
    b"My notes.\nNot yours.",
    b'{"id": "1", "mine": true}',
    b'{"id": "q0", "user": "somebody else"',
    "Café.\n".encode("latin-1"),
]


@pytest.mark.parametrize("text", FOREIGN)
def test_no_byte_of_a_file_of_something_else_is_lost(text: bytes, tmp_path: Path, provider: Provider) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(3)), tmp_path / "notes.txt"
    out.write_bytes(text)
    with pytest.raises(RunMismatch):
        answer(source, out)
    assert out.read_bytes() == text
    assert list(home().glob("batch-*")) == []


def test_lines_after_a_failed_one_are_looked_at_before_they_are_cut(tmp_path: Path, provider: Provider) -> None:
    source, out = write_lines(tmp_path / "in.jsonl", requests(3)), tmp_path / "out.jsonl"
    provider.fails = lambda said: said.endswith("thing 1.")
    answer(source, out)
    mixed = b"".join(out.read_bytes().splitlines(keepends=True)[:2]) + b"My notes.\n"
    out.write_bytes(mixed)
    with pytest.raises(RunMismatch, match="Line 3"):
        answer(source, out)
    assert out.read_bytes() == mixed


def test_where_nothing_can_be_written_nothing_is_begun(tmp_path: Path, provider: Provider) -> None:
    source = write_lines(tmp_path / "in.jsonl", requests(3))
    with pytest.raises(MissingFolder):
        answer(source, source / "out.jsonl")
    assert list(home().glob("batch-*")) == []
    assert not provider.asked


def test_the_requests_are_not_overwritten(tmp_path: Path, inside: Inside) -> None:
    source = write_lines(tmp_path / "in.jsonl", requests(3))
    before = source.read_bytes()
    reply = inside("run", "--model", "scripted", "--requests", "in.jsonl", "--out", "./in.jsonl", cwd=tmp_path)
    assert (reply.returncode, source.read_bytes()) == (2, before)


BAD: dict[str, tuple[str, type[Exception], str]] = {
    "no request": ('{"user": "ada"}', DataError, "Row 1 .* no request"),
    "nobody": ('{"request": "Write."}', DataError, "nobody to write as"),
    "unknown": ('{"user": "eve", "request": "Write."}', UnknownName, "no profile called 'eve'"),
    "a slip": ('{"user": "ada", "reqest": "Write."}', DataError, "'reqest'"),
    "torn": ('{"user": "ada", "request": "Write."}\n{"user":', DataError, "Line 2"),
    "twice": ('{"id": 1, "samples": "a", "request": "b"}\n{"id": "1", "samples": "a", "request": "c"}',
              DataError, "has the id '1' of Row 1"),
    "no text": ('{"samples": [1], "request": "b"}', DataError, "sample that is no text"),
    "two": ('{"user": "a", "samples": "a", "request": "b"}\n{"user": "a", "samples": "c", "request": "b"}',
            DataError, "other samples of 'a'"),
    "a seed": ('{"samples": "a", "request": "b", "seed": "x"}', DataError, "seed 'x'"),
    "a facet": ('{"samples": "a", "request": "b", "hypotheses": [{"text": "t", "facet": "f"}]}',
                DataError, "facet 'f'"),
    "empty": ("\n", DataError, "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_refused_before_anything_is_paid(kind: str, tmp_path: Path, provider: Provider) -> None:
    text, error, said = BAD[kind]
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(error, match=re.compile(said)):
        answer(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not provider.asked
    assert not (tmp_path / "out.jsonl").exists()


def test_hypotheses_of_a_line_are_taken_in_place_of_inferred_ones(tmp_path: Path, provider: Provider) -> None:
    rows = [{"request": "Write.", "hypotheses": ["Says little.", {"text": "Is shy.", "facet": "personality"}]}]
    answer(write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert answered(tmp_path / "out.jsonl")[0]["hypotheses"] == ["Says little.", "Is shy."]
    assert answered(tmp_path / "out.jsonl")[0]["id"] == "1"
    assert provider.inferences == 0


def test_half_a_character_anywhere_in_a_line_becomes_a_sign_that_can_be_kept(
    tmp_path: Path, provider: Provider
) -> None:
    row = {"id": "a\ud800", "user": "b\udc00", "samples": ["c \ud83d d", "\ud83d\ude00"], "request": "Write \ud800."}
    answer(write_lines(tmp_path / "in.jsonl", [row]), tmp_path / "out.jsonl")
    (kept,) = answered(tmp_path / "out.jsonl")
    assert (kept["id"], kept["user"], kept["text"]) == ("a?", "b?", "An answer to: Write ?.")
    (line,) = read_lines(tmp_path / "in.jsonl")
    assert [sample.text for sample in line.samples] == ["c ? d", "\U0001f600"]


RUN = ("run", "--model", "scripted", "--requests", "in.jsonl", "--out", "out.jsonl")


def test_the_command_says_where_the_answers_are_and_how_many_are_none(
    tmp_path: Path, inside: Inside, provider: Provider
) -> None:
    write_lines(tmp_path / "in.jsonl", requests(4))
    provider.fails = lambda said: said.endswith("thing 3.")
    reply = inside(*RUN, "--json", cwd=tmp_path)
    assert reply.returncode == 5
    told = json.loads(reply.stdout)
    assert (told["schema"], told["lines"], told["failed"]) == ("hyperalign/answers/1", 4, 1)
    assert "1 of 4 requests have no answer" in reply.stderr
    assert "requests " in reply.stderr
    provider.fails = lambda said: False
    reply = inside(*RUN, cwd=tmp_path)
    assert (reply.returncode, reply.stdout) == (0, "out.jsonl\n")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--requests", "in.jsonl"),
        ("run", "--requests", "in.jsonl", "--out", "o", "--user", "ada"),
        ("run", "--request", "Write.", "--user", "ada", "--out", "o"),
        ("run", "--request", "Write."),
        ("run", "--request", "Write.", "--user", "ada", "--samples", "a.txt"),
        ("run", "--user", "ada"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    words: tuple[str, ...], tmp_path: Path, inside: Inside
) -> None:
    assert inside(*words, cwd=tmp_path).returncode == 2


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.evidence
def test_killed_again_and_again_it_comes_to_the_same_end(tmp_path: Path, inside: Inside) -> None:
    write_lines(tmp_path / "in.jsonl", requests(24))
    words = (*RUN[:2], "scripted:delay=150", *RUN[3:])
    assert inside(*words, cwd=tmp_path).returncode == 0
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    kills = 0
    while True:
        process = subprocess.Popen([*HYPERALIGN, *words], cwd=tmp_path, stderr=subprocess.DEVNULL)
        before = (tmp_path / "out.jsonl").stat().st_size if (tmp_path / "out.jsonl").exists() else 0
        while (
            process.poll() is None
            and ((tmp_path / "out.jsonl").stat().st_size if (tmp_path / "out.jsonl").exists() else 0) < before + 600
        ):
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.returncode == 0
    assert kills >= 3
    assert (tmp_path / "out.jsonl").read_bytes() == whole
