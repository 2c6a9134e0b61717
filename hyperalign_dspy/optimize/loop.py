"""The search: ask for a configuration, send it to its next block, tell how it went; several visits in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hyperalign_dspy.errors import BudgetReached, TooManyFailures
from hyperalign_dspy.optimize.study import Study
from hyperalign_dspy.optimize.visits import PendingVisit, Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import Value

# After so many suggestions in a row that have seen every block, the search has nothing left to learn.
_MOST_REPEATS = 50
# After so many configurations in a row under which the model fails, something else is wrong.
_MOST_FAILURES = 3


@dataclass(frozen=True)
class VisitResult:
    """One visit that has ended: the place-th, of trial ``number``, its mean paired difference, and what each further
    objective rose by.
    """

    place: int
    number: int
    configuration: Configuration
    gap: float
    rises: tuple[float, ...] = ()


def _never(*_: object) -> None:
    """Hears nothing."""


@dataclass(frozen=True)
class SearchConfig:
    """How far a search goes: so many visits, ``start`` first, then the leader on every block, until whoever leads has
    seen them all, at most so many ``finalists``.

    ``known`` are configurations that have been visited already; what came of it is told before anything is asked, and
    what ``start`` says of them is done. ``max_in_flight`` visits are in flight together: a decision rests on visits
    that began ``max_in_flight`` places before it or earlier, whatever has come in meanwhile, so that a deterministic
    model gives the same search whoever is slow. ``affords`` says whether the budget has room for a configuration's next
    blocks: where calls are ``counted`` that is asked once all that is in the air has landed. ``begins``, ``ended`` and
    ``failed`` are told.
    """

    visits: int
    finalists: int
    start: Sequence[Mapping[str, Value]] = ()
    known: Sequence[Configuration] = ()
    max_in_flight: int = 1
    counted: bool = False
    affords: Callable[[Configuration, int], bool] = lambda configuration, blocks: True
    begins: Callable[[str, Configuration, int], None] = _never
    ended: Callable[[VisitResult], None] = field(default=_never)
    failed: Callable[[Configuration, TooManyFailures], None] = _never


def max_in_flight(concurrency: int, block: int, visits: int) -> int:
    """So many visits in flight keep most places busy while the slowest answers of the oldest are waited for; never
    more than a third of all, since a decision ought to know something.

    One where a block is twice as large as there are places: the embedded engine's four are as busy with one visit.
    """
    return max(1, min(math.ceil(2 * concurrency / block), visits // 3))


def search(study: Study, visits: Visits, config: SearchConfig) -> str:
    """Search until the visits are used up; returns why it ended.

    Raises:
        BudgetReached: a call met a cap; nothing is told of the visits in flight. TooManyFailures: see `_end`.
    """
    for configuration in config.known:
        for block in visits.seen(configuration):
            study.add(configuration, visits.told(configuration, block), block, len(visits.blocks[block]))
    for changes in config.start:
        if study.space.configuration(study.space.params(changes)) not in config.known:
            study.enqueue(changes)
    flying: deque[tuple[int, int, PendingVisit]] = deque()
    try:
        reason = _visit(study, visits, config, flying)
        _finals(visits, config)
    except BudgetReached:
        for _, number, _ in flying:
            study.drop(number)
        raise
    return reason


def _visit(study: Study, visits: Visits, config: SearchConfig, flying: deque[tuple[int, int, PendingVisit]]) -> str:
    """Make the visits, those that are under way in ``flying``; returns why they end."""
    failures = 0
    reason = "all visits are made"
    for place in range(1, config.visits + 1):
        if len(flying) >= config.max_in_flight:
            failures = _end(study, visits, config, flying[0], failures)
            flying.popleft()
        asked = _ask(study, visits)
        if asked is None:
            reason = "nothing that was suggested is still worth a visit"
            break
        number, configuration = asked
        if config.counted:
            _land(flying)
        if not config.affords(configuration, 1):
            study.drop(number)
            reason = "the budget leaves no room for another visit"
            break
        config.begins(f"visit {place}/{config.visits}", configuration, 1)
        flying.append((place, number, visits.begin(configuration)))
    while flying:
        failures = _end(study, visits, config, flying[0], failures)
        flying.popleft()
    return reason


def _land(flying: Iterable[tuple[int, int, PendingVisit]]) -> None:
    """Wait for visits that are told of later."""
    for *_, begun in flying:
        # Who cannot answer is out when the visit ends.
        with suppress(TooManyFailures):
            begun.rival.result()
            begun.mine.result()


def _ask(study: Study, visits: Visits) -> tuple[int, Configuration] | None:
    """The next suggestion that a visit can tell something of."""
    for _ in range(_MOST_REPEATS):
        number, configuration = study.ask()
        if not visits.exhausted(configuration):
            return number, configuration
        study.drop(number, exhausted=True)
    return None


def _end(
    study: Study, visits: Visits, config: SearchConfig, pending: tuple[int, int, PendingVisit], failures: int
) -> int:
    """End a visit. A configuration that the model cannot answer under is out, and the search goes on; returns how many
    in a row were so.

    Raises:
        TooManyFailures: the baseline failed, or several configurations in a row: then it is not for their sake.
    """
    place, number, begun = pending
    begun.rival.result()
    try:
        gap = visits.end(begun)
    except TooManyFailures as error:
        if failures + 1 >= _MOST_FAILURES:
            raise
        visits.exclude(begun.configuration)
        study.drop(number, exhausted=True)
        config.failed(begun.configuration, error)
        return failures + 1
    told = visits.told(begun.configuration, begun.block)
    study.tell(number, told, begun.block, len(visits.blocks[begun.block]))
    config.ended(VisitResult(place, number, begun.configuration, gap, told[1:]))
    return 0


def _finals(visits: Visits, config: SearchConfig) -> None:
    """Whoever leads is seen on every block before it is chosen, and if it leads no more, whoever leads then: who has
    met the easier blocks only would else be chosen for that.
    """
    for _ in range(config.finalists):
        leader = visits.winner()
        if visits.exhausted(leader) or not config.affords(leader, len(visits.blocks)):
            return
        config.begins("finalist", leader, len(visits.blocks))
        flying = []
        while not visits.exhausted(leader):
            flying.append(visits.begin(leader))
        for begun in flying:
            _end_final(visits, config, begun)


def _end_final(visits: Visits, config: SearchConfig, begun: PendingVisit) -> None:
    """End a final visit. A configuration that the model cannot answer under is out.

    Raises:
        TooManyFailures: the baseline failed.
    """
    begun.rival.result()
    try:
        visits.end(begun)
    except TooManyFailures as error:
        visits.exclude(begun.configuration)
        config.failed(begun.configuration, error)
