"""The board of a run: calls that whoever is free may make, on any Optuna storage.

One study holds it. A call is a trial: WAITING until somebody claims it, RUNNING while it is made, COMPLETE with its
answer, FAIL when it was taken back. Optuna lets exactly one process turn WAITING into RUNNING, whatever the storage.
Who is there stands in attributes of the study, each written by one process alone: its lead's and every worker's, with a
``beat`` that changes as long as it lives. Clocks of different machines are never compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hyperalign_dspy.errors import UnknownName
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.search.workers.storages import forget, open_storage, reached, remove_journal

BEAT = 2.0  # seconds between two signs of life
LEASE = 15.0  # seconds of silence after which somebody is taken for dead
LEAD, ABOUT, WORKER = "lead", "about", "worker "
HERE, LEFT, ENDED = "here", "left", "ended"
_SUFFIX = ": calls"
_CALL, _BY, _ANSWER = "call", "by", "answer"


@dataclass(frozen=True)
class Work:
    """A call on the board: ``by`` is who claimed it, ``answer`` what came of it; both may be missing."""

    place: int
    state: TrialState
    call: Mapping[str, Any]
    by: str
    answer: Mapping[str, Any] | None


class Board:
    """The board of the run ``run_id`` in the storage at ``url``. ``private``: it lies in the run's own folder, so that
    whoever leads holds the run's record. Every method may raise `MissingStorage`.
    """

    def __init__(self, url: str, storage: Any, run_id: str, *, private: bool = False) -> None:
        self.url, self.storage, self.run_id, self.private = url, storage, run_id, private
        with self._reached():
            try:
                self._study = storage.create_new_study([StudyDirection.MINIMIZE], run_id + _SUFFIX)
            except DuplicatedStudyError:
                self._study = storage.get_study_id_from_name(run_id + _SUFFIX)

    @property
    def quickest(self) -> float:
        """Seconds between two looks while something is expected."""
        return 0.02 if isinstance(self.storage, optuna.storages.JournalStorage) else 0.05

    def post(self, call: Mapping[str, Any]) -> int:
        """Leave a call to whoever is free; its place."""
        trial = optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={_CALL: dict(call)})
        with self._reached():
            return int(self.storage.create_new_trial(self._study, template_trial=trial))

    def claim(self, place: int, who: str) -> bool:
        """Whether a waiting call is now ours alone to make."""
        with self._reached(), _unless_gone():
            if self.storage.set_trial_state_values(place, TrialState.RUNNING):
                self.storage.set_trial_user_attr(place, _BY, who)
                return True
        return False

    def answer(self, place: int, answer: Mapping[str, Any]) -> bool:
        """Record what came of a claimed call; False if it was taken back meanwhile."""
        with self._reached(), _unless_gone():
            # A journal would write the answer down, and only then find that its board is gone.
            self.storage.get_study_name_from_id(self._study)
            self.storage.set_trial_user_attr(place, _ANSWER, dict(answer))
            self.storage.set_trial_state_values(place, TrialState.COMPLETE)
            return True
        return False

    def drop(self, place: int) -> None:
        """Take a call off the board, whoever has claimed it."""
        with self._reached(), _unless_gone():
            self.storage.set_trial_state_values(place, TrialState.FAIL)

    def works(self, *states: TrialState, among: Container[int] | None = None) -> list[Work]:
        """The calls in these states, or in any; at these places, or at all; the oldest first."""
        with self._reached(), _unless_gone():
            trials = self.storage.get_all_trials(self._study, deepcopy=False, states=states or None)
            return [_work(trial) for trial in trials if among is None or trial._trial_id in among]
        return []

    def tell(self, name: str, value: Mapping[str, Any]) -> bool:
        """Write one's own attribute; False if the board was removed."""
        with self._reached(), _unless_gone():
            self.storage.set_study_user_attr(self._study, name, dict(value))
            return True
        return False

    def told(self) -> dict[str, dict[str, Any]]:
        """Everybody's attributes. A board that was removed is one whose run has ended."""
        with self._reached(), _unless_gone():
            return dict(self.storage.get_study_user_attrs(self._study))
        return {LEAD: {"session": "", "beat": 0, "state": ENDED}}

    def model(self) -> str:
        """The model that is called; empty before anybody has led the run."""
        return str(self.told().get(ABOUT, {}).get("model", ""))

    def remove(self) -> None:
        """Delete the board with every text on it; a private one with its file."""
        with self._reached():
            if self.private:
                remove_journal(self.url)
                return
            places = {work.place for work in self.works()}
            self.storage.delete_study(self._study)
            forget(self.url, self._study, places)

    def _reached(self) -> AbstractContextManager[None]:
        return reached(self.url)


class Pulses:
    """For how long nobody's beat has changed, by this process's clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Any, float]] = {}
        self._lively: set[str] = set()

    def silence(self, name: str, beat: Any) -> float:
        """Seconds since this beat was first heard from ``name``."""
        now = self._clock()
        last, since = self._seen.setdefault(name, (beat, now))
        if last == beat:
            return now - since
        self._seen[name] = (beat, now)
        self._lively.add(name)
        return 0.0

    def lively(self, name: str) -> bool:
        """Whether a beat of theirs has ever changed: what was found standing may be long dead."""
        return name in self._lively


def find_board(url: str, name: str) -> Board:
    """The board of the run that goes by this name or begins with it.

    Raises:
        UnknownName: no run, or several, go by that name in this storage. Else see `open_storage`.
    """
    storage = open_storage(url)
    with reached(url):
        names = [study.study_name for study in storage.get_all_studies()]
    runs = [found.removesuffix(_SUFFIX) for found in names if found.endswith(_SUFFIX)]
    matches = [run for run in runs if run == name] or [run for run in runs if run.startswith(name)]
    if len(matches) != 1:
        raise _unknown(name, runs)
    return Board(url, storage, matches[0])


def is_board_in(url: str, run_id: str) -> bool:
    """Whether the storage at ``url`` holds a board of this run. Raises: see `open_storage`."""
    storage = open_storage(url)
    with reached(url):
        return run_id + _SUFFIX in [study.study_name for study in storage.get_all_studies()]


def _unknown(name: str, runs: list[str]) -> UnknownName:
    if runs:
        return unknown("run", name, runs)
    return UnknownName(
        f"There is no run in this storage, and none called {name!r}.",
        fix="Start it first: `hyperalign compile ... --storage URL` with the same storage.",
    )


def _unless_gone() -> suppress:
    """What was taken back, or removed with its board or the board's file, is nobody's any more."""
    return suppress(UpdateFinishedTrialError, KeyError, FileNotFoundError)


def _work(trial: FrozenTrial) -> Work:
    attrs = trial.user_attrs
    return Work(trial._trial_id, trial.state, attrs.get(_CALL, {}), attrs.get(_BY, ""), attrs.get(_ANSWER))
