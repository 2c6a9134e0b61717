"""What has been measured on the validation users: visits to blocks of instances, paired with the baseline, and the
choice of a winner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Protocol

from hyperalign_dspy.metrics.stats import Estimate, paired, per_user
from hyperalign_dspy.optimize.objectives import exceeded, objective_deltas
from hyperalign_dspy.optimize.surrogate import Levels, LinearMixedModel, Observation
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import Arm, HasUser

# What waits for the outcomes of a batch.
_Batch = Callable[[], list[Outcome]]
# With more users and rounds than this the model looks at blocks, and not at every user of theirs.
_MOST_GROUPS = 100


class Answering(Protocol):
    """Whoever lets a configuration answer: see `hyperalign_dspy.tasks.evaluate.Evaluator`."""

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> _Batch:
        """Begin to answer instances; what is returned waits for the outcomes."""


def make_blocks(instances: Sequence[HasUser], users: int, seed: int, rounds: int = 1) -> list[list[HasUser]]:
    """Deal instances into blocks of up to ``users`` users, that every configuration meets in the same order.

    In each of ``rounds`` every user is met once, with an equal part of their instances; whoever has too few is missing
    from the last ones.
    """
    ids = sorted({instance.user_id for instance in instances})
    random.Random(f"{seed}:blocks").shuffle(ids)
    own = {user: [i for i in instances if i.user_id == user] for user in ids}
    blocks = []
    for turn in range(rounds):
        present = [user for user in ids if own[user][turn::rounds]]
        for group in _groups(present, users):
            blocks.append([i for user in group for i in own[user][turn::rounds]])
    return blocks


def _groups(ids: Sequence[str], users: int) -> Iterator[Sequence[str]]:
    """So many at a time; what is left joins the last where it is less than half of one."""
    starts = list(range(0, len(ids), users))
    if len(starts) > 1 and 2 * (len(ids) - starts[-1]) < users:
        starts.pop()
    return (ids[start:end] for start, end in pairwise([*starts, len(ids)]))


@dataclass(frozen=True)
class _ConfigurationSummary:
    """One configuration's paired differences to the baseline so far, and how far above it the model believes it to lie;
    ``rises`` is what each objective beside the value has risen by over the baseline.
    """

    configuration: Configuration
    estimate: Estimate
    shrunk: float
    blocks: int
    rises: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PendingVisit:
    """A visit that is under way; ``mine`` and ``rival`` wait for the configuration's and the baseline's outcomes."""

    configuration: Configuration
    block: int
    mine: _Batch
    rival: _Batch


@dataclass(frozen=True)
class _Met:
    """One paired difference of a configuration."""

    configuration: Configuration
    block: int
    user: str
    value: float


class Visits:
    """Visits configurations on their next block, and keeps every paired difference."""

    def __init__(
        self,
        evaluator: Answering,
        blocks: Sequence[Sequence[HasUser]],
        baseline: Configuration,
        constraints: Mapping[str, float] | None = None,
        objectives: Sequence[str] = (),
    ) -> None:
        self.evaluator, self.blocks, self.baseline = evaluator, blocks, baseline
        self.constraints, self.objectives = constraints or {}, objectives
        self._texts: dict[Configuration, dict[int, list[Outcome]]] = {}
        self._baseline: dict[int, _Batch] = {}
        self._met: list[_Met] = []
        self._begun: dict[Configuration, int] = {}
        self._barred: set[Configuration] = set()

    def begin(self, configuration: Configuration) -> PendingVisit:
        """Send a configuration to its next block; it must have one left (see `exhausted`)."""
        block = self._begun.get(configuration, 0)
        self._begun[configuration] = block + 1
        rival = self._rival(block)
        mine = rival if configuration == self.baseline else self._start(configuration, block)
        return PendingVisit(configuration, block, mine, rival)

    def end(self, begun: PendingVisit) -> None:
        """Wait for a visit. Visits end in the order in which they began."""
        mine, rival = begun.mine(), begun.rival()
        self._texts.setdefault(begun.configuration, {})[begun.block] = mine
        self._met += [
            _Met(begun.configuration, begun.block, m.instance.user_id, m.score.difference(r.score))
            for m, r in zip(mine, rival, strict=True)
            if m.score and r.score
        ]

    def visit(self, configuration: Configuration) -> float:
        """Begin and end a visit, unless all blocks are seen; what is `known` then."""
        if not self.exhausted(configuration):
            self.end(self.begin(configuration))
        return self.known(configuration)

    def ahead(self, configuration: Configuration, blocks: int) -> tuple[int, int]:
        """Instances in the next ``blocks`` blocks of a configuration: that it answers, and that the baseline does."""
        seen = self._begun.get(configuration, 0)
        places = range(seen, min(seen + blocks, len(self.blocks)))
        rival = sum(len(self.blocks[p]) for p in places if p not in self._baseline)
        return 0 if configuration == self.baseline else sum(len(self.blocks[p]) for p in places), rival

    def exhausted(self, configuration: Configuration) -> bool:
        """Whether nothing is left to learn: it has seen every block, or cannot answer, or is the baseline."""
        if configuration == self.baseline or configuration in self._barred:
            return True
        return self._begun.get(configuration, 0) >= len(self.blocks)

    def exclude(self, configuration: Configuration) -> None:
        """Visit a configuration no more, and never choose it."""
        self._barred.add(configuration)

    def known(self, configuration: Configuration) -> float:
        """The mean paired difference of a visited configuration over all that it has seen."""
        return paired(*self._differences(configuration)).mean

    def gaps(self, configuration: Configuration) -> list[float]:
        """Each user's mean paired difference so far."""
        return per_user(*self._differences(configuration))

    def seen(self, configuration: Configuration) -> list[int]:
        """The blocks that a configuration has seen."""
        return list(self._texts.get(configuration, {}))

    def told(self, configuration: Configuration, block: int) -> tuple[float, ...]:
        """A visit that has ended, as a study takes it: its mean paired difference, and what each objective rose by."""
        gap = paired(*self._differences(configuration, block)).mean
        return gap, *objective_deltas(self.objectives, self._texts[configuration][block], self.on_block(block))

    def on_block(self, block: int) -> list[Outcome]:
        """The baseline on one block, measured once."""
        return self._rival(block)()

    def ranking(self) -> list[_ConfigurationSummary]:
        """Every visited configuration but the baseline, the most promising first."""
        found = [
            _ConfigurationSummary(c, paired(*self._differences(c)), mean, len(self.seen(c)), self._rises(c))
            for c, mean in self._believed().items()
        ]
        return sorted(found, key=lambda s: (-s.shrunk, -s.estimate.mean, s.configuration.digest))

    def _contenders(self) -> list[_ConfigurationSummary]:
        """Those of the ranking that may be chosen, as far as is known."""
        ranking = [s for s in self.ranking() if s.configuration not in self._barred]
        return [s for s in ranking if not exceeded(self._written(s.configuration), self.constraints)]

    def front(self) -> list[_ConfigurationSummary]:
        """The Pareto set: of all that meet every constraint, those that no other, nor the baseline, is as good as in
        every objective and better in one. The most promising first.
        """
        allowed = self._contenders()
        points = [(s.shrunk, *(-rise for rise in s.rises.values())) for s in allowed]
        rivals = [*points, (0.0,) * (1 + len(self.objectives))]

        def beaten(point: tuple[float, ...]) -> bool:
            return any(r != point and all(a >= b for a, b in zip(r, point, strict=True)) for r in rivals)

        return [s for s, point in zip(allowed, points, strict=True) if not beaten(point)]

    def winner(self) -> Configuration:
        """The most promising that meets every constraint, where it is believed better than the baseline, else that."""
        return next((s.configuration for s in self._contenders() if s.shrunk > 0), self.baseline)

    def _believed(self) -> dict[Configuration, float]:
        """How far above the baseline the model expects every visited configuration to lie."""
        visited = list(dict.fromkeys(m.configuration for m in self._met if m.configuration != self.baseline))
        if not visited:
            return {}
        levels = _levels([self.baseline, *visited])
        base, *means = LinearMixedModel(self._seen(levels)).means(list(levels.values()))
        return {c: float(mean - base) for c, mean in zip(visited, means, strict=True)}

    def excess(self, configuration: Configuration) -> str:
        """The constraints that a configuration has not met so far, for the end of a line; empty where all are met."""
        found = exceeded(self._written(configuration), self.constraints).items()
        return "".join(f"  ({name} {value:.3g}, at most {self.constraints[name]:.3g})" for name, value in found)

    def _rises(self, configuration: Configuration) -> dict[str, float]:
        """What each objective beside the value rose by over the baseline, on all that a configuration has seen."""
        rival = [text for block in self.seen(configuration) for text in self.on_block(block)]
        rises = objective_deltas(self.objectives, self._written(configuration), rival)
        return dict(zip(self.objectives, rises, strict=True))

    def _written(self, configuration: Configuration) -> list[Outcome]:
        return [text for texts in self._texts.get(configuration, {}).values() for text in texts]

    def _differences(self, configuration: Configuration, block: int | None = None) -> tuple[list[float], list[str]]:
        """A configuration's paired differences, on one block or on all, and whose they are."""
        met = [m for m in self._met if m.configuration == configuration and block in (None, m.block)]
        return [m.value for m in met], [m.user for m in met]

    def _seen(self, levels: Mapping[Configuration, Levels]) -> list[Observation]:
        """Every configuration's mean on each user of a block (or on the block), as the model takes them; the baseline's
        is 0.
        """
        fine = len({(m.user, m.block) for m in self._met}) <= _MOST_GROUPS
        groups: dict[tuple[Configuration, Hashable], list[float]] = {}
        for m in self._met:
            groups.setdefault((m.configuration, (m.user, m.block) if fine else m.block), []).append(m.value)
        seen = [Observation(levels[c], where, fmean(values), len(values)) for (c, where), values in groups.items()]
        most: dict[Hashable, float] = {}
        for s in seen:
            most[s.block] = max(s.n, most.get(s.block, 0.0))
        return [*seen, *(Observation(levels[self.baseline], where, 0.0, n) for where, n in most.items())]

    def _rival(self, block: int) -> _Batch:
        if block not in self._baseline:
            self._baseline[block] = self._start(self.baseline, block)
        return self._baseline[block]

    def _start(self, configuration: Configuration, block: int) -> _Batch:
        arm = Arm(configuration.digest, configuration)
        return self.evaluator.start(arm, self.blocks[block], sealed=False, phase="search")


def _levels(configurations: Sequence[Configuration]) -> dict[Configuration, Levels]:
    """Each configuration's candidates in the slots in which they differ at all."""
    plain = [c.as_dict() for c in configurations]
    slots = [slot for slot in plain[0] if len({str(p[slot]) for p in plain}) > 1]
    return {c: tuple(p[slot] for slot in slots) for c, p in zip(configurations, plain, strict=True)}


def describe_changes(changes: Mapping[str, object]) -> str:
    """A configuration's differences from the baseline on one line."""
    return ", ".join(f"{slot}={value}" for slot, value in changes.items()) or "the baseline itself"
