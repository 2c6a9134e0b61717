"""Who leads a run shares its calls: it makes what it can itself and leaves the rest on the board, for workers.

Everything else stays with the lead: what is visited and in which order, what a call may cost, and the record. So a run
with workers ends as it does without them, caps hold as they do without them, and a worker needs the model and nothing
else of the run.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from types import TracebackType
from typing import Any

from optuna.trial import TrialState

from hyperalign_dspy.errors import BudgetReached, GateFailed, HyperalignError, MissingStorage, NotSent, UsageError
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY, describe
from hyperalign_dspy.lm.wire import lost
from hyperalign_dspy.search.together import Places
from hyperalign_dspy.search.workers import board as boards
from hyperalign_dspy.search.workers.board import ABOUT, ENDED, HERE, LEAD, LEFT, WORKER, Board, Pulses, Work
from hyperalign_dspy.search.workers.shared import Made, SharedEngine

_IDLE = 0.5  # seconds between two looks at who is there, and at the board while nothing is expected
# For every call that workers have in hand, so many wait on the board: a worker that is done finds the next at once.
_AHEAD = 0.5
# What ends a run for good. A model, a key or a storage that is not there may be there tomorrow: then it goes on.
_FOR_GOOD = (BudgetReached, GateFailed, UsageError)


def about(run_id: str, model: str) -> dict[str, Any]:
    """What a worker has to have in common with a run's lead."""
    return {"run": run_id, "version": version("hyperalign-dspy"), "model": model, **describe(model)}


