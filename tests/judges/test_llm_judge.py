"""A model's opinion on a confirmation: heard always, decisive only where the judge has qualified."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

from hyperalign_dspy.experiment.confirm import COMPILED, Terms, confirm, verdict_arms
from hyperalign_dspy.judges.llm_judge import JudgeResult, last_qualification, record_qualification
from hyperalign_dspy.judges.pairwise import GradingJudge
from hyperalign_dspy.judges.tally import JudgedPair, Tally
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.metrics.stats import Verdict, paired, proportion, verdict, widened
from hyperalign_dspy.optimize.objectives import exceeded
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, Score


@dataclass(frozen=True)
class Case:
    instance_id: str
    user_id: str


def llm_judge(wins: int, of: int, *, qualified: bool) -> JudgeResult:
    sides = ["first"] * wins + ["second"] * (of - wins)
    found = Tally.of([JudgedPair(f"u{n}", side, (side, side), 0) for n, side in enumerate(sides)])
    return JudgeResult("m", "authorship", qualified, None, False, found, None, None, False)


@pytest.mark.parametrize(
    ("wins", "qualified", "was", "becomes"),
    [
        (19, True, "gain", "gain"),
        (11, True, "gain", "no gain"),
        (1, True, "gain", "no gain"),
        (1, False, "gain", "gain"),
        (19, True, "no gain", "no gain"),
        (19, True, "harm not excluded", "harm not excluded"),
    ],
)
def test_only_a_qualified_judge_takes_a_gain_away_and_none_gives_one(
    wins: int, qualified: bool, was: Verdict, becomes: Verdict
) -> None:
    assert llm_judge(wins, 20, qualified=qualified).gate(was) == becomes


def speaking(says: Any) -> Any:
    engine = ScriptedEngine(says)
    return dspy.context(lm=dspy.LM("scripted", engine=Ledger().wrap(engine, "scripted"), cache=False)), engine


@pytest.mark.parametrize(
    ("said", "grade"), [("7", 7.0), ("Grade: 8.5", 8.5), ("10/10", 10.0), ("11", None), ("good", None)]
)
def test_a_grade_is_a_number_on_the_scale_or_none(said: str, grade: float | None) -> None:
    context, _ = speaking(lambda request: said)
    with context:
        assert GradingJudge()(first="So.", second="So.", request="How?").grades == (grade, grade)


def test_two_grades_are_a_verdict_for_two_calls() -> None:
    context, engine = speaking(lambda request: "9" if "good answer" in str(request) else "2")
    with context:
        found = GradingJudge()(first="bad", second="a good answer", request="How?")
        assert (found.winner, found.grades) == ("second", (2.0, 9.0))
        assert GradingJudge()(first="bad", second="worse", request="How?").winner == "tie"
    assert engine.calls == 3


def test_the_last_trial_of_the_same_judge_for_the_same_purpose_counts() -> None:
    assert last_qualification("scripted", "helpfulness") is None
    form = {"judge": "scripted", "purpose": "helpfulness", "adapter": "turns", "words": 150}
    for qualified in (True, False):
        record_qualification({**form, "qualified": qualified}, "pairs")
    record_qualification({**form, "qualified": True}, "grades")
    record_qualification({**form, "qualified": True, "words": 40}, "pairs")
    found = last_qualification("scripted", "helpfulness")
    assert found
    assert found["qualified"] is False
    assert last_qualification("scripted", "authorship") is None
    assert last_qualification("scripted:delay=1", "helpfulness") is None


def test_bounds_look_at_the_longest_run_and_at_shares() -> None:
    scores = [Score(1.0, longest=3, overlap=0.1), Score(1.0, longest=9, overlap=0.3, copied=True)]
    texts = [Outcome(None, "", score) for score in scores]  # type: ignore[arg-type]
    assert exceeded(texts, {"longest": 8, "copied": 0.5, "overlap": 0.1}) == {
        "longest": 9,
        "overlap": pytest.approx(0.2),
    }
    assert exceeded(texts, {}) == exceeded([], {"longest": 0}) == {}


def test_no_interval_is_without_width_and_few_pairs_qualify_nobody() -> None:
    sure = widened(proportion([1.0] * 24, [str(n) for n in range(24)]))
    assert sure.low == pytest.approx(1 - 0.142, abs=0.01)
    none = [0.0] * 24
    users = [str(n) for n in range(24)]
    assert verdict(paired([1.0, 2.0] * 12, users), paired(none, users)) == "harm not excluded"
    many = [str(n) for n in range(60)]
    assert verdict(paired([1.0, 2.0] * 30, many), paired([0.0] * 60, many)) == "gain"


def test_a_later_look_asks_for_more_certainty_where_nobody_was_harmed() -> None:
    cases = [Case(str(n), f"u{n}") for n in range(36)]
    baseline, compiled = (Configuration.of({"n": n}) for n in (0, 1))

    def start(arm: Arm, instances: Any, **_: Any) -> Any:
        helped = [Outcome(i, "", Score(float(arm.name == COMPILED) * (1 + n % 2))) for n, i in enumerate(instances)]
        found = [*helped, *(Outcome(i, "", Score(0.0, harm=True)) for i in instances)]
        return lambda: found

    evaluator: Any = SimpleNamespace(start=start, ledger=Ledger())
    task_data: Any = SimpleNamespace(sealed=cases)
    arms = verdict_arms(baseline, compiled)
    found = [confirm(task_data, evaluator, arms, terms=Terms(test_count=looks)).verdict for looks in (1, 2)]
    assert found == ["gain", "harm not excluded"]
