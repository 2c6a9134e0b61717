"""Score tables: every configuration of a small pool on every instance, for replaying searchers without a model.

A table holds scores and no texts: users are numbered, requests are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.session import Session
from hyperalign_dspy.files import read_json, write_json
from hyperalign_dspy.lm.connect import describe_model
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.locate import RECIPES, packaged
from hyperalign_dspy.program.specs import Value
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, Job
from hyperalign_dspy.types import Cost, Watcher

_SCHEMA = "hyperalign/table/3"
TABULATED = "hyperalign/tabulated/1"
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreTable:
    """``values[c][i]`` is the score of configuration c on instance i, ``copied`` the pairs (c, i) whose text copies a
    sample, ``users[i]`` whose instance it is. ``needs[c][i]`` are the calls that it takes, by number: scores that need
    the same call share it, as configurations share their first drafts and all of a user's instances what was inferred
    of them.

    ``choices[c]`` has one candidate for each of ``slots``; ``baseline`` is a configuration's place. ``made`` says by
    what: corpus, model, recipe, seed, calls paid.
    """

    slots: Mapping[str, Sequence[Value]]
    choices: Sequence[Mapping[str, Value]]
    baseline: int
    users: Sequence[int]
    values: Sequence[Sequence[float]]
    copied: Sequence[tuple[int, int]]
    needs: Sequence[Sequence[Sequence[int]]]
    made: Mapping[str, Any]

    @property
    def calls(self) -> list[float]:
        """What an instance of each configuration takes by itself, on average over instances."""
        return [sum(map(len, needs)) / len(needs) for needs in self.needs]

    def gaps(self) -> _Floats:
        """configurations x instances: the paired difference to the baseline; who copies loses what it would win."""
        values = np.array(self.values)
        found = values - values[self.baseline]
        copies = np.zeros(values.shape, dtype=bool)
        for c, i in self.copied:
            copies[c, i] = True
        theirs = copies[self.baseline]
        lost, won = copies & ~theirs, ~copies & theirs
        return np.asarray(np.where(lost, -np.abs(found), np.where(won, np.abs(found), found)))

    def gaps_by_user(self) -> _Floats:
        """configurations x users: each user's mean `gaps`."""
        gaps, users = self.gaps(), np.array(self.users)
        return np.stack([gaps[:, users == user].mean(axis=1) for user in sorted(set(self.users))], axis=1)

    def reliability(self, splits: int = 500, seed: int = 0) -> tuple[float, float, float]:
        """Split-half reliability over users: the correlation of configurations' mean gaps on one half of the users with
        those on the other, over random halves; with the 2.5% and 97.5% points over these halves. nan where fewer than
        two configurations differ from the baseline, and so from one another.
        """
        means = np.delete(self.gaps_by_user(), self.baseline, axis=0)
        rng, found = np.random.default_rng(seed), []
        for _ in range(splits):
            order = rng.permutation(means.shape[1])
            half = len(order) // 2
            first, second = (means[:, part].mean(axis=1) for part in (order[:half], order[half : 2 * half]))
            found.append(float(np.corrcoef(first, second)[0, 1]))
        return float(np.mean(found)), float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))

    def summary(self) -> dict[str, Any]:
        """How large it is, what made it, and its `reliability`, as plain data."""
        size = {"configurations": len(self.choices), "instances": len(self.users), "users": len(set(self.users))}
        return {"schema": TABULATED, **size, "made": self.made, "reliability": self.reliability()}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a file."""
        return {"schema": _SCHEMA, **asdict(self)}


def read_table(place: Path | str) -> ScoreTable:
    """Read a table from a file, or one that ships with the package by its name, such as "authorship-bundled".

    Raises:
        DataError: it is no table, or its parts do not fit. UnknownName: neither a file nor a name of one that ships.
    """
    path = Path(place)
    if isinstance(place, str) and not path.is_file():
        shipped = {found.stem: found for found in sorted((packaged(RECIPES) / "tables").glob("*.json"))}
        if place not in shipped:
            raise unknown("score table", place, shipped)
        path = shipped[place]
    plain = read_json(path)
    if not isinstance(plain, dict) or plain.pop("schema", None) != _SCHEMA:
        raise DataError(f"{path} is no score table ({_SCHEMA}).", fix="Make one: hyperalign bench tabulate --out FILE")
    try:
        table = ScoreTable(**plain)
    except TypeError as error:
        raise DataError(f"{path} is no whole score table: {error}.") from error
    shape = (len(table.choices), len(table.users))
    for name, found in (("scores", table.values), ("needs", table.needs)):
        if len(found) != shape[0] or any(not isinstance(row, list) or len(row) != shape[1] for row in found):
            raise DataError(f"{path}: the {name} are not {shape[0]} configurations x {shape[1]} instances.")
    return table


def tabulate(job: Job, model: str, watcher: Watcher, command: Sequence[str], expected: str = "") -> ScoreTable:
    """Score every configuration of a recipe on users that are not sealed, as many as the recipe confirms on.

    So nothing that is tuned on a table has seen a sealed user. It is a run: what is recorded is not paid again.

    Raises:
        RunMismatch: it is not the run that was ``expected``. DataError: no instance was scored by all.
    """
    compiler = Compiler(replace(job, on="validation"), model, watcher)
    task_data, space, instances = compiler.task_data, compiler.space, compiler.task_data.sealed
    configurations = [
        space.configuration(dict(zip(space.slots, v, strict=True))) for v in product(*space.slots.values())
    ]
    identity = {**compiler.identity, "recipe": f"{job.recipe.name}-scores"}
    with (
        Session.open(job, identity, command, expected=expected) as session,
        session.evaluator(task_data, model) as evaluator,
    ):
        run = session.run
        watcher.say(f"Run {run.run_id}: {len(configurations)} configurations x {len(instances)} instances.")
        compiler.watch(evaluator, "tabulate", len(configurations) * len(instances))
        # Most drafts first: those with fewer find theirs in the record. None waits for another's slowest answers.
        batches = {
            c: evaluator.start(Arm(c.digest, c), instances, sealed=True, phase="tabulate")
            for c in sorted(configurations, key=task_data.calls, reverse=True)
        }
        answered = {configuration: batch() for configuration, batch in batches.items()}
        found = {configuration: answered[configuration] for configuration in configurations}
        whole = [n for n in range(len(instances)) if all(row[n].score for row in found.values())]
        # What the table needs: the record may hold more.
        cost = session.ledger.cost_of(key for row in found.values() for n in whole for key in row[n].asked)
    table = _table(compiler, found, whole, cost)
    write_json(run.path("result.json"), {**table.summary(), "cost": asdict(cost)})
    return table


def _table(
    compiler: Compiler, found: Mapping[Configuration, Sequence[Outcome]], whole: Sequence[int], cost: Cost
) -> ScoreTable:
    """Of outcomes by configuration, those that have a score under every one: ``whole`` are their places."""
    if not whole:
        raise DataError(
            "No instance has a score under every configuration, so there is no table.",
            fix="Leave out of the recipe what the model cannot answer under.",
        )
    job, task_data, space = compiler.job, compiler.task_data, compiler.space
    configurations, numbers = list(found), dict[str, int]()
    users = [found[space.baseline][n].instance.user_id for n in whole]
    places = {user: place for place, user in enumerate(dict.fromkeys(users))}
    return ScoreTable(
        slots={slot: list(candidates) for slot, candidates in space.slots.items()},
        choices=[{slot: c.as_dict()[slot] for slot in space.slots} for c in configurations],
        baseline=configurations.index(space.baseline),
        users=[places[user] for user in users],
        values=[[round(_score(found[c][n]).value, 3) for n in whole] for c in configurations],
        copied=[
            (p, q) for p, c in enumerate(configurations) for q, n in enumerate(whole) if _score(found[c][n]).copied
        ],
        # A number for each key, the same whenever it comes again.
        needs=[
            [[numbers.setdefault(key, len(numbers)) for key in found[c][n].asked] for n in whole]
            for c in configurations
        ],
        made={
            "program": job.program.name,
            "recipe": job.recipe.name,
            "corpus": task_data.facts["corpus"],
            "corpus_digest": task_data.facts["corpus_digest"],
            "unit": task_data.unit,
            "model": {**describe_model(compiler.model), "name": public_name(compiler.model)},
            "seed": job.seed,
            "instances_left_out": len(found[space.baseline]) - len(whole),
            "calls": cost.calls,
            "call_seconds": round(cost.seconds),
        },
    )


def _score(outcome: Outcome) -> Any:
    assert outcome.score
    return outcome.score