class Lead:
    """Shares the calls of a run on a board, from `__enter__` to `__exit__`; ``say`` hears who comes and goes.

    ``places`` says how many instances are worth having under way: more as workers come.

    Raises:
        UsageError: another process leads this run.
    """

    def __init__(self, board: Board, model: str, say: Callable[[str], None]) -> None:
        self.board, self._model, self._say = board, model, say
        self.places = Places(REMOTE_CONCURRENCY)
        self._session, self._beat, self._due = uuid.uuid4().hex, 0, 0.0
        self._changed = threading.Condition()
        self._own = self._free = self._room = 0
        self._posted: dict[int, Made] = {}
        self._left: dict[str, Made] = {}
        self._workers: dict[str, int] = {}
        self._pulses = Pulses()
        self._over, self._wake = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Lead:
        self._refuse_company()
        self.board.tell(ABOUT, about(self.board.run_id, self._model))
        self._sign(HERE)
        self._take_over()
        self._thread.submit(self._keep).add_done_callback(self._fall)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._wake.set()
        self._thread.shutdown(wait=True)
        # A storage that is gone is no reason to hide why the run ended.
        with suppress(MissingStorage):
            ended = kind is None or isinstance(error, HyperalignError)
            self._sign(ENDED if ended else LEFT)
            if kind is None or (isinstance(error, _FOR_GOOD) and not self.board.private):
                self._clear()
        self._let_go(NotSent("The run ended before this call was answered."))

    def engine(self, inner: Any, model: str) -> SharedEngine:
        """An engine that has others make the calls that the inner one is too busy for."""
        self._own = self._free = int(getattr(inner, "concurrency", 0)) or REMOTE_CONCURRENCY
        self.places.limit(self._own)
        return SharedEngine(inner, model, self)

    def call(self, call: Mapping[str, Any]) -> Made | None:
        """Have a call made elsewhere; None once there is a seat for it here, to be given back by `rise`.

        The future gives None, with a seat, where it turns out that nobody else took it.
        """
        with self._changed:
            if call["key"] in self._left:
                return self._left.pop(call["key"])
            self._changed.wait_for(lambda: self._error or self._over.is_set() or self._free > 0 or self._room > 0)
            self._refuse_if_over()
            if self._free > 0:
                self._free -= 1
                return None
            self._room -= 1
        place, made = self.board.post(call), Made()
        with self._changed:
            self._refuse_if_over()
            self._posted[place] = made
        self._wake.set()
        return made

    def rise(self) -> None:
        """Give a seat back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def _refuse_if_over(self) -> None:
        if self._error:
            raise self._error
        if self._over.is_set():
            raise NotSent("The run ended before this call was sent.")

    def _refuse_company(self) -> None:
        """Where nothing else keeps two processes from leading a run, its last lead must be silent."""
        last = self.board.told().get(LEAD, {})
        if self.board.private or last.get("state") != HERE:
            return
        time.sleep(2 * boards.BEAT)
        if self.board.told().get(LEAD, {}) != last:
            raise UsageError(
                f"{self.board.run_id} is in use by another process.",
                fix=f"Help it with `hyperalign worker {self.board.run_id} --storage URL`, or stop it.",
            )

    def _take_over(self) -> None:
        """What an earlier session left: answers that it did not come to record, and calls that a worker still makes."""
        for work in self.board.works():
            if work.state == TrialState.WAITING and self.board.claim(work.place, self._session):
                self.board.drop(work.place)
                continue
            # What failed then is asked again: it says nothing of this session's calls.
            if (work.state == TrialState.FAIL and work.answer is None) or "failed" in (work.answer or {}):
                continue
            key, made = work.call["key"], Made()
            if key not in self._left or work.answer is not None:
                self._left[key] = made
            if work.answer is not None:
                made.set_result(work.answer)
            else:
                self._posted[work.place] = made
                self._room -= 1

    def _keep(self) -> None:
        """Beat, see who is there, and hand out what came in, until the end."""
        told, seen = self.board.told(), 0.0
        while not self._over.is_set():
            now = time.monotonic()
            if now >= self._due:
                self._sign(HERE)
            if now >= seen + _IDLE:
                told, seen = self.board.told(), now
                self._meet(told)
            if self._posted:
                self._settle(told)
            self._wake.wait(self.board.quickest if self._posted else _IDLE)
            self._wake.clear()

    def _fall(self, keeping: Future[None]) -> None:
        """Whoever waits for an answer learns that none will come."""
        with self._changed:
            self._error = keeping.exception()
            self._changed.notify_all()
        if self._error:
            self._let_go(self._error)

    def _let_go(self, error: BaseException) -> None:
        """Nobody waits any longer; the board keeps what comes for the session that follows."""
        with self._changed:
            for made in self._posted.values():
                if not made.done():
                    made.set_exception(error)

    def _sign(self, state: str) -> None:
        self._beat, self._due = self._beat + 1, time.monotonic() + boards.BEAT
        if not self.board.tell(LEAD, {"session": self._session, "beat": self._beat, "state": state}):
            raise MissingStorage(
                f"Somebody has removed the board of {self.board.run_id}.",
                fix="The same command goes on with a new one.",
            )

    def _meet(self, told: Mapping[str, Any]) -> None:
        """Take note of the workers that are there for this session, and make room for what they can do."""
        here = {name: int(found["slots"]) for name, found in told.items() if self._is_here(name, found)}
        for name in {*here} - {*self._workers}:
            self._say(f"{name} joined: {here[name]} more calls at a time.")
        # At the run's end all leave, which is no news.
        for name in set() if self._over.is_set() else {*self._workers} - {*here}:
            self._say(f"{name} left; what it had not answered is asked again.")
        if {*here} - {*self._workers}:
            # A worker begins once it has heard a new beat.
            self._sign(HERE)
        if here != self._workers:
            more = self._ahead(here) - self._ahead(self._workers)
            self._workers = here
            self.places.limit(self._own + self._ahead(here))
            with self._changed:
                self._room += more
                self._changed.notify_all()

    def _is_here(self, name: str, found: Mapping[str, Any]) -> bool:
        if not name.startswith(WORKER):
            return False
        silent = self._pulses.silence(name, found["beat"])
        return found["state"] == HERE and found["session"] == self._session and silent < boards.LEASE

    @staticmethod
    def _ahead(workers: Mapping[str, int]) -> int:
        slots = sum(workers.values())
        return slots + int(_AHEAD * slots)

    def _settle(self, told: Mapping[str, Any]) -> None:
        for work in self.board.works(among=frozenset(self._posted)):
            if work.answer is not None:
                self._hand_out(work.place, work.answer)
            elif work.state == TrialState.RUNNING and self._is_lost(work, told):
                self._give_up(work)
            elif work.state == TrialState.WAITING and self._seat() and not self._take_back(work.place):
                self.rise()

    def _give_up(self, work: Work) -> None:
        """Take a call off the board; only then it is certain whether an answer came after all."""
        self.board.drop(work.place)
        (last,) = self.board.works(among={work.place})
        self._hand_out(work.place, last.answer or lost(f"{work.by or 'A worker'} left before it answered."))

    def _hand_out(self, place: int, answer: Mapping[str, Any] | None) -> None:
        with self._changed:
            made = self._posted.pop(place)
            self._room += 1
            self._changed.notify_all()
        made.set_result(answer)

    def _is_lost(self, work: Work, told: Mapping[str, Any]) -> bool:
        """Whether nobody will answer: its worker has left or is silent, or died between claiming and signing."""
        found = told.get(work.by, {"state": HERE, "beat": None})
        name = work.by if work.by in told else f"{work.place}"
        return found["state"] == LEFT or self._pulses.silence(name, found["beat"]) >= boards.LEASE

    def _seat(self) -> bool:
        with self._changed:
            if self._free <= 0:
                return False
            self._free -= 1
            return True

    def _take_back(self, place: int) -> bool:
        """Make a call here after all that nobody has claimed; its seat goes with it."""
        if not self.board.claim(place, self._session):
            return False
        self.board.drop(place)
        self._hand_out(place, None)
        return True

    def _clear(self) -> None:
        """Leave no text behind once the workers have left; the run's record holds what they answered."""
        until = time.monotonic() + boards.LEASE
        while self._workers and time.monotonic() < until:
            time.sleep(self.board.quickest)
            self._meet(self.board.told())
        for work in self.board.works(among=frozenset(self._posted)):
            if work.answer is not None or work.state == TrialState.RUNNING:
                self._give_up(work)
        self.board.remove()
