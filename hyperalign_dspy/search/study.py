"""The Optuna study of a run: decisions only, in a journal file that every Optuna tool can read.

The journal is written anew when a run goes on: the ledger holds every answer, so the same decisions are reached
again at no cost, and a half-written visit cannot disturb them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

from hyperalign_dspy import registry
from hyperalign_dspy.search.space import Space
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.shelf.specs import Value


class Study:
    """Ask for a configuration, tell how its visit went. Seeds derive from (run seed, visit number)."""

    def __init__(self, path: Path, space: Space, sampler: str, seed: int) -> None:
        path.unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed = space, seed
        self._make = registry.resolve("sampler", sampler, registry.SAMPLERS)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name="search",
            direction="maximize",
            sampler=self._make(self._seed_of(0)),
        )

    def enqueue(self, changes: Mapping[str, Value]) -> None:
        """Visit the baseline with these changes before anything is sampled."""
        self._study.enqueue_trial(self.space.params(changes))

    def ask(self) -> tuple[int, Configuration]:
        """The number of the next visit, and the configuration to visit."""
        number = len(self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
        self._study.sampler = self._make(self._seed_of(number))
        trial = self._study.ask(self.space.distributions())
        return trial.number, self.space.configuration(trial.params)

    def tell(self, number: int, value: float) -> None:
        """The visit's mean paired difference to the baseline."""
        self._study.tell(number, value)

    def _seed_of(self, number: int) -> int:
        digest = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big")
