"""A worker makes calls of a run that another process leads. It needs the model, and nothing else of the run."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import dspy
from optuna.trial import TrialState

from hyperalign_dspy.errors import HyperalignError, MissingStorage, ModelError, RunMismatch
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY, at_once, engine_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.messages import honoured
from hyperalign_dspy.lm.siblings import siblings
from hyperalign_dspy.lm.wire import answers_of, failed_of, own_fault, requests_of
from hyperalign_dspy.search.workers import board as boards
from hyperalign_dspy.search.workers.board import ABOUT, ENDED, HERE, LEAD, LEFT, WORKER, Board, Pulses, Work
from hyperalign_dspy.search.workers.lead import about
from hyperalign_dspy.types import Cost, Watcher

# So long a worker waits for a run to go on that nobody leads any more, and for its own calls when it is to leave.
PATIENCE, GRACE = 600.0, 10.0
_LOOK = 0.5  # seconds between two looks at who leads
# So many times longer than the quickest is a pause between two looks at the board when nothing has been there lately:
# calls come in bursts, and who looks late finds them made.
_LONGEST = 5
# After so many failures in a row this machine is no place to call the model from.
_MOST_FAILURES = 16


@dataclass(frozen=True)
class Helped:
    """What a worker did: calls answered and failed, and whether it left before the run had ended."""

    run: str
    calls: int
    failed: int
    seconds: float
    left: bool


class Worker:
    """Joins a run, claims calls, makes them and records their answers on the board, until the run ends; ``concurrency``
    of them at once: see `hyperalign_dspy.lm.connect.at_once`.

    Raises:
        RunMismatch: another version of this package, or another model, with what differs.
    """

    def __init__(self, board: Board, watcher: Watcher, concurrency: int | None = None) -> None:
        self.board, self.watcher = board, watcher
        told = board.told().get(ABOUT)
        if told is None:
            raise MissingStorage(f"Nobody has led {board.run_id} yet.", fix="Start it first, then this again.")
        _refuse_another(told, about(board.run_id, told["model"]))
        self.name = f"{WORKER}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
        self._engine = at_once(engine_of(told["model"], Ledger()), concurrency)
        self.slots = int(getattr(self._engine, "concurrency", 0)) or REMOTE_CONCURRENCY
        self._threads = ThreadPoolExecutor(self.slots)
        self._making: dict[Future[dict[str, Any]], Work] = {}
        self._calls = self._failed = self._in_a_row = self._beat = 0
        self._leaving = self._ended = self._led = self._waiting = False
        self._fault: HyperalignError | None = None
        self._pulses, self._wake = Pulses(), Event()
        self._session, self._due, self._heard = "", 0.0, time.monotonic()

    def leave(self) -> None:
        """Claim nothing any more, and end as soon as what is under way is answered, after `GRACE` seconds at most."""
        self._leaving = True

    @property
    def under_way(self) -> int:
        """Calls that are claimed and not answered."""
        return len(self._making)

    def run(self) -> Helped:
        """Help until the run ends or `leave` is called.

        Raises:
            MissingStorage: the storage is gone, or nobody leads the run any more. HyperalignError: this process cannot
            use the model.
        """
        start = time.monotonic()
        try:
            self._help()
            self._finish()
        finally:
            self._sign(LEFT)
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._fault:
            raise self._fault
        return Helped(self.board.run_id, self._calls, self._failed, time.monotonic() - start, not self._ended)

    def _help(self) -> None:
        quickest, pause, looked = self.board.quickest, 0.0, 0.0
        while not self._leaving and not self._fault:
            now = time.monotonic()
            if now >= looked + _LOOK:
                looked = now
                self._look()
            if self._ended:
                return
            active = self._hand_in() + (self._claim() if self._led else 0)
            pause = quickest if active else min(2 * pause or quickest, _LONGEST * quickest)
            self._wake.wait(pause)
            self._wake.clear()

    def _finish(self) -> None:
        """What is under way is paid for: its answers are worth a moment."""
        until = time.monotonic() + GRACE
        while self._making and time.monotonic() < until:
            self._wake.wait(self.board.quickest)
            self._wake.clear()
            self._hand_in()

    def _look(self) -> None:
        """See whether the run has ended and whether anybody leads it, and give a sign of life."""
        lead = self.board.told().get(LEAD, {"session": "", "beat": 0, "state": LEFT})
        now = time.monotonic()
        self._ended = lead["state"] == ENDED
        quiet = self._pulses.silence(LEAD, (lead["session"], lead["beat"]))
        self._led = lead["state"] == HERE and self._pulses.lively(LEAD) and quiet < boards.LEASE
        if self._led:
            self._heard = now
        self._mention(now - self._heard)
        if now >= self._due or lead["session"] != self._session:
            self._session = lead["session"]
            self._sign(HERE)

    def _mention(self, quiet: float) -> None:
        """Say once that nobody leads, and once that somebody does again.

        Raises:
            MissingStorage: nobody has for too long.
        """
        resume = f"`hyperalign runs resume {self.board.run_id}` goes on with it"
        if quiet > PATIENCE:
            raise MissingStorage(f"Nobody leads {self.board.run_id} any more.", fix=f"{resume}; then this again.")
        if quiet > boards.LEASE and not self._waiting:
            self._waiting = True
            self.watcher.say(f"Nobody leads {self.board.run_id} just now; waiting. {resume}.")
        elif self._led and self._waiting:
            self._waiting = False
            self.watcher.say(f"{self.board.run_id} goes on.")

    def _claim(self) -> int:
        """As many calls as there is room for; how many were got."""
        got = 0
        for work in self.board.works(TrialState.WAITING) if len(self._making) < self.slots else ():
            if self.board.claim(work.place, self.name):
                future = self._threads.submit(self._make, work)
                self._making[future] = work
                future.add_done_callback(lambda _: self._wake.set())
                got += 1
            if len(self._making) == self.slots:
                break
        return got

    def _make(self, work: Work) -> dict[str, Any]:
        start = time.monotonic()
        requests = requests_of(work.call)
        with dspy.context(disable_history=True), siblings(len(requests)):
            responses = [self._engine.complete(honoured(self._engine, request)) for request in requests]
        return answers_of(responses, time.monotonic() - start - getattr(self._engine, "waited", float)())

    def _hand_in(self) -> int:
        """Record what has come; how many calls that were."""
        done = [future for future in self._making if future.done()]
        for future in done:
            work, error = self._making.pop(future), future.exception()
            kept = self.board.answer(work.place, failed_of(error) if error else future.result())
            if not kept:
                self.watcher.say("An answer came too late: its call had been taken back.")
            self._count(error)
        return len(done)

    def _count(self, error: BaseException | None) -> None:
        self._calls += error is None
        self._failed += error is not None
        self._in_a_row = self._in_a_row + 1 if error else 0
        self.watcher.step("calls", self._calls, 0, Cost(calls=self._calls, money=0.0))
        if error and (own_fault(error) or self._in_a_row >= _MOST_FAILURES):
            self._fault = (
                error
                if isinstance(error, HyperalignError)
                else ModelError(
                    f"The model cannot be called from here: {type(error).__name__}: {error}",
                    fix="The run goes on without this worker.",
                )
            )

    def _sign(self, state: str) -> None:
        self._beat, self._due = self._beat + 1, time.monotonic() + boards.BEAT
        found = {"session": self._session, "beat": self._beat, "slots": self.slots, "state": state}
        self.board.tell(self.name, found)


def _refuse_another(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    changed = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    if changed:
        lines = [f"  {name}: there {there.get(name)}, here {here.get(name)}" for name in changed]
        raise RunMismatch(
            f"This worker would not answer as {there['run']} does:\n" + "\n".join(lines),
            fix="Set up the same version, model and server here, and give the command again.",
        )
