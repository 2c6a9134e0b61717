"""The search: ask for a configuration, send it to its next block, tell how it went; several visits in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hyperalign_dspy.errors import BudgetReached, TooManyFailures
from hyperalign_dspy.optimize.study import Study
from hyperalign_dspy.optimize.visits import PendingVisit, Visits
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import Value

# After so many suggestions in a row that have seen every block, the search has nothing left to learn.
_MOST_REPEATS = 50
# After so many configurations in a row under which the model fails, something else is wrong.
_MOST_FAILURES = 3
# A visit's place, its trial's number, and the visit itself.
_Flying = tuple[int, int, PendingVisit]


@dataclass(frozen=True)
class VisitResult:
    """The place-th visit, of trial ``number``: its mean paired difference, and what each further objective rose by."""

    place: int
    number: int
    configuration: Configuration
    gap: float
    rises: tuple[float, ...] = ()


@dataclass(frozen=True)
class SearchConfig:
    """How far a search goes: so many visits, ``start`` first, then the leader on every block, until whoever leads has
    seen them all, at most so many ``finalists``.

    ``known`` configurations have been visited already, and are told before anything is asked. ``max_in_flight`` visits
    are in flight together: a decision rests on visits that began so many places before it or earlier, so that a
    deterministic model gives the same search whoever is slow. ``affords`` says whether the budget has room for a
    configuration's next blocks: where calls are ``counted``, once nothing is in flight.
    """

    visits: int
    finalists: int
    start: Sequence[Mapping[str, Value]] = ()
    known: Sequence[Configuration] = ()
    max_in_flight: int = 1
    counted: bool = False
    affords: Callable[[Configuration, int], bool] = lambda configuration, blocks: True
    begins: Callable[[str, Configuration, int], None] = lambda *_: None
    ended: Callable[[VisitResult], None] = lambda *_: None
    failed: Callable[[Configuration, TooManyFailures], None] = lambda *_: None


def max_in_flight(concurrency: int, block: int, visits: int) -> int:
    """So many that most places are busy while the slowest answers are waited for: a third of all at most."""
    return max(1, min(math.ceil(2 * concurrency / block), visits // 3))


def search(study: Study, visits: Visits, config: SearchConfig) -> str:
    """Search until the visits are used up; returns why it ended.

    Raises:
        BudgetReached: a cap; nothing is told of the visits in flight. TooManyFailures: the baseline or several
        configurations in a row failed.
    """
    for configuration in config.known:
        for block in visits.seen(configuration):
            study.add(configuration, visits.told(configuration, block), block, len(visits.blocks[block]))
    for changes in config.start:
        if study.space.configuration(study.space.params(changes)) not in config.known:
            study.enqueue(changes)
    flying: deque[_Flying] = deque()
    try:
        reason = _visit(study, visits, config, flying)
        _finals(visits, config)
    except BudgetReached:
        for _, number, _ in flying:
            study.drop(number)
        raise
    return reason


def _visit(study: Study, visits: Visits, config: SearchConfig, flying: deque[_Flying]) -> str:
    """Make the visits, those that are under way in ``flying``; returns why they end."""
    failures = 0

    def end_oldest() -> None:
        nonlocal failures
        place, number, begun = flying[0]
        if _ended(visits, config, begun, last=failures + 1 == _MOST_FAILURES):
            failures = 0
            told = visits.told(begun.configuration, begun.block)
            study.tell(number, told, begun.block, len(visits.blocks[begun.block]))
            config.ended(VisitResult(place, number, begun.configuration, told[0], told[1:]))
        else:
            failures += 1
            study.drop(number, exhausted=True)
        flying.popleft()

    reason = "all visits are made"
    for place in range(1, config.visits + 1):
        if len(flying) >= config.max_in_flight:
            end_oldest()
        asked = _ask(study, visits)
        if asked is None:
            reason = "nothing that was suggested is still worth a visit"
            break
        number, configuration = asked
        if config.counted:
            for *_, begun in flying:
                # Who cannot answer is out when the visit ends.
                with suppress(TooManyFailures):
                    begun.rival()
                    begun.mine()
        if not config.affords(configuration, 1):
            study.drop(number)
            reason = "the budget leaves no room for another visit"
            break
        config.begins(f"visit {place}/{config.visits}", configuration, 1)
        flying.append((place, number, visits.begin(configuration)))
    while flying:
        end_oldest()
    return reason


def _ask(study: Study, visits: Visits) -> tuple[int, Configuration] | None:
    """The next suggestion that a visit can tell something of."""
    for _ in range(_MOST_REPEATS):
        number, configuration = study.ask()
        if not visits.exhausted(configuration):
            return number, configuration
        study.drop(number, exhausted=True)
    return None


def _ended(visits: Visits, config: SearchConfig, begun: PendingVisit, *, last: bool = False) -> bool:
    """End a visit; False where the model cannot answer under the configuration, which then is out.

    Raises: TooManyFailures: the baseline failed, or the configuration did and it is the ``last`` that may.
    """
    begun.rival()
    try:
        visits.end(begun)
    except TooManyFailures as error:
        if last:
            raise
        visits.exclude(begun.configuration)
        config.failed(begun.configuration, error)
        return False
    return True


def _finals(visits: Visits, config: SearchConfig) -> None:
    """Whoever leads is seen on every block before it is chosen: few easy blocks are no merit."""
    for _ in range(config.finalists):
        leader = visits.winner()
        if visits.exhausted(leader) or not config.affords(leader, len(visits.blocks)):
            return
        config.begins("finalist", leader, len(visits.blocks))
        flying = []
        while not visits.exhausted(leader):
            flying.append(visits.begin(leader))
        for begun in flying:
            _ended(visits, config, begun)
