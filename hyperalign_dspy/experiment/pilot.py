"""The pilot: does the baseline answer, how noisy are visits, and is there anything that could be shown?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from hyperalign_dspy.errors import GateFailed
from hyperalign_dspy.experiment.power import pilot_power
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import HasUser, TaskData

# The baseline must answer so much of the pilot: beating a program that cannot be parsed is no gain.
_ANSWERED = 0.95
# Fewer users tell too little of how far they lie apart.
_LEAST_USERS = 6

_Blocks = Sequence[Sequence[HasUser]]


def pilot_blocks(blocks: _Blocks) -> _Blocks:
    """The first blocks, as many as it takes to meet six users."""
    users: set[str] = set()
    for place, block in enumerate(blocks):
        users |= {instance.user_id for instance in block}
        if len(users) >= _LEAST_USERS:
            return blocks[: place + 1]
    return blocks


def pilot(
    task_data: TaskData,
    visits: Visits,
    first: Configuration | None,
    force: bool,
    say: Callable[[str], None],
    planned: int,
) -> None:
    """Let the baseline answer the pilot's blocks, and beside it what is to be visited first, where anything is.

    Its visits count: the search begins with what they told. ``planned`` is how many visits are paid for after them.

    Raises:
        GateFailed: the baseline does not answer; or no gain could be shown, and nobody said to go on ``force``.
    """
    blocks = pilot_blocks(visits.blocks)
    outcomes = [outcome for place in range(len(blocks)) for outcome in visits.on_block(place)]
    share = sum(outcome.score is not None for outcome in outcomes) / len(outcomes)
    if share < _ANSWERED:
        raise GateFailed(
            f"The baseline answered {share:.0%} of the pilot's calls; a search starts at {_ANSWERED:.0%}.",
            fix="Declare another adapter for the baseline in program.toml, or take another model.",
        )
    if first is None:
        return
    for begun in [visits.begin(first) for _ in blocks]:
        visits.end(begun)
    instances = [instance for block in blocks for instance in block]
    found = pilot_power(
        visits.gaps(first), (planned, len(blocks)), _shape(task_data, instances), _room(task_data, outcomes)
    )
    say(found.words(task_data.unit))
    if found.hopeless and not force:
        raise GateFailed(
            "Even by the most hopeful reading of the pilot the confirmation could show no gain below "
            f"{found.mde_lower:.2f} {task_data.unit}, and the baseline lies only {found.headroom:.2f} below the "
            "best that can be hoped for.",
            fix="Take more users or requests (see `--power`), or search all the same with --force.",
        )


def _shape(task_data: TaskData, instances: Sequence[HasUser]) -> tuple[int, float]:
    """Sealed users, and how many requests each has for one of the pilot's."""
    sealed, met = ([i.user_id for i in part] for part in (task_data.sealed, instances))
    each = [len(ids) / len(set(ids)) for ids in (sealed, met)]
    return len(set(sealed)), each[0] / each[1]


def _room(task_data: TaskData, outcomes: Sequence[Outcome]) -> float | None:
    """How far the baseline lies below the best that can be hoped for."""
    values = [o.score.value for o in outcomes if o.score and not o.score.harm]
    return task_data.ceiling - fmean(values) if task_data.ceiling is not None and values else None
