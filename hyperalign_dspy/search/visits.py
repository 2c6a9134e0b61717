"""What has been measured on the validation users: visits, paired with the baseline, and the choice of a winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperalign_dspy.metrics.stats import Estimate, paired, per_user, shrink
from hyperalign_dspy.search.constraints import exceeded
from hyperalign_dspy.search.evaluate import Evaluator, Outcome
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Arm, HasUser, difference


@dataclass(frozen=True)
class Standing:
    """What is known of one configuration: its paired differences to the baseline so far, and their mean drawn towards
    that of all visited configurations by as much as it may be luck."""

    configuration: Configuration
    estimate: Estimate
    shrunk: float
    blocks: int


class Visits:
    """Visits configurations on their next block, and keeps every paired difference."""

    def __init__(
        self,
        evaluator: Evaluator,
        blocks: Sequence[Sequence[HasUser]],
        baseline: Configuration,
        at_most: Mapping[str, float] | None = None,
    ) -> None:
        self.evaluator, self.blocks, self.baseline = evaluator, blocks, baseline
        self.at_most = at_most or {}
        self._texts: dict[Configuration, list[Outcome]] = {}
        self._baseline: dict[int, list[Outcome]] = {}
        self._values: dict[Configuration, list[float]] = {}
        self._users: dict[Configuration, list[str]] = {}
        self._seen: dict[Configuration, int] = {}

    def visit(self, configuration: Configuration) -> float:
        """Score a configuration on its next block; once it has seen all, what is known of it stands.

        Returns the mean paired difference on that block (over all blocks, once all are seen).
        """
        block = self._seen.get(configuration, 0)
        if block >= len(self.blocks):
            return self.known(configuration)
        values, users = self._paired(configuration, block)
        self._seen[configuration] = block + 1
        self._values.setdefault(configuration, []).extend(values)
        self._users.setdefault(configuration, []).extend(users)
        return paired(values, users).mean

    def finish(self, configuration: Configuration) -> None:
        """Visit every block that the configuration has not seen."""
        while not self.exhausted(configuration):
            self.visit(configuration)

    def ahead(self, configuration: Configuration, blocks: int) -> tuple[int, int]:
        """Instances in the next ``blocks`` blocks of a configuration: that it answers, and that the baseline does."""
        seen = self._seen.get(configuration, 0)
        places = range(seen, min(seen + blocks, len(self.blocks)))
        rival = sum(len(self.blocks[p]) for p in places if p not in self._baseline)
        return 0 if configuration == self.baseline else sum(len(self.blocks[p]) for p in places), rival

    def exhausted(self, configuration: Configuration) -> bool:
        """Whether a configuration has seen every block."""
        return self._seen.get(configuration, 0) >= len(self.blocks)

    def known(self, configuration: Configuration) -> float:
        """The mean paired difference of a visited configuration over all that it has seen."""
        return paired(self._values[configuration], self._users[configuration]).mean

    def on_block(self, block: int) -> list[Outcome]:
        """The baseline on one block, measured once."""
        if block not in self._baseline:
            self._baseline[block] = self._outcomes(self.baseline, block)
        return self._baseline[block]

    def ranking(self) -> list[Standing]:
        """Every visited configuration but the baseline, the most promising first."""
        visited = [c for c in self._values if c != self.baseline]
        drawn = shrink([per_user(self._values[c], self._users[c]) for c in visited])
        found = [
            Standing(c, paired(self._values[c], self._users[c]), mean, self._seen[c])
            for c, mean in zip(visited, drawn, strict=True)
        ]
        return sorted(found, key=lambda s: (-s.shrunk, -s.estimate.mean, s.configuration.digest))

    def winner(self) -> Configuration:
        """The most promising of those that have seen most blocks and meet every constraint; the baseline where that one
        lies below it.

        This only nominates: whether it is better is for the confirmation to say.
        """
        ranking = [s for s in self.ranking() if not self.exceeded(s.configuration)]
        most = max((s.blocks for s in ranking), default=0)
        best = next((s for s in ranking if s.blocks == most), None)
        return best.configuration if best and best.estimate.mean > 0 else self.baseline

    def exceeded(self, configuration: Configuration) -> dict[str, float]:
        """The constraints that a configuration has not met so far, each with what was measured."""
        return exceeded(self._texts.get(configuration, []), self.at_most)

    def _paired(self, configuration: Configuration, block: int) -> tuple[list[float], list[str]]:
        rivals = self.on_block(block)
        mine = rivals if configuration == self.baseline else self._outcomes(configuration, block)
        self._texts.setdefault(configuration, []).extend(mine)
        pairs = [
            (difference(m.score, r.score), m.instance.user_id)
            for m, r in zip(mine, rivals, strict=True)
            if m.score and r.score
        ]
        return [value for value, _ in pairs], [user for _, user in pairs]

    def _outcomes(self, configuration: Configuration, block: int) -> list[Outcome]:
        arm = Arm(configuration.digest, configuration)
        return self.evaluator.outcomes(arm, self.blocks[block], sealed=False, phase="search")


def describe(changes: Mapping[str, object]) -> str:
    """A configuration's differences from the baseline on one line."""
    return ", ".join(f"{slot}={value}" for slot, value in changes.items()) or "the baseline itself"
