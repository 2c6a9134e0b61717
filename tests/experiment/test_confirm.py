"""The confirmation: all arms in the air together, each with its own cost, and an end that leaves nothing under way."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Message, Request, Response, Usage

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.experiment.confirm import BASELINE, COMPILED, EQUAL, confirm
from hyperalign_dspy.lm.engine import messages_of, n_completions
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.local import LocalEngine
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import Answer, Arm, Context, Score, one_a_user
from tests.experiment.test_compile import CASES, Case

SEALED = CASES[:12]


class Bench:
    """An inference that all arms share, then drafts of which the first is kept; what an arm is worth is its score."""

    sealed = SEALED
    control_instances = one_a_user(SEALED)

    def module(self, configuration: Configuration) -> dict[str, Any]:
        return configuration.as_dict()

    def answer(self, module: dict[str, Any], instance: Case, *, context: Context = "own") -> Answer:
        dspy.settings.lm(f"infer {instance.instance_id}", seed=1)
        count = module.get("drafts", 1)
        # Who makes most drafts comes last to them, if nothing else puts it first.
        time.sleep(0.02 * (count - 1))
        for place in range(count):
            with n_completions(count - place):
                dspy.settings.lm(f"{module['worth']} for {instance.instance_id}", seed=7 + place)
        return Answer(str(module["worth"]))

    def score(self, answers: Any, instances: Any, *, sealed: bool) -> list[Score]:
        return [Score(float(a.text) + len(i.user_id) / 10) for a, i in zip(answers, instances, strict=True)]


class Slow(ScriptedEngine):
    """Takes as long as a function of the prompt says, and knows what it was asked."""

    def __init__(self, wait: Callable[[str], object]) -> None:
        super().__init__()
        self._wait, self.asked = wait, list[str]()

    def complete(self, request: Request) -> Response:
        said = messages_of(request)[-1]["content"]
        self.asked.append(said)
        self._wait(said)
        return super().complete(request)


def evaluator(engine: Any, concurrency: int = 4) -> Evaluator:
    ledger = Ledger()
    lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
    return Evaluator(Bench(), lm, ledger, concurrency)  # type: ignore[arg-type]


def arms(**drafts: int) -> list[Arm]:
    """A control and the three of a verdict, the first two of these of one configuration; two drafts but for some."""
    names = {"control": 5.0, BASELINE: 1.0, EQUAL: 1.0, COMPILED: 3.0}
    return [
        Arm(name, Configuration.of({"worth": worth, "drafts": drafts.get(name, 2)})) for name, worth in names.items()
    ]


def settled(made: Evaluator, given: list[Arm]) -> Any:
    with made:
        return confirm(made.task_data, made, given)


def test_no_arm_waits_for_the_slowest_answer_of_another() -> None:
    others = threading.Event()

    def wait(said: str) -> None:
        if "5.0 for 0/0" in said:
            assert others.wait(20)
        if "3.0 for 5/1" in said:
            others.set()

    found = settled(evaluator(Slow(wait)), arms())
    assert found.row("control").missing == found.row(COMPILED).missing == 0


def test_figures_and_costs_are_those_of_arms_that_come_one_by_one() -> None:
    def sleep(said: str) -> None:
        time.sleep(random.Random(said).random() / 100)

    one_by_one = settled(evaluator(ScriptedEngine(), 1), arms())
    together = settled(evaluator(Slow(sleep), 16), arms())
    for row, other in zip(one_by_one.rows, together.rows, strict=True):
        assert replace(row, cost=other.cost) == other
        # Its own drafts and, as every arm, the inferences.
        assert row.cost.calls == other.cost.calls == 3 * len(SEALED)
    assert together.verdict == one_by_one.verdict


def test_the_progress_names_every_arm() -> None:
    made, names = evaluator(ScriptedEngine()), Counter[str]()
    made.tick = lambda name: names.update([name])
    settled(made, arms())
    assert names == dict.fromkeys(["control", BASELINE, EQUAL, COMPILED], len(SEALED))


class Drafting(LocalEngine):
    """The embedded engine's way with drafts, without a model; counts how often each prompt was read."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"), "scripted")
        self.read: Counter[str] = Counter()

    def _ask(self, request: Request, count: int) -> list[Response]:
        self.read[messages_of(request)[-1]["content"]] += 1
        message = Message.assistant("yes")
        return [
            Response(id=None, model="scripted", message=message, finish_reason="stop", usage=Usage(1, 1))
            for _ in range(count)
        ]


@pytest.mark.parametrize("concurrency", [4, 64])
def test_an_engine_that_makes_drafts_together_reads_no_prompt_twice(concurrency: int) -> None:
    engine = Drafting()
    settled(evaluator(engine, concurrency), arms(baseline=1))
    assert len(engine.read) == 4 * len(SEALED)
    assert set(engine.read.values()) == {1}


def test_a_failing_arm_ends_it_with_nothing_under_way_and_all_that_was_paid_on_record() -> None:
    def wait(said: str) -> None:
        if "5.0 for" in said:
            raise ValueError("no voice")
        time.sleep(0 if "infer" in said else 0.05)

    made = evaluator(engine := Slow(wait), 2)
    with pytest.raises(TooManyFailures, match="no voice"):
        settled(made, arms(control=3))
    asked = len(engine.asked)
    assert asked == made.ledger.cost().calls + made.ledger.failures
    # Some of the arms that follow were under way; most were not begun.
    assert len([said for said in engine.asked if "3.0 for" in said]) < len(SEALED)
    time.sleep(0.1)
    assert len(engine.asked) == asked


def test_controls_answer_one_request_a_user_and_what_equals_another_arm_costs_nothing() -> None:
    given = [replace(arm, control=arm.name in ("control", BASELINE)) for arm in arms()]
    found = settled(evaluator(ScriptedEngine()), given)
    users = {case.user_id for case in SEALED}
    # The baseline is the same program as the one at equal drafts, so its line is as long.
    sizes = {row.name: row.gap.n_instances for row in found.rows}
    assert sizes == {"control": len(users), BASELINE: len(SEALED), EQUAL: len(SEALED), COMPILED: len(SEALED)}
    assert found.row("control").gap.n_users == len(users) < len(SEALED)
    gap, wins, answered = found.margins["control"]
    assert (gap.n_instances, wins.n_instances, answered.n_instances) == (len(users),) * 3
    assert found.verdict == "gain"


class Refusing(Bench):
    """The rival refuses where the first of a user's requests is asked, and loses there."""

    def score(self, answers: Any, instances: Any, *, sealed: bool) -> list[Score]:
        found = super().score(answers, instances, sealed=sealed)
        easy = [a.text == "1.0" and i.instance_id.endswith("/0") for a, i in zip(answers, instances, strict=True)]
        better = [a.text == "1.0" and not e for a, e in zip(answers, easy, strict=True)]
        return [
            replace(score, value=score.value + 9 * good, refused=refused)
            for score, refused, good in zip(found, easy, better, strict=True)
        ]


def test_wins_over_rivals_that_answer_stand_beside_those_over_all() -> None:
    made = evaluator(ScriptedEngine())
    made.task_data = Refusing()  # type: ignore[assignment]
    row = settled(made, arms()).row(COMPILED)
    refused = sum(case.instance_id.endswith("/0") for case in SEALED)
    assert row.wins.mean == pytest.approx(refused / len(SEALED), abs=0.01)
    assert (row.answered.mean, row.answered.n_instances) == (0.0, len(SEALED) - refused)
