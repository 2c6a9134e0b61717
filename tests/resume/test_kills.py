"""A run that is killed, however often and whenever, ends as if it had not been, and loses what was in flight alone."""

from __future__ import annotations

import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY
from tests.resume.project import Calm, Project, small_project
from tests.resume.server import Server

KILLS = 50
DELAY = 0.02  # seconds an answer takes, so that some are under way at every moment


def killed(project: Project, chance: random.Random) -> bool:
    """Compile, and kill it at some moment; False if it was done before."""
    process = project.start()
    if chance.random() < 0.2:
        # Anywhere: while it starts, answers from its record, scores or freezes.
        process.join(chance.uniform(0.0, 6.0))
    else:
        more = project.server.requests + chance.randint(1, 60)
        if project.server.wait_for(more, process.is_alive):
            time.sleep(chance.uniform(0.0, 2 * DELAY))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), project.said
    return process.exitcode != 0


def campaign(project: Project, chance: random.Random, most: int) -> int:
    """Give one command again and again until it is done, with so many kills at most; how many there were."""
    for kills in range(most):
        if not killed(project, chance):
            return kills
    assert project.compile() == 0, project.said
    return most


def check(project: Project, calm: Calm, kills: int) -> int:
    """The end is the undisturbed run's, and only what was in flight at a kill was asked for again; how often."""
    assert project.result() == calm.result
    assert set(project.server.answered) == set(calm.answered)
    assert len(project.recorded) == len(calm.answered)
    again = project.server.calls - calm.answered.total()
    assert again <= kills * REMOTE_CONCURRENCY
    return again


@pytest.mark.evidence
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, calm: Calm, forks: ForkServerContext) -> None:
    with Server(delay=DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        process = project.start()
        assert server.wait_for(calm.answered.total() // 2, process.is_alive)
        process.kill()
        process.join()
        assert 0.3 < len(project.recorded) / calm.answered.total() < 1
        assert project.compile() == 0, project.said
        check(project, calm, 1)


@pytest.mark.evidence
def test_fifty_kills_at_any_moment_change_nothing(tmp_path: Path, calm: Calm, forks: ForkServerContext) -> None:
    chance = random.Random(0)
    kills = runs = again = calls = 0
    start = time.monotonic()
    while kills < KILLS:
        runs += 1
        with Server(delay=DELAY) as server:
            project = Project(small_project(tmp_path / f"{runs}"), server, forks)
            landed = campaign(project, chance, KILLS - kills)
            again += check(project, calm, landed)
            kills, calls = kills + landed, calls + server.calls
    whole = calm.answered.total()
    print(
        f"\n{kills} kills in {runs} runs of {whole} calls: {calls} calls, {again} of them again; "
        f"at most {kills * REMOTE_CONCURRENCY} could be in flight. {time.monotonic() - start:.0f} s"
    )
