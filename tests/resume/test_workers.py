"""Workers speed a run up and change nothing: whoever is killed, it ends as it would have alone, and no recorded call is
paid twice."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from hyperalign_dspy.lm.connect import concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.search.together import Pool
from hyperalign_dspy.search.workers.board import Board
from hyperalign_dspy.search.workers.lead import Lead
from hyperalign_dspy.search.workers.storages import open_storage
from tests.resume.project import Calm, Project, small_project
from tests.resume.server import Server

DELAY = 0.05  # seconds an answer takes, so that there is something to share
JOINED = " joined: "


def board_of(project: Project) -> list[Path]:
    return list(project.folder.glob(".hyperalign/runs/*/calls.journal"))


def until(true: object, process: ForkServerProcess, seconds: float = 120.0) -> bool:
    """Wait until ``true()``; False if the process ends first."""
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        if not process.is_alive() or time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def join(project: Project, lead: ForkServerProcess, count: int) -> list[ForkServerProcess]:
    """So many workers, as soon as there is something to join."""
    assert until(lambda: board_of(project), lead), project.said
    time.sleep(0.1)
    return [project.worker(str(number)) for number in range(count)]


def helped(project: Project, number: int) -> str:
    return (project.folder / f"stderr-{number}").read_text()


def check(project: Project, calm: Calm) -> int:
    """The end is the lonely run's; what was asked again is what a failed call in the record stands for; how often."""
    assert project.result() == calm.result
    assert set(project.server.answered) == set(calm.answered)
    kept = [row["key"] for row in project.recorded if "failed" not in row]
    assert len(kept) == len(set(kept)) == len(calm.answered)
    return project.server.calls - calm.answered.total()


def lost(project: Project) -> int:
    return sum(row["calls"] for row in project.recorded if "failed" in row)


def test_one_of_three_workers_is_killed_and_the_run_ends_as_if_alone(
    tmp_path: Path, calm: Calm, forks: ForkServerContext
) -> None:
    with Server(delay=DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start()
        workers = join(project, lead, 3)
        assert until(lambda: project.said.count(JOINED) == 3, lead), project.said
        assert server.wait_for(server.requests + 20, lead.is_alive)
        workers[0].kill()
        for process in (lead, *workers):
            process.join()
    assert lead.exitcode == 0, project.said
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0], helped(project, 1)
    assert check(project, calm) <= lost(project) <= 8
    assert "has ended" in (project.folder / "stdout-1").read_text()


@pytest.mark.evidence
def test_a_worker_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, calm: Calm, forks: ForkServerContext
) -> None:
    with Server(delay=DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start()
        (worker,) = join(project, lead, 1)
        assert until(lambda: JOINED in project.said, lead), project.said
        assert server.wait_for(server.requests + 10, lead.is_alive)
        assert worker.pid
        os.kill(worker.pid, signal.SIGINT)
        worker.join()
        lead.join()
    assert (lead.exitcode, worker.exitcode) == (0, 130), project.said + helped(project, 0)
    assert (check(project, calm), lost(project)) == (0, 0)
    assert "Leaving; " in helped(project, 0)


@pytest.mark.evidence
def test_a_lead_that_is_killed_goes_on_with_what_workers_answered_meanwhile(
    tmp_path: Path, calm: Calm, forks: ForkServerContext
) -> None:
    with Server(delay=5 * DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start()
        workers = join(project, lead, 2)
        assert until(lambda: project.said.count(JOINED) == 2, lead), project.said
        assert server.wait_for(server.requests + 20, lead.is_alive)
        lead.kill()
        lead.join()
        assert project.compile() == 0, project.said
        for worker in workers:
            worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0], helped(project, 0)
    # What the lead itself had in flight is lost with it; what workers had in flight is not.
    assert check(project, calm) <= 8
    assert lost(project) == 0


@pytest.mark.evidence
@pytest.mark.parametrize("seed", range(10))
def test_workers_come_and_die_at_any_moment(tmp_path: Path, calm: Calm, forks: ForkServerContext, seed: int) -> None:
    chance = random.Random(seed)
    with Server(delay=DELAY * chance.choice([0.5, 1, 4])) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start()
        workers = join(project, lead, 3)
        kills = 0
        while lead.is_alive():
            time.sleep(chance.uniform(0.0, 2.0))
            victim = chance.randrange(3)
            if chance.random() < 0.5 and workers[victim].is_alive() and lead.is_alive():
                workers[victim].kill()
                workers[victim] = project.worker(f"{victim}-{kills}")
                kills += 1
        for process in (lead, *workers):
            process.join()
    assert lead.exitcode == 0, project.said
    again = check(project, calm)
    assert again <= lost(project) <= 8 * kills
    print(f"\nseed {seed}: {kills} workers killed, {again} calls asked again, {lost(project)} lost")


def seconds_for(calls: int, count: int, folder: Path, forks: ForkServerContext) -> float:
    """How long so many calls of 0.2 s take that wait for nothing, with so many workers beside a lead of eight seats."""
    url = f"journal:{folder / 'calls.journal'}"
    with Server(delay=0.2) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        project = Project(folder, server, forks)
        with Ledger() as ledger, Lead(Board(url, open_storage(url), "authorship"), "openai/small", print) as lead:
            lm = connect("openai/small", ledger=ledger, max_tokens=20, around=lead.engine)
            workers = [project.worker(str(number), "--storage", url) for number in range(count)]
            while len(lead._workers) < count:
                time.sleep(0.05)
            with Pool(lm, concurrency_of(lm), lead.places) as pool:
                # Everybody's first call takes longer.
                for warm in pool.submit(lambda n: lm(f"warm {n}"), range(8 * (count + 1)), lambda: None):
                    assert isinstance(warm.result(), list)
                start = time.monotonic()
                for future in pool.submit(lambda n: lm(f"question {n}"), range(calls), lambda: None):
                    assert isinstance(future.result(), list)
                seconds = time.monotonic() - start
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * count
        assert server.calls == len(server.answered) == calls + 8 * (count + 1)
    return seconds


@pytest.mark.evidence
def test_what_workers_are_worth(tmp_path: Path, forks: ForkServerContext) -> None:
    times = {}
    for count in (0, 1, 2, 3):
        (tmp_path / f"{count}").mkdir()
        times[count] = seconds_for(320, count, tmp_path / f"{count}", forks)
        print(
            f"\n{count} workers: 320 calls of 0.2 s in {times[count]:.1f} s (at best {8 / (count + 1):.1f}), "
            f"{times[0] / times[count]:.2f} times as fast as alone"
        )
    assert times[3] < times[0] / 1.5
