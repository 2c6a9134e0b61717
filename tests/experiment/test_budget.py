"""The budget: what the confirmation needs is never lent out, and what is decided does not depend on interruptions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dspy.lm15 import Config, Message, Request
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.errors import BudgetReached, UsageError
from hyperalign_dspy.experiment.budget import Budget
from hyperalign_dspy.experiment.reserve import Reserve, Tokens
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits, MaxUsage, Price, Prices
from hyperalign_dspy.lm.scripted import ScriptedEngine

PRICE = Price(1.0, 10.0)


def reserve(instances: int = 10, judged: int = 0) -> Reserve:
    """A confirmation of one call an instance: 30 tokens in and 10 out; a judge's call takes 50 and gives 2."""
    call, judgement = Tokens(30, 10, MaxUsage(90, 10)), Tokens(50, 2, MaxUsage(150, 2))
    return Reserve(instances, instances, judged, call, call, judgement, PRICE, PRICE)


def budget(limits: Limits, kept: Reserve | None = None) -> Budget:
    return Budget(Ledger(limits=limits, prices=Prices({"m": PRICE})), kept or reserve(), concurrency=2)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        # 30 calls less 10; (2,000 tokens - 10 x 40 - 2 in flight x 100 - 100 for the last one's worst) / 40; money at 1
        # and 10 a million the same way.
        (Limits(max_calls=30), 20),
        (Limits(max_tokens=2000), 32),
        (Limits(max_cost=0.003), 8),
        (Limits(max_calls=30, max_tokens=2000, max_cost=0.003), 8),
        (Limits(max_seconds=1), 10_000),
        (Limits(), 10_000),
    ],
)
def test_what_can_be_afforded_leaves_the_reserve_whole_under_every_cap(limits: Limits, most: int) -> None:
    found = budget(limits)
    assert found.affords(most)
    assert found.refused == ""
    assert found.affords(most + 1) is (most == 10_000)
    assert bool(found.refused) is (most != 10_000)


def test_the_judge_has_its_share() -> None:
    assert budget(Limits(max_calls=30), reserve(judged=15)).count(range(1, 20)) == 5
    assert (
        budget(Limits(max_tokens=2000), reserve(judged=10)).count(range(1, 100)) == (2000 - 400 - 520 - 304 - 100) // 40
    )


def test_what_was_seen_counts_where_it_is_more_than_was_told() -> None:
    found = budget(Limits(max_tokens=4000))
    before = found.count(range(1, 200))
    engine = found.ledger.wrap(ScriptedEngine(lambda request: "word " * 60), "m")
    engine.complete(Request("m", (Message.user("word " * 40),), config=Config(max_tokens=100, seed=0)))
    # 100 tokens a call, and a quarter more; the reserve grows alike.
    largest = 200 + 16 + 64 + 100
    assert before == (4000 - 400 - 200 - 100) // 40
    assert found.count(range(1, 200)) == (4000 - 100 - 1250 - 3 * largest) // 125


def test_time_goes_by_the_clock_and_by_calls_in_flight() -> None:
    now = [0.0]
    ledger = Ledger(limits=Limits(max_seconds=100), clock=lambda: now[0])

    def answer(request: Request) -> str:
        now[0] += 4
        return "yes"

    ledger.wrap(ScriptedEngine(answer), "m").complete(Request("m", (Message.user("a"),), config=Config(seed=0)))
    # 4 s a call, two at once, a quarter more: 2.5 s; 4 s are gone, 25 s are kept and 4 s for the longest of each.
    found = Budget(ledger, reserve(), concurrency=2)
    assert found.count(range(1, 100)) == int((100 - 4 - 25 - 4 - 4) / 2.5)
    with found.kept():
        # Nobody waits for a provider into the time of the confirmation.
        assert ledger.left() == 100 - 4 - 25 - 4
    assert ledger.left() == 100 - 4


def test_a_run_that_is_walked_again_knows_the_time_as_it_was(tmp_path: Path) -> None:
    now = [0.0]

    def answer(request: Request) -> str:
        now[0] += 4
        return "yes"

    def walk(calls: int) -> list[bool]:
        limits = Limits(max_seconds=80)
        with Ledger(tmp_path / "calls.jsonl", limits, clock=lambda: now[0]) as ledger:
            found, engine = Budget(ledger, reserve(), concurrency=2), ledger.wrap(ScriptedEngine(answer), "m")
            told = []
            for number in range(calls):
                told.append(found.affords(4))
                engine.complete(Request("m", (Message.user(f"{number}"),), config=Config(seed=0)))
            return told

    first = walk(12)
    assert first[0]
    assert not first[-1]
    now[0] += 1000
    assert walk(12) == first


