"""What has been measured on the validation users: visits, paired with the baseline, and the choice of a winner."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

from hyperalign_dspy.metrics.stats import Estimate, paired, per_user
from hyperalign_dspy.optimize.objectives import exceeded, objective_deltas
from hyperalign_dspy.optimize.surrogate import Levels, LinearMixedModel, Observation
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.outcomes import Outcome
from hyperalign_dspy.tasks.protocol import Arm, HasUser, difference

# With more users and rounds than this the model looks at blocks, and not at every user of theirs.
_MOST_GROUPS = 100


class _Landing(Protocol):
    """What is in the air: see `hyperalign_dspy.tasks.evaluate.PendingBatch`."""

    def result(self) -> list[Outcome]:
        """Wait for it."""


class Answering(Protocol):
    """Whoever lets a configuration answer: see `hyperalign_dspy.tasks.evaluate.Evaluator`."""

    def start(self, arm: Arm, instances: Sequence[HasUser], *, sealed: bool, phase: str) -> _Landing:
        """Begin to answer instances."""


@dataclass(frozen=True)
class _ConfigurationSummary:
    """What is known of one configuration: its paired differences to the baseline so far; and how far above the baseline
    the model believes it to lie, by all visits of all configurations: see `hyperalign_dspy.optimize.surrogate`.
    ``rises`` is what each objective of the search beside the value has risen by over the baseline so far; less is
    better.
    """

    configuration: Configuration
    estimate: Estimate
    shrunk: float
    blocks: int
    rises: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PendingVisit:
    """A visit that is under way."""

    configuration: Configuration
    block: int
    mine: _Landing
    rival: _Landing


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
        self._baseline: dict[int, _Landing] = {}
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

    def end(self, begun: PendingVisit) -> float:
        """Wait for a visit; the mean paired difference on its block. Visits end in the order in which they began."""
        mine, rival = begun.mine.result(), begun.rival.result()
        self._texts.setdefault(begun.configuration, {})[begun.block] = mine
        met = [
            _Met(begun.configuration, begun.block, m.instance.user_id, difference(m.score, r.score))
            for m, r in zip(mine, rival, strict=True)
            if m.score and r.score
        ]
        self._met += met
        return paired([m.value for m in met], [m.user for m in met]).mean

    def visit(self, configuration: Configuration) -> float:
        """Begin and end a visit; once a configuration has seen all blocks, what is known of it stands."""
        if self.exhausted(configuration):
            return self.known(configuration)
        return self.end(self.begin(configuration))

    def ahead(self, configuration: Configuration, blocks: int) -> tuple[int, int]:
        """Instances in the next ``blocks`` blocks of a configuration: that it answers, and that the baseline does."""
        seen = self._begun.get(configuration, 0)
        places = range(seen, min(seen + blocks, len(self.blocks)))
        rival = sum(len(self.blocks[p]) for p in places if p not in self._baseline)
        return 0 if configuration == self.baseline else sum(len(self.blocks[p]) for p in places), rival

    def exhausted(self, configuration: Configuration) -> bool:
        """Whether there is nothing left to learn of a configuration: it has seen every block, or cannot answer, or is
        the baseline, whose difference to itself is known.
        """
        if configuration == self.baseline or configuration in self._barred:
            return True
        return self._begun.get(configuration, 0) >= len(self.blocks)

    def exclude(self, configuration: Configuration) -> None:
        """Visit a configuration no more, and never choose it."""
        self._barred.add(configuration)

    def known(self, configuration: Configuration) -> float:
        """The mean paired difference of a visited configuration over all that it has seen."""
        return self._estimate(configuration).mean

    def gaps(self, configuration: Configuration) -> list[float]:
        """Each user's mean paired difference so far."""
        met = [m for m in self._met if m.configuration == configuration]
        return per_user([m.value for m in met], [m.user for m in met])

    def seen(self, configuration: Configuration) -> list[int]:
        """The blocks that a configuration has seen."""
        return list(self._texts.get(configuration, {}))

    def told(self, configuration: Configuration, block: int) -> tuple[float, ...]:
        """A visit that has ended, as a study takes it: its mean paired difference, and what each objective rose by."""
        met = [m for m in self._met if m.configuration == configuration and m.block == block]
        gap = paired([m.value for m in met], [m.user for m in met]).mean
        return gap, *objective_deltas(self.objectives, self._texts[configuration][block], self.on_block(block))

    def on_block(self, block: int) -> list[Outcome]:
        """The baseline on one block, measured once."""
        return self._rival(block).result()

    def ranking(self) -> list[_ConfigurationSummary]:
        """Every visited configuration but the baseline, the most promising first."""
        found = [
            _ConfigurationSummary(c, self._estimate(c), mean, len(self.seen(c)), self.rises(c))
            for c, mean in self._believed().items()
        ]
        return sorted(found, key=lambda s: (-s.shrunk, -s.estimate.mean, s.configuration.digest))

    def contenders(self) -> list[_ConfigurationSummary]:
        """Those of the ranking that may be chosen, as far as is known."""
        return [s for s in self.ranking() if self._allowed(s.configuration)]

    def front(self) -> list[_ConfigurationSummary]:
        """The Pareto set: of all that were visited and meet every constraint, those that no other, and not the baseline
        either, is as good as in every objective and better in one. The most promising first.
        """
        allowed = self.contenders()
        points = [(s.shrunk, *(-rise for rise in s.rises.values())) for s in allowed]
        rivals = [*points, (0.0,) * (1 + len(self.objectives))]
        return [s for s, point in zip(allowed, points, strict=True) if not any(_beats(r, point) for r in rivals)]

    def winner(self) -> Configuration:
        """The most promising of all that were visited and meet every constraint; the baseline where that one is not
        believed to lie above it.

        This only nominates: whether it is better is for the confirmation to say.
        """
        return next((s.configuration for s in self.contenders() if s.shrunk > 0), self.baseline)

    def _allowed(self, configuration: Configuration) -> bool:
        return configuration not in self._barred and not self.exceeded(configuration)

    def _believed(self) -> dict[Configuration, float]:
        """How far above the baseline the model expects every visited configuration to lie."""
        visited = list(dict.fromkeys(m.configuration for m in self._met if m.configuration != self.baseline))
        if not visited:
            return {}
        levels = _levels([self.baseline, *visited])
        base, *means = LinearMixedModel(self._seen(levels)).means(list(levels.values()))
        return {c: float(mean - base) for c, mean in zip(visited, means, strict=True)}

    def exceeded(self, configuration: Configuration) -> dict[str, float]:
        """The constraints that a configuration has not met so far, each with what was measured."""
        return exceeded(self._written(configuration), self.constraints)

    def excess(self, configuration: Configuration) -> str:
        """The same in words, for the end of a line; empty where all are met."""
        found = self.exceeded(configuration)
        return "".join(f"  ({name} {value:.3g}, at most {self.constraints[name]:.3g})" for name, value in found.items())

    def rises(self, configuration: Configuration) -> dict[str, float]:
        """What each objective beside the value rose by over the baseline, on all that a configuration has seen."""
        rival = [text for block in self.seen(configuration) for text in self.on_block(block)]
        return dict(
            zip(self.objectives, objective_deltas(self.objectives, self._written(configuration), rival), strict=True)
        )

    def _written(self, configuration: Configuration) -> list[Outcome]:
        return [text for texts in self._texts.get(configuration, {}).values() for text in texts]

    def _estimate(self, configuration: Configuration) -> Estimate:
        met = [m for m in self._met if m.configuration == configuration]
        return paired([m.value for m in met], [m.user for m in met])

    def _seen(self, levels: Mapping[Configuration, Levels]) -> list[Observation]:
        """Every configuration's mean on each user of a block (or on the block), as the model takes them.

        The baseline is one more configuration, whose difference to itself is 0 wherever it was met: what it scored
        there by luck all others have in common, and it has not.
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

    def _rival(self, block: int) -> _Landing:
        if block not in self._baseline:
            self._baseline[block] = self._start(self.baseline, block)
        return self._baseline[block]

    def _start(self, configuration: Configuration, block: int) -> _Landing:
        arm = Arm(configuration.digest, configuration)
        return self.evaluator.start(arm, self.blocks[block], sealed=False, phase="search")


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one dominates the other; higher is better in each place."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _levels(configurations: Sequence[Configuration]) -> dict[Configuration, Levels]:
    """Each configuration's candidates in the slots in which they differ at all."""
    plain = [c.as_dict() for c in configurations]
    slots = [slot for slot in plain[0] if len({str(p[slot]) for p in plain}) > 1]
    return {c: tuple(p[slot] for slot in slots) for c, p in zip(configurations, plain, strict=True)}


def describe(changes: Mapping[str, object]) -> str:
    """A configuration's differences from the baseline on one line."""
    return ", ".join(f"{slot}={value}" for slot, value in changes.items()) or "the baseline itself"
