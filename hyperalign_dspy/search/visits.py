"""What has been measured on the validation users: visits, paired with the baseline, and the choice of a winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperalign_dspy.metrics.stats import Estimate, paired, shrunk_mean
from hyperalign_dspy.search.evaluate import Evaluator, Outcome
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.tasks.protocol import Arm, HasUser, difference

# How far configurations lie apart, in log-odds, before anything is seen of them. Small: a winner is mostly luck.
PRIOR_SPREAD = 0.5


@dataclass(frozen=True)
class Standing:
    """What is known of one configuration: its paired differences to the baseline so far, raw and shrunk."""

    configuration: Configuration
    estimate: Estimate
    shrunk: float
    blocks: int


class Visits:
    """Visits configurations on their next block, and keeps every paired difference."""

    def __init__(self, evaluator: Evaluator, blocks: Sequence[Sequence[HasUser]], baseline: Configuration) -> None:
        self.evaluator, self.blocks, self.baseline = evaluator, blocks, baseline
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
            return self.standing(configuration).estimate.mean
        values, users = self._paired(configuration, block)
        self._seen[configuration] = block + 1
        self._values.setdefault(configuration, []).extend(values)
        self._users.setdefault(configuration, []).extend(users)
        return paired(values, users).mean

    def finish(self, configuration: Configuration) -> None:
        """Visit every block that the configuration has not seen."""
        while self._seen.get(configuration, 0) < len(self.blocks):
            self.visit(configuration)

    def ahead(self, configuration: Configuration, blocks: int) -> int:
        """How many instances the next ``blocks`` blocks of a configuration have answered, the baseline's included."""
        seen = self._seen.get(configuration, 0)
        places = range(seen, min(seen + blocks, len(self.blocks)))
        rival = 0 if configuration == self.baseline else 1
        return sum(len(self.blocks[p]) * (rival + (p not in self._baseline)) for p in places)

    def on_block(self, block: int) -> list[Outcome]:
        """The baseline on one block, measured once."""
        if block not in self._baseline:
            self._baseline[block] = self._outcomes(self.baseline, block)
        return self._baseline[block]

    def standing(self, configuration: Configuration) -> Standing:
        """All recorded instances of a configuration together."""
        values, users = self._values[configuration], self._users[configuration]
        return Standing(
            configuration,
            paired(values, users),
            shrunk_mean(values, users, PRIOR_SPREAD),
            self._seen[configuration],
        )

    def ranking(self) -> list[Standing]:
        """Every visited configuration but the baseline, the most promising first."""
        found = [self.standing(c) for c in self._values if c != self.baseline]
        return sorted(found, key=lambda s: (-s.shrunk, s.configuration.digest))

    def winner(self) -> Configuration:
        """The best shrunk mean among those that have seen most blocks; the baseline if none is above it."""
        ranking = self.ranking()
        most = max((s.blocks for s in ranking), default=0)
        best = next((s for s in ranking if s.blocks == most), None)
        return best.configuration if best and best.shrunk > 0 else self.baseline

    def _paired(self, configuration: Configuration, block: int) -> tuple[list[float], list[str]]:
        rivals = self.on_block(block)
        mine = rivals if configuration == self.baseline else self._outcomes(configuration, block)
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
