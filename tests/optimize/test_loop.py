"""Visits in flight together: how many, and decisions that do not depend on who is slow."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import dspy
import optuna
import pytest

from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.optimize.loop import SearchConfig, max_in_flight, search
from hyperalign_dspy.optimize.study import Study
from hyperalign_dspy.optimize.visits import Visits, make_blocks
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Evaluator
from tests.experiment.test_compile import CASES, FewWorths, ToyBench, worth


@pytest.mark.parametrize(
    ("concurrency", "block", "visits", "lag"),
    [
        # The embedded engine, with the blocks of the shipped recipes.
        (4, 8, 30, 1),
        (4, 14, 30, 1),
        (4, 15, 14, 1),
        # A server.
        (8, 8, 30, 2),
        (8, 14, 30, 2),
        (8, 15, 14, 2),
        (8, 8, 6, 2),
        (64, 8, 300, 16),
        # A decision ought to know something.
        (8, 8, 5, 1),
        (64, 8, 30, 10),
    ],
)
def test_visits_overlap_where_there_are_places_for_them(concurrency: int, block: int, visits: int, lag: int) -> None:
    assert max_in_flight(concurrency, block, visits) == lag


def test_a_run_keeps_the_number_that_it_began_with(tmp_path: Path) -> None:
    assert [Run(tmp_path).once("lag", number) for number in (2, 5)] == [2, 2]


class Worths(FewWorths):
    """Many configurations, none of which fails."""

    def distributions(self) -> dict[str, Any]:
        return {"worth": optuna.distributions.CategoricalDistribution([float(n) for n in range(2, 9)])}


def walk(lag: int, seed: int) -> tuple[list[tuple[str, Configuration]], int]:
    """A search against a model whose answers take times that the seed draws: what was begun, and the most calls that
    were in flight together.
    """
    flying, most, lock = 0, 0, threading.Lock()

    def answer(request: Any) -> str:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(random.Random(f"{seed}{request.messages[-1]}").random() / 10)
        with lock:
            flying -= 1
        return "yes"

    lm = dspy.LM("m", engine=(ledger := Ledger()).wrap(ScriptedEngine(answer), "m"), cache=False, num_retries=0)
    with Evaluator(ToyBench(), lm, ledger, 64) as made:  # type: ignore[arg-type]
        visits = Visits(made, make_blocks(CASES, 6, 0), worth(1.0))
        begun = list[tuple[str, Configuration]]()
        config = SearchConfig(
            visits=9,
            finalists=0,
            max_in_flight=lag,
            begins=lambda phase, configuration, blocks: begun.append((phase, configuration)),
        )
        search(Study(None, Worths(), "random", 0), visits, config)
    return begun, most


@pytest.mark.parametrize("lag", [1, 3])
def test_visits_are_in_flight_together_and_do_not_depend_on_who_is_slow(lag: int) -> None:
    first, *others = [walk(lag, seed) for seed in range(3)]
    assert [begun for begun, _ in others] == [first[0]] * 2
    # A block has twelve instances, and the baseline may be asked the same.
    assert (first[1] > 24) is (lag > 1)
