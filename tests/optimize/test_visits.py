"""What is believed of configurations that have met different instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pytest

from hyperalign_dspy.optimize.loop import SearchConfig, search
from hyperalign_dspy.optimize.study import Study
from hyperalign_dspy.optimize.visits import Visits, make_blocks
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, Score

BASE, ONE, OTHER = (Configuration.of({"who": name}) for name in ("base", "one", "other"))


@dataclass(frozen=True)
class Case:
    instance_id: str
    user_id: str
    turn: int


CASES = [Case(f"{user}/{turn}", str(user), turn) for user in range(9) for turn in range(4)]


class Told:
    """Scores as a function says."""

    def __init__(self, score: Callable[[Configuration, Case], float]) -> None:
        self.score = score

    def start(self, arm: Arm, instances: Sequence[Any], *, sealed: bool, phase: str) -> Any:
        found = [Outcome(i, "", Score(self.score(arm.configuration, i))) for i in instances]
        return lambda: found


def visited(score: Callable[[Configuration, Case], float], **times: int) -> Visits:
    visits = Visits(Told(score), make_blocks(CASES, 9, 0, rounds=4), BASE)
    for configuration, count in zip((ONE, OTHER), times.values(), strict=True):
        for _ in range(count):
            visits.visit(configuration)
    return visits


def test_the_baselines_bad_luck_in_one_round_is_no_merit_of_who_met_only_that() -> None:
    """Both say the same; one was there only where the baseline failed."""
    visits = visited(lambda c, case: -5.0 if c == BASE and case.turn == 0 else 0.0, one=1, other=4)
    believed = {s.configuration: s.shrunk for s in visits.ranking()}
    assert visits.known(ONE) == 5.0
    assert visits.known(OTHER) == 1.25
    assert believed[OTHER] == pytest.approx(1.25, abs=0.1)
    # A fifth of it is recognised as luck: how much a block may move everybody is not known from so few.
    assert believed[ONE] < 4.2


def test_luck_that_all_share_is_not_believed_and_a_gain_is() -> None:
    rng = np.random.default_rng(0)
    noise = {(c, case.instance_id): rng.normal() for c in (BASE, ONE, OTHER) for case in CASES}
    level = {case.instance_id: 10 * rng.normal() for case in CASES}

    def score(gain: float) -> Callable[[Configuration, Case], float]:
        return lambda c, case: level[case.instance_id] + noise[c, case.instance_id] + gain * (c == OTHER)

    assert visited(score(2.0), one=4, other=4).winner() == OTHER
    assert visited(score(-9.0), one=0, other=4).winner() == BASE


class Names:
    """A space of three configurations."""

    def distributions(self) -> dict[str, Any]:
        return {"who": optuna.distributions.CategoricalDistribution(["base", "one", "other"])}

    def configuration(self, params: Any) -> Configuration:
        return Configuration.of(params)

    def params(self, changes: Any) -> dict[str, Any]:
        return {"who": "base", **changes}


@pytest.mark.parametrize("finalists", [0, 2])
def test_whoever_is_chosen_has_been_seen_on_every_block(finalists: int) -> None:
    """One is good where everybody is looked at first, and the other everywhere."""

    def score(configuration: Configuration, case: Case) -> float:
        return {BASE: 0.0, ONE: 6.0 if case.turn == 0 else -6.0, OTHER: 3.0}[configuration]

    visits = Visits(Told(score), make_blocks(CASES, 9, 0, rounds=4), BASE)
    start = [{"who": "one"}, {"who": "other"}]
    search(Study(None, Names(), "random", 0), visits, SearchConfig(visits=2, finalists=finalists, start=start))
    assert visits.winner() == (OTHER if finalists else ONE)
    assert len(visits.seen(visits.winner())) == (4 if finalists else 1)