def test_a_cap_that_is_too_low_is_refused_with_one_that_is_not() -> None:
    for option, limits in (
        ("--max calls", Limits(max_calls=12)),
        ("--max tokens", Limits(max_tokens=700)),
        ("--max cost", Limits(max_cost=0.001)),
    ):
        with pytest.raises(UsageError) as caught:
            budget(limits).demand(5)
        least = float(caught.value.fix.split(f"{option}=")[1].split(":")[0])
        name = {"--max calls": "max_calls", "--max tokens": "max_tokens", "--max cost": "max_cost"}[option]
        budget(Limits(**{name: least})).demand(5)  # type: ignore[arg-type]


class Flaky(ScriptedEngine):
    """Fails every fourth call when it is made first, whoever asks: a session that is killed has met that too."""

    def __init__(self) -> None:
        super().__init__(self.reply)
        self.met: set[str] = set()

    def reply(self, request: Request) -> str:
        text = str(request.messages[0].text)
        if int(text.split(maxsplit=1)[0]) % 4 == 1 and text not in self.met:
            self.met.add(text)
            raise RuntimeError("down")
        return "yes"


def search(ledger: Ledger, inner: ScriptedEngine, killed_after: int = 1000) -> int:
    """Visits of three calls each while the budget affords them, what fails tried again, killed after so many tries; how
    many were made.
    """
    found, engine = Budget(ledger, reserve(instances=3), concurrency=1), ledger.wrap(inner, "m")
    tries = 0
    for visit in range(1000):
        if not found.affords(3):
            return visit
        for number in range(3 * visit, 3 * visit + 3):
            text = "many words " * (number % 5)
            request = Request("m", (Message.user(f"{number} {text}"),), config=Config(max_tokens=10, seed=0))
            for _ in range(2):
                tries += 1
                if tries > killed_after:
                    return visit
                with suppress(RuntimeError):
                    engine.complete(request)
    raise AssertionError


@pytest.mark.parametrize("kind", [ScriptedEngine, Flaky])
@given(kills=st.lists(st.integers(0, 80), max_size=4), cap=st.integers(400, 2000))
def test_decisions_do_not_depend_on_how_often_a_run_was_cut_off(
    kind: Callable[[], ScriptedEngine], kills: list[int], cap: int
) -> None:
    limits = Limits(max_calls=50, max_tokens=cap)
    whole = search(Ledger(limits=limits), kind())
    with TemporaryDirectory() as folder:
        path, inner = Path(folder) / "calls.jsonl", kind()
        for kill in kills:
            with Ledger(path, limits) as ledger:
                search(ledger, inner, kill)
        for _ in range(2):
            with Ledger(path, limits) as ledger:
                assert search(ledger, inner) == whole


def word(text: str, count: int) -> Request:
    """A request of so many tokens; at its worst it takes 250 and gives 10."""
    return Request("m", (Message.user(f"{text} " * count),), config=Config(max_tokens=10, seed=0))


def spend(ledger: Ledger) -> tuple[Budget, int, list[str]]:
    """Visits of twelve calls that take twice what was told, and a confirmation of six that take what was; how many
    calls the search made, and what was said of its end.
    """
    most = Tokens(30, 10, MaxUsage(250, 10))
    kept = Reserve(6, 6, 0, most, most, most, PRICE, PRICE)
    found, engine, said = Budget(ledger, kept, 1), ledger.wrap(ScriptedEngine(), "m"), list[str]()
    made = 0
    with found.kept(), found.ending(lambda: None, said.append):
        while made < 600 and found.affords(12):
            found.renew()
            for _ in range(12):
                engine.complete(word(f"s{made}", 80))
                made += 1
    for number in range(6):
        engine.complete(word(f"c{number}", 30))
    return found, made, said


@given(cap=st.integers(1240, 9000))
def test_a_search_that_takes_more_than_was_told_leaves_the_confirmation_its_reserve(cap: int) -> None:
    limits = Limits(max_tokens=cap)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "calls.jsonl"
        with Ledger(path, limits) as ledger:
            found, made, said = spend(ledger)
            assert ledger.used.tokens <= cap
        assert made
        assert len(said) == (found.refused == "a cap") == (made % 12 > 0)
        # What was granted is granted again, though the confirmation has used of what was kept for it.
        with Ledger(path, limits) as ledger:
            again = Budget(ledger, found.reserve, 1, found.answers)
            assert [again.affords(12) for _ in found.answers] == [not answer for answer in found.answers]
            assert not again.affords(12)
            with again.kept():
                assert ledger.limits == limits


def test_a_cap_that_is_met_before_the_search_says_what_the_rest_is_for() -> None:
    found = budget(Limits(max_calls=12))
    engine = found.ledger.wrap(ScriptedEngine(), "m")
    with pytest.raises(BudgetReached, match="kept for the confirmation") as caught, found.kept():
        list(map(engine.complete, (word(f"{number}", 1) for number in range(3))))
    assert "--max calls" in caught.value.fix
    assert found.ledger.used.calls == 2
