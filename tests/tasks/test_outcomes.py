"""What was scored is found again, by whoever comes with the same program, and by nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.errors import MissingFolder
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import load_program
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks import evaluate as evaluating
from hyperalign_dspy.tasks.evaluate import Evaluator, Outcome, OutcomeRecord, outcomes_of
from hyperalign_dspy.tasks.protocol import Answer, Arm, Context, Score
from tests.experiment.test_compile import CASES, Case

ARM = Arm("one", Configuration.of({"number": 1}))


class Bench:
    """One call an instance; knows what was asked of it."""

    instruction = "Say something."

    def __init__(self) -> None:
        self.answered, self.scored = list[str](), 0

    def module(self, configuration: Configuration) -> Any:
        return dspy.Predict(dspy.Signature("request -> text", self.instruction))

    def answer(self, module: Any, instance: Case, *, context: Context = "own") -> Answer:
        self.answered.append(instance.instance_id)
        return Answer(str(module(request=f"{instance.instance_id} {context}").text))

    def score(self, answers: Any, instances: Any, *, sealed: bool) -> list[Score]:
        self.scored += len(answers)
        return [Score(len(a.text) + sealed / 3, {"other": 0.1}, rank=2, overlap=1 / 3) for a in answers]


class Echo(ScriptedEngine):
    """Says what it was asked; fails for whom it is told to."""

    def __init__(self, fails: str = "none") -> None:
        super().__init__(lambda request: f"[[ ## text ## ]]\n{said(request)}\n\n[[ ## completed ## ]]")
        self.asked, self._fails = 0, fails

    def complete(self, request: Request) -> Any:
        self.asked += 1
        if self._fails in said(request):
            raise OSError("no answer today")
        return super().complete(request)


def said(request: Request) -> str:
    return str(messages_of(request)[-1]["content"])[:60]


@contextmanager
def session(folder: Path, engine: Echo, task_data: Bench) -> Iterator[Evaluator]:
    with Ledger(folder / "calls.jsonl") as ledger, OutcomeRecord(folder / "outcomes.jsonl") as record:
        lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
        with Evaluator(task_data, lm, ledger, 4) as made, dspy.context(adapter=dspy.ChatAdapter()):  # type: ignore[arg-type]
            made.record = record
            yield made


def visited(
    folder: Path, arm: Arm = ARM, *, sealed: bool = False, engine: Echo | None = None
) -> tuple[Any, Bench, int]:
    """What comes of all cases in one more session; the bench; and how many calls the engine was asked for."""
    engine, task_data = engine or Echo(), Bench()
    with session(folder, engine, task_data) as made:
        found = made.outcomes(arm, CASES, sealed=sealed, phase="search")
        ledger = made.ledger
        assert (
            ledger.cost("search").calls == ledger.cost_of(asked(found)).calls == ledger.path().calls - ledger.failures
        )
    return found, task_data, engine.asked


def asked(found: list[Outcome]) -> list[str]:
    return [key for outcome in found for key in outcome.asked]


def test_what_was_scored_is_neither_answered_nor_scored_again_and_counts_as_before(tmp_path: Path) -> None:
    first, task_data, calls = visited(tmp_path)
    assert (len(task_data.answered), task_data.scored, calls) == (len(CASES),) * 3
    again, task_data, calls = visited(tmp_path)
    assert again == first
    assert (task_data.answered, task_data.scored, calls) == ([], 0, 0)


def test_another_judge_another_reader_or_another_prompt_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited(tmp_path)
    found, task_data, calls = visited(tmp_path, sealed=True)
    assert (task_data.scored, calls, found[0].score.value % 1) == (len(CASES), 0, pytest.approx(1 / 3))
    _, task_data, calls = visited(tmp_path, Arm("one", ARM.configuration, "other"))
    assert (task_data.scored, calls) == (len(CASES),) * 2
    monkeypatch.setattr(Bench, "instruction", "Say something else.")
    _, task_data, calls = visited(tmp_path)
    assert (task_data.scored, calls) == (len(CASES),) * 2


def test_after_the_code_has_changed_recorded_calls_are_scored_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, _ = visited(tmp_path)
    monkeypatch.setattr(evaluating, "package_digest", lambda: "another")
    again, task_data, calls = visited(tmp_path)
    assert (again, task_data.scored, calls) == (first, len(CASES), 0)


def test_who_got_no_answer_is_asked_again_and_a_call_that_is_gone_is_too(tmp_path: Path) -> None:
    lost, _, _ = visited(tmp_path, engine=Echo(fails=f"\n{CASES[3].instance_id} "))
    assert [outcome.instance for outcome in lost if outcome.score is None] == [CASES[3]]
    whole, task_data, calls = visited(tmp_path)
    assert (task_data.answered, calls, [o.instance for o in whole]) == ([CASES[3].instance_id], 1, CASES)
    lines = (tmp_path / "calls.jsonl").read_text().splitlines(keepends=True)
    gone = [line for line in lines if f'"key": "{whole[5].asked[0]}"' not in line]
    (tmp_path / "calls.jsonl").write_text("".join(gone))
    again, task_data, calls = visited(tmp_path)
    assert ([o.text for o in again], task_data.answered, calls) == ([o.text for o in whole], [CASES[5].instance_id], 1)


def test_equal_arms_are_found_again_each(tmp_path: Path) -> None:
    arms = [Arm(name, ARM.configuration) for name in ("baseline", "baseline, equal drafts")]
    lines = []
    for task_data in (Bench(), Bench()):
        with session(tmp_path, Echo(), task_data) as made:
            batches = [made.start(arm, CASES, sealed=True, phase="confirm") for arm in arms]
            first, second = (batch() for batch in batches)
        assert first == second
        lines.append((tmp_path / "outcomes.jsonl").read_text().count("\n"))
    assert (task_data.answered, task_data.scored, lines) == ([], 0, [2 * len(CASES)] * 2)


def test_an_answer_without_a_call_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "answer", lambda self, module, instance, context="user": Answer("at once"))
    visited(tmp_path)
    _, task_data, _ = visited(tmp_path)
    assert task_data.scored == len(CASES)


def test_only_what_the_record_lacks_has_to_be_asked(tmp_path: Path) -> None:
    visited(tmp_path, sealed=True)
    with session(tmp_path, Echo(), task_data := Bench()) as made:
        assert made.lacking(ARM, CASES, "confirm") == 0
        assert made.lacking(Arm("one", ARM.configuration, "other"), CASES[:5], "confirm") == 5
    assert task_data.answered == [case.instance_id for case in CASES[:5]]


GOOD = {"arm": "a", "instance": "i", "text": "t", "asked": ["k"], "value": 1.0, "others": {}, "rank": 1}
GOOD |= {"copied": False, "longest": 0, "overlap": 0.0, "harm": False}
BAD = [
    b"not JSON",
    b'{"key": "a call"}',
    b"\xff\xfe",
    b"[" * 100_000,
    *(json.dumps({**GOOD, **bad}).encode() for bad in ({"text": 1}, {"value": "v"}, {"asked": [{}]}, {"others": [1]})),
    json.dumps({name: value for name, value in GOOD.items() if name != "rank"}).encode(),
]


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_what_cannot_be_read_is_made_again_and_half_a_line_too(tmp_path: Path, line: bytes) -> None:
    first, _, _ = visited(tmp_path)
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(line + b"\n" + path.read_bytes()[:-40])
    again, task_data, calls = visited(tmp_path)
    assert (again, task_data.scored, calls) == (first, 1, 0)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFolder, match="Cannot write"):
        OutcomeRecord(tmp_path / "nowhere" / "outcomes.jsonl")
    with Path("/dev/full").open("a", encoding="utf-8") as full, OutcomeRecord(tmp_path / "outcomes.jsonl") as record:
        record._file = full
        with pytest.raises(MissingFolder, match="cannot be written"):
            record.keep("arm", [Outcome(CASES[0], "t", Score(1.0), asked=("a",))])
        with suppress(OSError):
            full.close()


@pytest.mark.parametrize(("part", "kept"), [("task", False), ("metric", False), ("module", False), ("name", True)])
def test_where_a_program_has_code_of_ones_own_nothing_is_kept(tmp_path: Path, part: str, kept: bool) -> None:
    program = replace(load_program("authorship"), **{part: "mine:thing"})
    with outcomes_of(Run(tmp_path), program) as record:
        assert (record is not None) == kept
    assert (tmp_path / "outcomes.jsonl").exists() == kept


@pytest.mark.parametrize(("adapter", "scored"), [("turns", 0), ("mine:Adapter", len(CASES))])
def test_what_an_adapter_of_ones_own_renders_is_read_again(tmp_path: Path, adapter: str, scored: int) -> None:
    arm = Arm("one", Configuration.of({"adapter": adapter}))
    visited(tmp_path, arm)
    _, task_data, calls = visited(tmp_path, arm)
    assert (task_data.scored, calls) == (scored, 0)


@given(text=st.text(), value=st.floats(), others=st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_any_text_and_value_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: float, others: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("record") / "outcomes.jsonl"
    score = Score(value, others, rank=3, copied=True, longest=9, overlap=0.25, harm=True)
    with OutcomeRecord(path) as record:
        record.keep("arm", [Outcome(CASES[0], text + "\ud83d", score, asked=("a", "b"))])
    with OutcomeRecord(path) as record:
        assert record.take("other", CASES[0].instance_id) is None
        found = record.take("arm", CASES[0].instance_id)
        assert record.take("arm", CASES[0].instance_id) is None
    assert found
    assert (found.text, found.asked) == (text + "\ud83d", ("a", "b"))
    assert repr(replace(found.score, others=dict(found.score.others))) == repr(score)
