"""Runs that are shared over PostgreSQL and over Optuna's proxy, by processes that share no folder but the storage."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from hyperalign_dspy.search.workers.board import find_board
from hyperalign_dspy.search.workers.storages import open_storage
from tests.resume.databases import PASSWORD, QUOTED, USER, Postgres, proxy
from tests.resume.project import Calm, Project, small_project
from tests.resume.server import Server
from tests.resume.test_workers import DELAY, JOINED, check, lost, until

pytestmark = pytest.mark.evidence
SECRETS = (PASSWORD, QUOTED, USER)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    pytest.importorskip("psycopg")
    # Debian's user for it must be able to walk there.
    folder = Path("/tmp") / f"hyperalign-{tmp_path_factory.mktemp('postgres').parent.name}-{id(object())}"
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=["postgresql", "grpc"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "postgresql":
            yield request.getfixturevalue("postgres").url
        else:
            pytest.importorskip("grpc")
            yield stack.enter_context(proxy(tmp_path))


def words_in(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_one_of_three_workers_elsewhere_is_killed_and_the_run_ends_as_if_alone(
    tmp_path: Path, calm: Calm, forks: ForkServerContext, url: str
) -> None:
    with Server(delay=4 * DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        (tmp_path / "elsewhere").mkdir()
        other = Project(tmp_path / "elsewhere", server, forks)
        lead = project.start("--storage", url)
        assert until(lambda: "\npilot" in project.said, lead, 60), project.said
        workers = [other.worker(str(number), "--storage", url) for number in range(3)]
        assert until(lambda: project.said.count(JOINED) == 3, lead, 60), project.said + words_in(other.folder)
        assert server.wait_for(server.requests + 20, lead.is_alive)
        workers[0].kill()
        for process in (lead, *workers):
            process.join()
    assert lead.exitcode == 0, project.said
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0, 0], words_in(other.folder)
    assert check(project, calm) <= lost(project) <= 8
    # Nobody's texts stay behind, and no credential went anywhere.
    names = [study.study_name for study in open_storage(url).get_all_studies()]
    assert [name for name in names if name.startswith("authorship-small")] == [
        next(project.folder.glob(".hyperalign/runs/*/plan.json")).parent.name
    ]
    said = words_in(tmp_path / "project") + words_in(other.folder)
    assert not [secret for secret in SECRETS if secret in said]


def test_a_run_goes_on_by_its_own_command_with_the_credentials_from_the_environment(
    tmp_path: Path, calm: Calm, forks: ForkServerContext, postgres: Postgres
) -> None:
    with Server(delay=DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start("--storage", postgres.url)
        assert server.wait_for(30, lead.is_alive), project.said
        lead.kill()
        lead.join()
        without = project.type("-without", "runs", "resume", "authorship")
        without.join()
        given = Project(project.folder, server, forks, {"HYPERALIGN_STORAGE": postgres.url})
        resumed = given.type("", "runs", "resume", "authorship")
        resumed.join()
    said = (project.folder / "stderr-without").read_text()
    assert (without.exitcode, resumed.exitcode) == (3, 0), said + project.said
    assert "cannot be used" in said
    assert "Traceback" not in said + project.said
    check(project, calm)
    assert not [secret for secret in SECRETS if secret in words_in(project.folder)]


def test_a_database_that_goes_away_ends_the_run_and_the_same_command_goes_on(
    tmp_path: Path, calm: Calm, forks: ForkServerContext, postgres: Postgres
) -> None:
    with Server(delay=4 * DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        lead = project.start("--storage", postgres.url)
        assert until(lambda: "\npilot" in project.said, lead, 60), project.said
        worker = project.worker("0", "--storage", postgres.url)
        assert until(lambda: JOINED in project.said, lead, 60), project.said
        postgres.stop()
        lead.join()
        worker.join()
        said = project.said + (project.folder / "stderr-0").read_text()
        postgres.start()
        assert (lead.exitcode, worker.exitcode) == (3, 3), said
        assert project.compile("--storage", postgres.url) == 0, project.said
    check(project, calm)
    assert "Traceback" not in said
    assert not [secret for secret in SECRETS if secret in words_in(project.folder)]


def test_a_second_lead_is_refused(tmp_path: Path, forks: ForkServerContext, postgres: Postgres) -> None:
    with Server(delay=4 * DELAY) as server:
        project = Project(small_project(tmp_path / "project"), server, forks)
        other = Project(small_project(tmp_path / "other"), server, forks)
        lead = project.start("--storage", postgres.url)
        assert until(lambda: "\npilot" in project.said, lead, 60), project.said
        assert other.compile("--storage", postgres.url) == 2
        lead.join()
    assert lead.exitcode == 0, project.said
    assert "is in use by another process" in other.said


def test_a_wrong_password_is_named_and_not_shown(postgres: Postgres) -> None:
    from hyperalign_dspy.errors import MissingStorage

    with pytest.raises(MissingStorage) as caught:
        find_board(postgres.url.replace(QUOTED, "gue%21ss"), "authorship")
    assert "password authentication failed" in str(caught.value)
    assert not [secret for secret in ("gue%21ss", "gue!ss", USER) if secret in str(caught.value)]
