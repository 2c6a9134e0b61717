"""Searchers replayed on a score table: what a model would have answered is looked up, so a run takes milliseconds.

Every replay parts the table's users anew: one half is searched on, the other is sealed and says what a choice is truly
worth. Our own search is the one that `compile` runs, without its pilot, starts and finalists; DSPy's MIPROv2 runs its
own loop with the table's pool as its instructions and demonstrations.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any

import dspy
import optuna
from dspy.teleprompt.utils import create_minibatch
from scipy import special

from hyperalign_dspy.experiment.bench.tables import ScoreTable
from hyperalign_dspy.optimize.loop import SearchConfig, VisitResult, search
from hyperalign_dspy.optimize.study import SamplerMaker, Study
from hyperalign_dspy.optimize.visits import Visits, make_blocks
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import Value
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, HasUser, Score

# What MIPROv2 calls light, for a program of one predictor (dspy 3.4, AUTO_RUN_SETTINGS and compile's defaults).
_TRIALS, _BATCH, _LARGEST, _FULL_STEPS, _LEAST_FOR_BATCHES = 10, 35, 100, 5, 50


@dataclass(frozen=True)
class _Trace:
    """One replayed search: after so many ``calls`` it would have chosen that configuration (its place in the table)."""

    calls: tuple[int, ...]
    chosen: tuple[int, ...]

    def at(self, calls: float, baseline: int) -> int:
        """What had been chosen by then; the baseline before the first choice."""
        known = [c for spent, c in zip(self.calls, self.chosen, strict=True) if spent <= calls]
        return known[-1] if known else baseline


@dataclass(frozen=True)
class _Cell:
    """One instance of a table."""

    place: int
    user_id: str

    @property
    def instance_id(self) -> str:
        """Its place, as a name."""
        return str(self.place)


class World:
    """The searched half of a table's users, and what looking scores up has cost: each call is paid once, whoever asks,
    as a run's ledger has it.
    """

    def __init__(self, table: ScoreTable, seed: int) -> None:
        self.table, self.seed = table, seed
        users = sorted(set(table.users))
        random.Random(f"{seed}:world").shuffle(users)
        self.searched, self.sealed = users[: len(users) // 2], users[len(users) // 2 :]
        self.cells = [_Cell(i, str(user)) for i, user in enumerate(table.users) if user in self.searched]
        self._copied = {(c, i) for c, i in table.copied}
        self._paid: set[int] = set()

    @property
    def calls(self) -> int:
        """How many have been paid."""
        return len(self._paid)

    def score(self, c: int, i: int) -> Score:
        """A score; the calls that nothing has needed before are paid."""
        self._paid.update(self.table.needs[c][i])
        return Score(self.table.values[c][i], copied=(c, i) in self._copied)


class _TableSpace:
    """A table's pool, as a study wants it."""

    def __init__(self, table: ScoreTable) -> None:
        self.slots = {slot: tuple(candidates) for slot, candidates in sorted(table.slots.items())}
        self.place = {Configuration.of(choice): place for place, choice in enumerate(table.choices)}
        self.baseline = Configuration.of(table.choices[table.baseline])

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The slots as Optuna sees them."""
        return {slot: optuna.distributions.CategoricalDistribution(c) for slot, c in self.slots.items()}

    def configuration(self, params: Mapping[str, Value]) -> Configuration:
        """The configuration of a trial."""
        return Configuration.of(params)

    def params(self, changes: Mapping[str, Value]) -> dict[str, Value]:
        """The baseline with changes."""
        return {**self.baseline.as_dict(), **changes}


class _Lookup:
    """Answers from the table; see `hyperalign_dspy.optimize.visits.Answering`."""

    def __init__(self, world: World, space: _TableSpace) -> None:
        self._world, self._space = world, space

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> Callable[[], list[Outcome]]:
        """All scores at once."""
        del sealed, phase
        c = self._space.place[arm.configuration]
        found = [Outcome(i, "", self._world.score(c, int(i.instance_id))) for i in instances]
        return lambda: found


@dataclass(frozen=True)
class _Ours:
    """Our search by some sampler, a name or what makes one of a seed; ``block_users`` users with one request each make
    a block, and the rounds are as many as the table has requests of a user.
    """

    sampler: str | SamplerMaker
    visits: int = 80
    block_users: int = 8

    def __call__(self, world: World) -> _Trace:
        """Replay it; what it would have chosen is asked after every visit."""
        space, cost = _TableSpace(world.table), world.table.calls
        rounds = max(Counter(cell.user_id for cell in world.cells).values())
        blocks = make_blocks(world.cells, self.block_users, world.seed, rounds)
        visits = Visits(_Lookup(world, space), blocks, space.baseline)
        calls, chosen = [], []

        def ended(visit: VisitResult) -> None:
            del visit
            calls.append(world.calls)
            chosen.append(space.place[visits.winner()])

        study = Study(None, space, self.sampler, world.seed, lambda c: cost[space.place[c]])
        search(study, visits, SearchConfig(visits=self.visits, finalists=0, ended=ended))
        return _Trace(tuple(calls), tuple(chosen))


def _blind(world: World) -> _Trace:
    """Any configuration, with no call: what a choice is worth that knows nothing."""
    return _Trace((0,), (random.Random(f"{world.seed}:blind").randrange(len(world.table.choices)),))


def _everything(world: World) -> _Trace:
    """Our choice once every configuration has met every instance: no search can know more."""
    space = _TableSpace(world.table)
    visits = Visits(_Lookup(world, space), [world.cells], space.baseline)
    for configuration in space.place:
        visits.visit(configuration)
    return _Trace((world.calls,), (space.place[visits.winner()],))


def _random_full(world: World) -> _Trace:
    """Random configurations, each scored on every searched instance; the best mean paired difference is chosen."""
    table = world.table
    order = list(range(len(table.choices)))
    random.Random(f"{world.seed}:full").shuffle(order)
    base = [world.score(table.baseline, cell.place) for cell in world.cells]
    calls, chosen, best = [world.calls], [table.baseline], 0.0
    for c in order:
        pairs = zip(world.cells, base, strict=True)
        gap = sum(world.score(c, cell.place).difference(rival) for cell, rival in pairs) / len(base)
        if gap > best:
            best = gap
            chosen.append(c)
            calls.append(world.calls)
    return _Trace((*calls, world.calls), (*chosen, chosen[-1]))


def _miprov2(world: World) -> _Trace:
    """DSPy's MIPROv2, light, by its own loop (`MIPROv2._optimize_prompt_parameters`) on the table's pool.

    Slots of words are its instructions and slots of numbers its demonstration sets, in every combination, so that both
    searchers choose from the same pool. Its metric is the one that `compile --optimizer` gives it:
    1 / (1 + exp(-log-odds / 4)), and 0 for a text that copies.
    """
    logging.getLogger("dspy.teleprompt").setLevel(logging.ERROR)
    table = world.table
    words, numbers = _two_parts(table)
    rng = random.Random(world.seed)
    # As its light mode takes them from a larger set.
    cells = create_minibatch(world.cells, _LARGEST, rng)
    calls, chosen = [], []

    def evaluate(program: Any, devset: Sequence[_Cell], callback_metadata: Mapping[str, str]) -> dspy.Prediction:
        c = _meant(program, words, numbers, table)
        scores = [world.score(c, cell.place) for cell in devset]
        mean = sum(0.0 if score.copied else float(special.expit(score.value / 4)) for score in scores) / len(devset)
        if len(devset) == len(cells):
            full.append((mean, c))
            calls.append(world.calls)
            chosen.append(max(full, key=itemgetter(0))[1])
        return dspy.Prediction(score=mean)

    full: list[tuple[float, int]] = []
    optimizer = dspy.MIPROv2(
        metric=lambda *_: 0.0, prompt_model=_NO_MODEL, task_model=_NO_MODEL, auto="light", seed=world.seed
    )
    optimizer.rng = rng
    optimizer._optimize_prompt_parameters(
        # Stands for a program of one predictor; its instruction and demonstrations say which configuration is meant.
        dspy.Predict("request -> text"),
        {0: [str(n) for n in range(len(words))]},
        [[[dspy.Example(request=str(n), text="")] for n in range(len(numbers))]],
        evaluate,
        cells,
        _TRIALS,
        len(cells) > _LEAST_FOR_BATCHES,
        _BATCH,
        _FULL_STEPS,
        world.seed,
    )
    return _Trace(tuple(calls), tuple(chosen))


# MIPROv2 wants models to be named; its search loop calls neither.
_NO_MODEL = dspy.utils.DummyLM([])


def _two_parts(table: ScoreTable) -> tuple[list[dict[str, Value]], list[dict[str, Value]]]:
    """Every combination of the slots of words, and of those of numbers; the baseline's comes first in both."""
    base = table.choices[table.baseline]
    parts = []
    for wordy in (True, False):
        slots = [s for s in sorted(table.slots) if isinstance(base[s], str) is wordy]
        own = {slot: base[slot] for slot in slots}
        every = [dict(zip(slots, values, strict=True)) for values in product(*(table.slots[s] for s in slots))]
        parts.append([own, *(e for e in every if e != own)])
    return parts[0], parts[1]


