"""`hyperalign worker` and `--storage` from the command line: what is refused, and what is written down."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from hyperalign_dspy.cli.common import _storage
from hyperalign_dspy.cli.worker import _interruptible
from hyperalign_dspy.errors import MissingStorage
from hyperalign_dspy.search.record.runs import Run
from hyperalign_dspy.search.sampling.space import Space
from hyperalign_dspy.search.sampling.study import Study
from hyperalign_dspy.search.workers.board import Board
from hyperalign_dspy.search.workers.storages import Journal, Place, open_storage
from hyperalign_dspy.shelf.specs import load_program, load_recipe
from tests.cli.test_main_job import SMALL, Inside, inside, small

__all__ = ["inside", "small"]


def test_a_run_that_is_not_here_is_refused(inside: Inside, tmp_path: Path) -> None:
    reply = inside("worker", "nothing", cwd=tmp_path)
    assert (reply.returncode, reply.stdout) == (2, "")
    assert "There is no run called 'nothing'" in reply.stderr


def test_a_run_that_is_not_in_the_storage_is_refused(inside: Inside, tmp_path: Path) -> None:
    reply = inside("worker", "nothing", "--storage", "journal:shared.journal", cwd=tmp_path)
    assert reply.returncode == 2
    assert "There is no run in this storage" in reply.stderr


def test_a_run_that_shares_no_calls_is_refused(inside: Inside, tmp_path: Path) -> None:
    run = tmp_path / ".hyperalign/runs/authorship-1"
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps({"program": "authorship"}))
    reply = inside("worker", "authorship", cwd=tmp_path)
    assert reply.returncode == 2
    assert "authorship-1 shares no calls here" in reply.stderr


@pytest.mark.parametrize("storage", ["mysql://me:secret@db/x", "postgresql://me:se/cret@db/x", "grpc://nowhere"])
def test_a_storage_that_cannot_be_is_refused_without_its_credentials(
    inside: Inside, tmp_path: Path, storage: str
) -> None:
    reply = inside("worker", "nothing", "--storage", storage, cwd=tmp_path)
    assert reply.returncode == 2
    assert "cret" not in reply.stderr
    assert "Traceback" not in reply.stderr


@pytest.mark.parametrize("left", [True, False])
def test_who_removes_a_run_hears_what_its_storage_still_holds(inside: Inside, tmp_path: Path, left: bool) -> None:
    journal = tmp_path / "shared.journal"
    run = tmp_path / ".hyperalign/runs/authorship-1"
    run.mkdir(parents=True)
    command = ["compile", "authorship", "--storage", f"journal:{journal}"]
    (run / "plan.json").write_text(json.dumps({"program": "authorship", "command": command}))
    board = Board(f"journal:{journal}", open_storage(f"journal:{journal}"), "authorship-1")
    if not left:
        board.remove()
    reply = inside("runs", "remove", "authorship", cwd=tmp_path)
    assert reply.returncode == 0
    assert (f"still lie in {journal}" in reply.stderr) == left


def test_a_run_that_has_ended_takes_no_workers(inside: Inside, tmp_path: Path) -> None:
    run = tmp_path / ".hyperalign/runs/authorship-1"
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps({"program": "authorship"}))
    (run / "result.json").write_text(json.dumps({"schema": "hyperalign/result/1"}))
    reply = inside("worker", "authorship", cwd=tmp_path)
    assert reply.returncode == 2
    assert "authorship-1 has ended" in reply.stderr


def test_an_optimizer_takes_no_workers(inside: Inside, tmp_path: Path) -> None:
    words = ("compile", "--model", "scripted", "--optimizer", "miprov2", "--storage", "shared.journal", "--plan")
    reply = inside(*words, cwd=tmp_path)
    assert reply.returncode == 2
    assert "--storage is for our own search" in reply.stderr


def test_an_optimizer_leaves_a_storage_of_the_environment_alone(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERALIGN_STORAGE", "postgresql://me:secret@db/x")
    reply = inside("compile", "--model", "scripted", "--optimizer", "miprov2", "--plan", cwd=tmp_path)
    assert reply.returncode == 0
    assert "HYPERALIGN_STORAGE is not used" in reply.stderr


def test_a_full_disk_is_not_blamed_on_the_storage(inside: Inside, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Run, name: str, row: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path(name)))

    monkeypatch.setattr(Run, "append", full)
    reply = inside(*SMALL, "--storage", "shared.journal", cwd=small)
    assert reply.returncode == 3
    assert "visits.jsonl: No space left on device" in reply.stderr
    assert "storage" not in reply.stderr


def test_a_study_whose_storage_fails_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"journal:{tmp_path / 'shared.journal'}"
    space = Space(load_program("authorship"), load_recipe("quick", "authorship"))
    study = Study(Place(open_storage(url), "run-1", url), space, "random", 0)
    number, _ = study.ask()

    def full(self: Journal, logs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "append_logs", full)
    for call in (study.ask, lambda: study.tell(number, [0.0], 0, 1), lambda: study.drop(number)):
        with pytest.raises(MissingStorage, match=r"shared\.journal cannot be used: .*No space left"):
            call()


def test_who_interrupts_a_worker_hears_for_how_long_it_stays() -> None:
    said: list[str] = []
    left: list[bool] = []
    worker = SimpleNamespace(under_way=3, leave=lambda: left.append(True))
    with _interruptible(worker, SimpleNamespace(say=said.append)):
        signal.raise_signal(signal.SIGINT)
    assert left
    assert "3 calls are under way and have 10 s to be answered" in said[0]


def test_the_command_that_is_written_down_holds_no_credentials() -> None:
    assert _storage("postgresql://me:secret@db:5432/x?password=other") == ["--storage", "postgresql://db:5432/x"]
    assert _storage("") == []
