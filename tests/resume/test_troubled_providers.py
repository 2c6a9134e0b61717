"""Providers that refuse, fail and drop: a run slows down, loses nothing, and ends or says why."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.resume.project import Calm, Project, small_project
from tests.resume.server import Mood, Server, Trouble


def storm(seconds_each: int) -> Mood:
    """Every third request is refused; of so many refusals one names a second, the others none."""
    return lambda n: Trouble(429, "0" if n % (3 * seconds_each) else "1") if n % 3 == 0 else None


def weather(tmp_path: Path, forks: ForkServerContext, calm: Calm, mood: Mood) -> tuple[Project, Server]:
    """A whole compile in that mood, which ends as the undisturbed one: nothing is lost, nothing is answered twice."""
    with Server(mood) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        assert project.compile() == 0, project.said
    assert project.result() == calm.result
    assert server.answered == calm.answered
    return project, server


@pytest.mark.evidence
@pytest.mark.parametrize("each", [1, 30])
def test_a_storm_of_refusals_slows_a_run_down_and_loses_nothing(
    tmp_path: Path, calm: Calm, forks: ForkServerContext, each: int
) -> None:
    project, server = weather(tmp_path, forks, calm, storm(each))
    assert server.requests - server.calls == server.requests // 3
    assert not [row for row in project.recorded if "failed" in row]
    # One line a minute, however many are refused.
    assert 1 <= project.said.count("openai is at its rate limit: waiting 1 s") <= 3


@pytest.mark.evidence
def test_dropped_connections_and_server_errors_are_failed_calls_that_are_tried_again(
    tmp_path: Path, calm: Calm, forks: ForkServerContext
) -> None:
    troubles = {0: Trouble(drop=True), 11: Trouble(500)}
    project, server = weather(tmp_path, forks, calm, lambda n: troubles.get(n % 22))
    failed = [row for row in project.recorded if "failed" in row]
    assert len(failed) == server.requests - server.calls > 5
    assert len(project.recorded) - len(failed) == calm.answered.total()


@pytest.mark.evidence
def test_a_provider_that_is_down_ends_the_run_and_is_named(tmp_path: Path, forks: ForkServerContext) -> None:
    with Server(lambda n: Trouble(drop=True)) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        assert project.compile() == 5
    assert "Connection error" in project.said
    assert "Traceback" not in project.said
    assert len(project.recorded) == server.requests


def test_a_cap_on_time_ends_a_wait(tmp_path: Path, forks: ForkServerContext) -> None:
    # From the 41st request on the provider wants a pause that nobody has time for.
    with Server(lambda n: Trouble(429, "600") if n > 40 else None) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        assert project.compile("--max", "time=5m") == 4
    assert "at its rate limit for" in project.said
    assert "--max time=AMOUNT" in project.said
    assert len(project.recorded) == server.calls == 40
