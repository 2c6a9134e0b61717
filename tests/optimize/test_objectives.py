"""Several objectives: what is measured beside the value, the Pareto set, and its points confirmed and frozen."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.errors import UnknownName, UsageError
from hyperalign_dspy.experiment.confirm import Terms
from hyperalign_dspy.experiment.sealed_counts import terms_of
from hyperalign_dspy.optimize.objectives import check_measures, exceeded, objective_deltas
from hyperalign_dspy.optimize.samplers import refuse_several
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, Score
from hyperalign_dspy.types import Cost
from tests.cli.test_main_job import SMALL, Inside, inside, rows, small

__all__ = ["inside", "small"]

USERS = tuple("abcdef")
NO = "I'm sorry, but I can't help with that."


@dataclass(frozen=True)
class Case:
    instance_id: str
    user_id: str


def text(score: Score | None, words: str = "Gladly.", **cost: Any) -> Outcome:
    return Outcome(Case("1", "a"), words, score, cost=Cost(**cost))


def test_every_measure_counts_what_it_says() -> None:
    found = [
        text(Score(1.0, longest=3, overlap=0.1), calls=2, input_tokens=80, output_tokens=20, seconds=1.0, money=0.02),
        text(Score(2.0, longest=9, overlap=0.3, copied=True), NO, calls=1, input_tokens=8, output_tokens=2, money=0.04),
        text(Score(1.0, harm=True), NO, calls=1, input_tokens=8, output_tokens=2, money=0.0),
        text(None, calls=99, input_tokens=9999),
    ]
    expected = {
        "longest": 9,
        "copied": 0.5,
        "overlap": pytest.approx(0.2),
        "refusals": 0.5,
        "harm": 1.0,
        "tokens": pytest.approx(40),
        "call_tokens": 30,
        "cost": pytest.approx(0.02),
        "latency": pytest.approx(1 / 3),
    }
    assert exceeded(found, dict.fromkeys(expected, -1.0)) == expected
    check_measures([], dict.fromkeys(expected, 0))


def test_what_nobody_knows_is_no_objective() -> None:
    plain = [text(Score(1.0), money=None)]
    for name in ("harm", "cost"):
        with pytest.raises(UsageError, match=name):
            objective_deltas([name], plain, plain)
    silent = [text(Score(1.0), calls=1, input_tokens=8)]
    told = [*silent, text(Score(1.0), calls=1, input_tokens=8, output_tokens=2)]
    assert exceeded(told, {"tokens": 9, "call_tokens": 10}) == {"tokens": 10}
    for name in ("tokens", "call_tokens"):
        with pytest.raises(UsageError, match="reports tokens"):
            exceeded(silent, {name: 100})
    with pytest.raises(UsageError, match="harm"):
        exceeded(plain, {"harm": 0.1})
    with pytest.raises(UsageError, match="twice"):
        check_measures(["tokens", "tokens"], {})
    with pytest.raises(UsageError, match="refusals"):
        check_measures([], {"refusals": float("nan")})
    assert objective_deltas(["tokens", "latency"], [text(Score(1.0), output_tokens=5)], plain) == (5, 0)
    with pytest.raises(UnknownName, match="tokns"):
        check_measures(["tokns"], {})


def test_a_sampler_for_one_objective_says_so() -> None:
    with pytest.raises(UsageError, match="one objective"):
        refuse_several("knowledge")


def test_further_looks_ask_for_more_certainty_and_err_together_in_at_most_a_twentieth() -> None:
    assert [Terms(test_count=looks).level for looks in (1, 2, 5)] == pytest.approx([0.95, 0.975, 0.9975])
    assert sum(1 - Terms(test_count=looks).level for looks in range(2, 1000)) < 0.05


class Given:
    """Answers with given values and tokens, the same for every instance."""

    def __init__(self, worth: dict[Configuration, tuple[float, int]]) -> None:
        self.worth = worth

    def start(self, arm: Arm, instances: Sequence[Any], *, sealed: bool, phase: str) -> Any:
        value, tokens = self.worth[arm.configuration]
        cost = Cost(calls=1, input_tokens=1, output_tokens=tokens)
        found = [Outcome(i, "", Score(value), cost=cost) for i in instances]
        return lambda: found


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 5)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_else_beats(points: list[tuple[int, int]]) -> None:
    baseline = Configuration.of({"n": -1})
    worth = {baseline: (0.0, 2), **{Configuration.of({"n": n}): (float(v), t) for n, (v, t) in enumerate(points)}}
    visits = Visits(Given(worth), [[Case(u, u) for u in USERS]], baseline, {"tokens": 4}, ["tokens"])
    for configuration in worth:
        if configuration != baseline:
            visits.visit(configuration)
    front = visits.front()
    believed = {s.configuration: (s.shrunk, -s.rises["tokens"]) for s in visits.ranking()}
    allowed = {c: point for c, point in believed.items() if worth[c][1] <= 3} | {baseline: (0.0, 0.0)}

    def beaten(point: tuple[float, float]) -> bool:
        return any(o != point and o[0] >= point[0] and o[1] >= point[1] for o in allowed.values())

    assert {s.configuration for s in front} == {c for c, p in allowed.items() if c != baseline and not beaten(p)}
    assert [s.shrunk for s in front] == sorted((s.shrunk for s in front), reverse=True)


def test_points_are_shown_confirmed_and_frozen(small: Path, inside: Inside) -> None:
    words = (*SMALL, "--objective", "tokens")
    result = json.loads(inside(*words, "--json", cwd=small).stdout)
    numbers = [point["point"] for point in result["pareto"]]
    assert numbers == [*range(1, len(numbers)), 0]
    name = result["pareto"][-1].pop("name")
    assert result["pareto"][-1] == {
        "point": 0,
        "changes": {},
        "objectives": {"value": 0.0, "tokens": 0.0},
        "chosen": not result["changes"],
    }
    again = json.loads(inside(*words, "--json", cwd=small).stdout)["pareto"]
    assert again == [*result["pareto"][:-1], {**result["pareto"][-1], "name": name}]
    assert "Pareto set" in inside("runs", "show", result["run"], cwd=small).stdout
    asked = next(p for p in result["pareto"] if p["point"] and not p["chosen"])
    freeze = ("runs", "freeze", result["run"], "--pareto-index", str(asked["point"]))
    before = len(rows(small))
    (small / "programs").mkdir()
    reply = inside(*freeze, "--json", cwd=small)
    paid = len(rows(small))
    point = json.loads(
        (small / ".hyperalign/runs" / result["run"] / "points" / asked["name"] / "result.json").read_text()
    )
    assert (point["changes"], point["confirmation"]["test_count"], paid > before) == (asked["changes"], 2, True)
    frozen = load_frozen(json.loads(reply.stdout)["path"])
    assert frozen.manifest["measured"]["test_count"] == 2
    assert frozen.manifest["configuration"].items() >= asked["changes"].items()
    # It is confirmed, so that nothing is paid again, and no cap is too low.
    again = inside(*freeze, "--max", "calls=1", cwd=small)
    assert (again.returncode, len(rows(small))) == (0, paid), again.stderr
    assert again.stderr == ""
    assert re.search(r"compiled .*\n(.*\n)*Frozen \(compiled\): ", again.stdout)
    missing = inside("runs", "freeze", result["run"], "--pareto-index", "99", cwd=small)
    assert (missing.returncode, "numbered from 1" in missing.stderr) == (2, True)
    alone = inside("runs", "freeze", result["run"], "--max", "calls=1", cwd=small)
    assert (alone.returncode, "--pareto-index" in alone.stderr) == (2, True)


@pytest.mark.evidence
def test_caps_that_do_not_cover_a_points_confirmation_are_refused_before_it(small: Path, inside: Inside) -> None:
    result = json.loads(inside(*SMALL, "--objective", "tokens", "--json", cwd=small).stdout)
    asked = next(p["point"] for p in result["pareto"] if p["point"] and not p["chosen"])
    (small / "programs").mkdir()
    freeze = ("runs", "freeze", result["run"], "--pareto-index", str(asked))
    before = rows(small)
    caps: tuple[str, ...] = ("--max", "cost=1", "--max", "time=2h")
    least = {}
    for kind in ("calls", "tokens"):
        refused = inside(*freeze, *caps, "--max", f"{kind}={len(before)}", cwd=small)
        assert (refused.returncode, "are used, and this confirmation can take" in refused.stderr) == (2, True)
        assert len(rows(small)) == len(before)
        least[kind] = int(re.search(rf"at least --max {kind}=(\d+): that covers", refused.stderr)[1])  # type: ignore[index]
        caps += ("--max", f"{kind}={least[kind]}")
    assert not list(small.glob(".hyperalign/runs/*/points"))
    reply = inside(*freeze, *caps, "--json", cwd=small)
    assert reply.returncode == 0, reply.stderr
    assert len(before) < len(rows(small)) <= least["calls"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows(small)) <= least["tokens"]
    # They were for this once: the run's own command is what it was.
    plan = next(small.glob(".hyperalign/runs/*/plan.json"))
    assert "--max" not in json.loads(plan.read_text())["command"]


def test_a_run_with_one_objective_has_no_set(small: Path, inside: Inside) -> None:
    result = json.loads(inside(*SMALL, "--visits", "1", "--json", cwd=small).stdout)
    assert result["pareto"] == []
    reply = inside("runs", "freeze", result["run"], "--pareto-index", "1", cwd=small)
    assert (reply.returncode, "one objective" in reply.stderr) == (2, True)
    refused = inside(*SMALL, "--optimizer", "copro", "--objective", "tokens", cwd=small)
    assert (refused.returncode, "--optimizer" in refused.stderr) == (2, True)


def test_a_look_counts_once_and_another_configuration_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERALIGN_RUNS", str(tmp_path))
    run, (one, other) = Run(tmp_path / "run"), (Configuration.of({"n": n}) for n in (1, 2))
    task_data: Any = SimpleNamespace(facts={"corpus_digest": "c"}, sealed=[SimpleNamespace(user_id="u")])
    found = [terms_of(run, task_data, chosen, None, {}) for chosen in (one, one, other, one, other)]
    assert [terms.test_count for terms in found] == [1, 1, 2, 1, 2]
    assert [terms.judged for terms in found] == [[0], [0], [1], [0], [1]]
