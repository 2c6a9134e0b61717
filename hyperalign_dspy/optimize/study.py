"""The Optuna study of a run over the declared slots: decisions only, in a journal file that every Optuna tool can read.

The journal is written anew when a run goes on: the ledger holds every answer, so the same decisions are reached
again at no cost, and a half-written visit cannot disturb them.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalStorage

from hyperalign_dspy import registry
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.records import drop_torn_line
from hyperalign_dspy.optimize.samplers import BLOCK, EXHAUSTED, INSTANCES, SAMPLERS, KnowledgeSampler
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value

SamplerMaker = Callable[[int], optuna.samplers.BaseSampler]


class Space:
    """Slots with candidates, by id or number. Raises: UsageError: a slot lacks what the baseline has."""

    def __init__(self, program: ProgramSpec, recipe: RecipeSpec) -> None:
        self.slots: Mapping[str, tuple[Value, ...]] = dict(sorted(recipe.slots.items()))
        self.baseline = Configuration.of({**program.baseline, "max_tokens": recipe.max_tokens})
        own = self.baseline.as_dict()
        for slot, candidates in self.slots.items():
            # Every start is a change to the baseline, so the baseline itself has to lie in the space.
            if slot not in own:
                raise UsageError(
                    f"The recipe searches {slot!r}, and the program's baseline does not say what it starts from.",
                    fix=f"Known slots: {', '.join(own)}. Or add it under [baseline] in program.toml.",
                )
            if own[slot] not in candidates:
                raise UsageError(
                    f"The slot {slot!r} has the candidates {list(candidates)}, and not the baseline's {own[slot]!r}.",
                    fix=f"Add {own[slot]!r} to them: a search that cannot stay where it is tells less.",
                )

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """See `_Pool`."""
        return {slot: optuna.distributions.CategoricalDistribution(c) for slot, c in self.slots.items()}

    def configuration(self, params: Mapping[str, Value]) -> Configuration:
        """The baseline with the suggested candidates put in."""
        return self.baseline.changed(**params)

    def neighbour(self) -> Configuration | None:
        """The baseline with another candidate in the first slot that has one; None where there is nothing to search."""
        one = (self.configuration({slot: value}) for slot, found in self.slots.items() for value in found)
        return next((configuration for configuration in one if configuration != self.baseline), None)

    def costliest(self, calls: Callable[[Configuration], int]) -> Configuration:
        """Of every slot the candidate with the most calls, and among these the largest number."""
        chosen: dict[str, Value] = {}
        for slot, candidates in self.slots.items():
            sizes = [value if isinstance(value, (int, float)) else 0 for value in candidates]
            costs = [(calls(self.configuration({slot: v})), size) for v, size in zip(candidates, sizes, strict=True)]
            chosen[slot] = candidates[costs.index(max(costs))]
        return self.configuration(chosen)

    def params(self, changes: Mapping[str, Value]) -> dict[str, Value]:
        """The changes, else the baseline's own candidates, by slot. Raises: UsageError: a change is no candidate."""
        for slot, value in changes.items():
            if value not in self.slots.get(slot, ()):
                raise UsageError(f"A start of the recipe sets {slot}={value}, which is no candidate of that slot.")
        values = {**self.baseline.as_dict(), **changes}
        return {slot: values[slot] for slot in self.slots}


class _Pool(Protocol):
    """What is chosen from: see `Space`."""

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The slots as Optuna sees them."""

    def configuration(self, params: Mapping[str, Value]) -> Configuration:
        """What a trial's parameters stand for."""

    def params(self, changes: Mapping[str, Value]) -> dict[str, Value]:
        """A trial's parameters for the baseline with changes."""


class Study:
    """Ask for a configuration, tell how its visit went. Seeds derive from (run seed, visit number).

    ``path`` is the journal's file; None keeps the study in memory. ``sampler`` is a name, or what makes an Optuna
    sampler of a seed. ``cost`` says what a visit costs, for a `KnowledgeSampler`. ``objectives`` are to be lessened.
    """

    def __init__(
        self,
        path: Path | None,
        space: _Pool,
        sampler: str | SamplerMaker,
        seed: int,
        cost: Callable[[Configuration], float] = lambda configuration: 1.0,
        objectives: Sequence[str] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.seed = space, seed
        self._maker: SamplerMaker = (
            registry.resolve("sampler", sampler, SAMPLERS) if isinstance(sampler, str) else sampler
        )
        self._cost = cost
        self._asked: dict[int, Any] = {}
        self._study = optuna.create_study(
            storage=path and _fresh(path),
            study_name="search",
            directions=["maximize", *["minimize"] * len(objectives)],
            sampler=self._make(0),
        )
        if objectives:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(["value", *objectives])

    def enqueue(self, changes: Mapping[str, Value]) -> None:
        """Visit the baseline with these changes before anything is sampled."""
        self._study.enqueue_trial(self.space.params(changes))

    def add(self, configuration: Configuration, values: Sequence[float], block: int, instances: int) -> None:
        """A visit that was made before anything was asked."""
        chosen = configuration.as_dict()
        params = {slot: chosen[slot] for slot in self.space.distributions()}
        told = {BLOCK: block, INSTANCES: instances}
        trial = optuna.trial.create_trial(
            params=params, distributions=self.space.distributions(), values=list(values), user_attrs=told
        )
        self._study.add_trial(trial)

    def ask(self) -> tuple[int, Configuration]:
        """The number of the next visit, and the configuration to visit."""
        self._study.sampler = self._make(len(self._asked))
        trial = self._study.ask(self.space.distributions())
        self._asked[trial.number] = trial
        return trial.number, self.space.configuration(trial.params)

    def tell(self, number: int, values: Sequence[float], block: int, instances: int) -> None:
        """What each objective came to on which block, the mean paired difference first, over how many instances."""
        self._asked[number].set_user_attr(BLOCK, block)
        self._asked[number].set_user_attr(INSTANCES, instances)
        self._study.tell(number, list(values))

    def drop(self, number: int, *, exhausted: bool = False) -> None:
        """The visit will not be made, and tells nothing; ``exhausted``: nor will any other of this configuration."""
        self._asked[number].set_user_attr(EXHAUSTED, exhausted)
        self._study.tell(number, state=optuna.trial.TrialState.FAIL)

    def _make(self, number: int) -> optuna.samplers.BaseSampler:
        """A new sampler for every visit: what it draws depends on the run's seed and the visit alone."""
        digest = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        sampler = self._maker(int.from_bytes(digest[:4], "big"))
        if isinstance(sampler, KnowledgeSampler):
            sampler.cost = lambda params: self._cost(self.space.configuration(params))
        return sampler


def _fresh(path: Path) -> JournalStorage:
    """The journal with nothing in it."""
    # Whoever was killed may have left Optuna's own lock, for which others would wait half a minute.
    for left in (path, path.with_name(f"{path.name}.lock")):
        left.unlink(missing_ok=True)
    return JournalStorage(_Journal(path))


class _Journal(JournalFileBackend):
    """A journal whose lock is the kernel's, so that it ends with the process that holds it.

    Half a line that a killed process left is taken off before the next is written. Nothing waits for the disk: a line
    outlives its process, as in a run's record. A new file is its owner's alone to read.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        super().__init__(str(path))
        self._path, self._guard = path, FileLock(f"{path}.lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._guard.acquire(poll_interval=0.002):
            drop_torn_line(self._path)
            with self._path.open("ab") as file:
                file.write(lines.encode())
