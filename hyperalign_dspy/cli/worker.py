"""`hyperalign worker`: more hands for a run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from hyperalign_dspy.cli.common import concurrency_option, emit, json_option, quiet, ready, storage_option
from hyperalign_dspy.cli.progress import display_option, following
from hyperalign_dspy.errors import UsageError


@click.command("worker")
@click.argument("run")
@storage_option
@concurrency_option
@display_option
@json_option
def worker_command(run: str, storage: str, concurrency: int | None, display: str | None, as_json: bool) -> None:
    """Make calls of a RUN that another process leads, until it ends.

    On the same machine RUN is enough; elsewhere give the --storage that `compile` was given. A worker needs the model
    and nothing else of the run: program, corpus and budget stay with who leads. Ctrl-C leaves.
    """
    quiet()
    from hyperalign_dspy.search.workers.worker import Worker

    with following(display) as watcher:
        board = _board(run, storage)
        if model := board.model():
            ready(model, watcher)
        worker = Worker(board, watcher, concurrency)
        watcher.say(f"Joined {board.run_id} as {worker.name}: {worker.slots} calls at a time.")
        with _interruptible(worker, watcher):
            helped = worker.run()
        did = f"{helped.calls} calls made here, {helped.failed} failed, {helped.seconds:.0f} s."
        if helped.left:
            watcher.say(f"Left {helped.run}: {did}")
            raise KeyboardInterrupt
    text = f"{helped.run} has ended: {did}"
    emit({"schema": "hyperalign/worker/1", **asdict(helped)}, text, as_json=as_json)


def _board(run: str, storage: str) -> Any:
    from hyperalign_dspy.search.record.runs import BOARD, find_run
    from hyperalign_dspy.search.workers.board import Board, find_board
    from hyperalign_dspy.search.workers.storages import open_storage, whole

    if storage:
        return find_board(whole(storage), run)
    found = find_run(run)
    path = found.path(BOARD)
    if not path.is_file() and found.result:
        raise UsageError(f"{found.run_id} has ended.", fix=f"See it: `hyperalign runs show {found.run_id}`.")
    if not path.is_file():
        raise UsageError(
            f"{found.run_id} shares no calls here.",
            fix="A run by an --optimizer takes no workers; one with a --storage wants the same --storage here.",
        )
    return Board(f"journal:{path}", open_storage(f"journal:{path}"), found.run_id, private=True)


@contextmanager
def _interruptible(worker: Any, watcher: Any) -> Iterator[None]:
    """The first Ctrl-C gives calls under way some seconds to be answered, the second leaves them to others."""
    from hyperalign_dspy.search.workers.worker import GRACE

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        watcher.say(
            f"Leaving; {worker.under_way} calls are under way and have {GRACE:.0f} s to be answered. "
            "Ctrl-C again leaves them to others at once."
        )
        worker.leave()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