def _meant(program: Any, words: Sequence[Any], numbers: Sequence[Any], table: ScoreTable) -> int:
    (predictor,) = program.predictors()
    said = str(predictor.signature.instructions)
    first = words[int(said)] if said.isdigit() else words[0]
    second = numbers[int(predictor.demos[0]["request"])] if predictor.demos else numbers[0]
    return list(table.choices).index({**first, **second})


_Searcher = Callable[[World], _Trace]
SEARCHERS: Mapping[str, _Searcher] = {
    "knowledge": _Ours("knowledge"),
    "tpe": _Ours("tpe"),
    "random": _Ours("random"),
    "random-full": _random_full,
    "everything": _everything,
    "blind": _blind,
    "miprov2": _miprov2,
}


def replayed(
    table: ScoreTable,
    seeds: int,
    names: Sequence[str],
    samplers: Mapping[str, SamplerMaker],
    tick: Callable[[str, int], None],
) -> dict[str, list[_Trace]]:
    """So many replays of the searchers of these names, and of our search by each of these samplers, which go by names
    of one's own; ``tick`` hears which has been replayed how often.

    Raises:
        UnknownName: a name that no searcher goes by.
    """
    for name in names:
        if name not in SEARCHERS:
            raise unknown("searcher", name, SEARCHERS)
    searchers: dict[str, _Searcher] = {
        **{name: SEARCHERS[name] for name in names},
        **{name: _Ours(made) for name, made in samplers.items()},
    }
    traces: dict[str, list[_Trace]] = {name: [] for name in searchers}
    for name, searcher in searchers.items():
        for seed in range(seeds):
            traces[name].append(searcher(World(table, seed)))
            tick(name, seed + 1)
    return traces
