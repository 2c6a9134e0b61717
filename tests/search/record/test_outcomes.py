"""What was scored is found again, by whoever comes with the same program, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.messages import messages_of
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.search.evaluate import Evaluator
from hyperalign_dspy.search.record import outcomes as recording
from hyperalign_dspy.search.record.outcomes import OUTCOMES, Outcome, OutcomeRecord
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Answer, Arm, Knows, Score
from tests.search.test_search import CASES, Case

ARM = Arm("one", Configuration.of({"number": 1}))


class Bench:
    """One call an instance; knows what was asked of it."""

    instruction = "Say something."

    def __init__(self) -> None:
        self.answered, self.scored = list[str](), 0

    def module(self, configuration: Configuration) -> Any:
        return dspy.Predict(dspy.Signature("request -> text", self.instruction))

    def answer(self, module: Any, instance: Case, *, knows: Knows = "user") -> Answer:
        self.answered.append(instance.instance_id)
        return Answer(str(module(request=f"{instance.instance_id} {knows}").text))

    def score(self, answers: Any, instances: Any, *, sealed: bool) -> list[Score]:
        self.scored += len(answers)
        return [Score(len(a.text) + sealed / 3, {"other": 0.1}, rank=2, overlap=1 / 3) for a in answers]


class Echo(ScriptedEngine):
    """Says what it was asked; fails for whom it is told to."""

    def __init__(self, fails: str = "nobody") -> None:
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
def session(folder: Path, engine: Echo, bench: Bench) -> Iterator[Evaluator]:
    with Ledger(folder / "calls.jsonl") as ledger, OutcomeRecord(folder / OUTCOMES) as record:
        lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
        with Evaluator(bench, lm, ledger, 4) as made, dspy.context(adapter=dspy.ChatAdapter()):  # type: ignore[arg-type]
            made.record = record
            yield made


def visited(
    folder: Path, arm: Arm = ARM, *, sealed: bool = False, engine: Echo | None = None
) -> tuple[Any, Bench, int]:
    """What comes of all cases in one more session; the bench; and how many calls the engine was asked for."""
    engine, bench = engine or Echo(), Bench()
    with session(folder, engine, bench) as made:
        found = made.outcomes(arm, CASES, sealed=sealed, phase="search")
        ledger = made.ledger
        assert (
            ledger.cost("search").calls == ledger.cost_of(asked(found)).calls == ledger.path().calls - ledger.failures
        )
    return found, bench, engine.asked


def asked(found: list[Outcome]) -> list[str]:
    return [key for outcome in found for key in outcome.asked]


def test_what_was_scored_is_neither_answered_nor_scored_again_and_counts_as_before(tmp_path: Path) -> None:
    first, bench, calls = visited(tmp_path)
    assert (len(bench.answered), bench.scored, calls) == (len(CASES),) * 3
    again, bench, calls = visited(tmp_path)
    assert again == first
    assert (bench.answered, bench.scored, calls) == ([], 0, 0)


def test_another_judge_another_reader_or_another_prompt_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited(tmp_path)
    found, bench, calls = visited(tmp_path, sealed=True)
    assert (bench.scored, calls, found[0].score.value % 1) == (len(CASES), 0, pytest.approx(1 / 3))
    _, bench, calls = visited(tmp_path, Arm("one", ARM.configuration, "stranger"))
    assert (bench.scored, calls) == (len(CASES),) * 2
    monkeypatch.setattr(Bench, "instruction", "Say something else.")
    _, bench, calls = visited(tmp_path)
    assert (bench.scored, calls) == (len(CASES),) * 2


def test_after_the_code_has_changed_recorded_calls_are_scored_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, _ = visited(tmp_path)
    monkeypatch.setattr(recording, "package_digest", lambda: "another")
    again, bench, calls = visited(tmp_path)
    assert (again, bench.scored, calls) == (first, len(CASES), 0)


def test_who_got_no_answer_is_asked_again_and_a_call_that_is_gone_is_too(tmp_path: Path) -> None:
    lost, _, _ = visited(tmp_path, engine=Echo(fails=f"\n{CASES[3].instance_id} "))
    assert [outcome.instance for outcome in lost if outcome.score is None] == [CASES[3]]
    whole, bench, calls = visited(tmp_path)
    assert (bench.answered, calls, [o.instance for o in whole]) == ([CASES[3].instance_id], 1, CASES)
    lines = (tmp_path / "calls.jsonl").read_text().splitlines(keepends=True)
    gone = [line for line in lines if f'"key": "{whole[5].asked[0]}"' not in line]
    (tmp_path / "calls.jsonl").write_text("".join(gone))
    again, bench, calls = visited(tmp_path)
    assert ([o.text for o in again], bench.answered, calls) == ([o.text for o in whole], [CASES[5].instance_id], 1)


def test_half_a_line_is_dropped_and_another_files_lines_are_refused(tmp_path: Path) -> None:
    first, _, _ = visited(tmp_path)
    path = tmp_path / OUTCOMES
    whole = path.read_text()
    path.write_text(whole[:-40])
    again, bench, _ = visited(tmp_path)
    assert (again, bench.scored) == (first, 1)
    path.write_text(whole + '{"key": "a call"}\n')
    with pytest.raises(DataError, match=f"Line {len(CASES) + 1} of .* is not a recorded outcome") as error:
        OutcomeRecord(path)
    assert str(path) in error.value.fix


@given(text=st.text(), value=st.floats(), others=st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_any_text_and_value_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: float, others: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("record") / OUTCOMES
    score = Score(value, others, rank=3, copied=True, longest=9, overlap=0.25, harm=True)
    with OutcomeRecord(path) as record:
        record.keep("arm", [Outcome(CASES[0], text + "\ud83d", score, asked=("a", "b"))])
    with OutcomeRecord(path) as record:
        assert record.take("other", CASES[0]) is None
        found = record.take("arm", CASES[0])
        assert record.take("arm", CASES[0]) is None
    assert found
    assert (found.text, found.asked, repr(found.score)) == (text + "\ud83d", ("a", "b"), repr(score))
