"""The search's parts: blocks, study, pairing and the choice of a winner."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend, JournalStorage

from hyperalign_dspy.errors import BudgetReached, TooManyFailures, UsageError
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.optimize.loop import SearchConfig, VisitResult, search
from hyperalign_dspy.optimize.study import Space, Study
from hyperalign_dspy.optimize.visits import Visits, make_blocks
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.tasks.authorship import AuthorshipData
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import Answer, Arm, Context, Job, Score


class Watching:
    """Hears everything and says nothing."""

    def say(self, text: str) -> None: ...

    def step(self, phase: str, done: int, total: int, cost: Any) -> None: ...


@dataclass(frozen=True)
class Case:
    instance_id: str
    user_id: str


CASES = [Case(f"{user}/{n}", f"u{user:02}") for user in range(17) for n in range(2)]


class ToyBench:
    """Configurations whose true worth is known: ``worth`` for everybody, one call an answer."""

    unit = "points"

    def module(self, configuration: Configuration) -> Any:
        return configuration.as_dict()

    def answer(self, module: Any, instance: Case, *, context: Context = "own") -> Answer:
        said = dspy.settings.lm(f"{module['worth']} for {instance.instance_id}")[0]
        assert said
        return Answer(str(module["worth"]))

    def score(self, answers: Any, instances: Any, *, sealed: bool) -> list[Score]:
        return [Score(float(answer.text)) for answer in answers]


def evaluator(engine: ScriptedEngine, limits: Limits | None = None) -> Evaluator:
    ledger = Ledger(limits=limits)
    lm = dspy.LM("scripted", engine=ledger.wrap(engine, "scripted"), cache=False, num_retries=0)
    return Evaluator(ToyBench(), lm, ledger, 4)  # type: ignore[arg-type]


def worth(value: float) -> Configuration:
    return Configuration.of({"worth": value})


def finish(visits: Visits, configuration: Configuration) -> None:
    while not visits.exhausted(configuration):
        visits.visit(configuration)


@given(st.integers(2, 12), st.integers(0, 99))
def test_blocks_hold_every_instance_once_and_keep_users_whole(users: int, seed: int) -> None:
    blocks = make_blocks(CASES, users, seed)
    assert sorted(c.instance_id for block in blocks for c in block) == sorted(c.instance_id for c in CASES)
    homes = [{c.user_id for c in block} for block in blocks]
    assert sum(map(len, homes)) == 17
    assert blocks == make_blocks(CASES, users, seed)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 8), st.integers(1, 6), st.integers(0, 9))
def test_in_every_round_each_user_is_met_once_with_an_equal_part(
    counts: list[int], users: int, rounds: int, seed: int
) -> None:
    cases = [Case(f"{user}/{n}", str(user)) for user, count in enumerate(counts) for n in range(count)]
    blocks = make_blocks(cases, users, seed, rounds)
    assert sorted(c.instance_id for block in blocks for c in block) == sorted(c.instance_id for c in cases)
    homes = [list(dict.fromkeys(c.user_id for c in block)) for block in blocks]
    assert all(len(home) < users * 1.5 for home in homes)
    met = [user for home in homes for user in home]
    for turn in range(rounds):
        present = [str(user) for user, count in enumerate(counts) if count > turn]
        assert sorted(met[: len(present)]) == sorted(present)
        met = met[len(present) :]
    sizes = [sum(c.user_id == user for c in block) for block in blocks for user in {c.user_id for c in block}]
    assert max(sizes) <= -(-max(counts) // rounds)


def test_visits_pair_with_the_baseline_and_the_best_wins() -> None:
    visits = Visits(evaluator(ScriptedEngine()), make_blocks(CASES, 6, 0), worth(1.0))
    assert visits.visit(worth(3.0)) == 2.0
    assert visits.visit(worth(0.0)) == -1.0
    finish(visits, worth(3.0))
    assert visits.winner() == worth(3.0)
    assert visits.ranking()[0].estimate.n_users == 17


def test_a_repeated_visit_buys_new_instances_and_then_nothing() -> None:
    engine = ScriptedEngine()
    visits = Visits(evaluator(engine), make_blocks(CASES, 6, 0), worth(1.0))
    counts = []
    for _ in range(5):
        visits.visit(worth(2.0))
        counts.append(engine.calls)
    assert counts[0] < counts[1] < counts[2] == counts[4] == 2 * len(CASES)


def test_nothing_better_than_the_baseline_leaves_the_baseline() -> None:
    visits = Visits(evaluator(ScriptedEngine()), make_blocks(CASES, 6, 0), worth(1.0))
    visits.visit(worth(0.5))
    assert visits.winner() == worth(1.0)


def test_a_model_that_fails_too_often_ends_the_run_with_its_reason() -> None:
    def fail(request: Any) -> str:
        raise ValueError("no voice")

    with pytest.raises(TooManyFailures, match="no voice"):
        evaluator(ScriptedEngine(fail)).outcomes(Arm("a", worth(1.0)), CASES, sealed=False, phase="x")


def test_a_configuration_that_cannot_answer_is_out_and_the_search_goes_on() -> None:
    def answer(request: Any) -> str:
        if "3.0 for" in str(request):
            raise ValueError("too long for me")
        return "yes"

    made = evaluator(ScriptedEngine(answer))
    visits = Visits(made, make_blocks(CASES, 6, 0), worth(1.0))
    space = FewWorths()
    study, out = Study(None, space, "random", 0), list[Configuration]()
    config = SearchConfig(
        visits=12, finalists=1, max_in_flight=2, failed=lambda configuration, error: out.append(configuration)
    )
    reason = search(study, visits, config)
    assert set(out) == {worth(3.0)}
    assert "nothing that was suggested" in reason
    assert visits.winner() == worth(2.0)


class FewWorths:
    """The baseline, something better, and something that the model cannot answer."""

    def distributions(self) -> dict[str, Any]:
        return {"worth": optuna.distributions.CategoricalDistribution([1.0, 2.0, 3.0])}

    def configuration(self, params: Any) -> Configuration:
        return Configuration.of(params)

    def params(self, changes: Any) -> dict[str, Any]:
        return {"worth": 1.0, **changes}


def test_a_cap_in_the_middle_of_a_visit_ends_the_search_and_nothing_more_is_sent() -> None:
    engine = ScriptedEngine(delay=0.002)
    made = evaluator(engine, Limits(max_calls=50))
    visits = Visits(made, make_blocks(CASES, 6, 0), worth(1.0))
    study = Study(None, FewWorths(), "random", 0)
    ended: list[VisitResult] = []
    with pytest.raises(BudgetReached):
        search(study, visits, SearchConfig(visits=12, finalists=1, ended=ended.append))
    made.drop()
    with made.ledger.within(Limits()):
        time.sleep(0.05)
        assert engine.calls == 50
    assert ended
    assert [s.blocks for s in visits.ranking()] == [len(visits.seen(s.configuration)) for s in visits.ranking()]
    assert sum(s.blocks for s in visits.ranking()) == len(ended)
    assert study._study.get_trials(states=[optuna.trial.TrialState.RUNNING]) == []


def test_what_the_record_does_not_answer_is_counted_and_not_asked_for() -> None:
    engine = ScriptedEngine()
    made = evaluator(engine)
    arm = Arm("a", worth(1.0))
    made.outcomes(arm, CASES[:20], sealed=True, phase="x")
    assert made.lacking(arm, CASES, "x") == len(CASES) - 20
    assert (engine.calls, made.ledger.limits) == (20, Limits())


def test_a_cap_travels_out_of_dspy_as_itself() -> None:
    with pytest.raises(BudgetReached):
        evaluator(ScriptedEngine(), Limits(max_calls=5)).outcomes(Arm("a", worth(1.0)), CASES, sealed=False, phase="x")


@given(st.floats(-5, 5), st.floats(-5, 5), st.booleans(), st.booleans())
def test_who_copies_loses(mine: float, rival: float, copied: bool, theirs: bool) -> None:
    a, b = Score(mine, copied=copied), Score(rival, copied=theirs)
    assert a.difference(b) == -b.difference(a)
    assert a.win(b) == 1 - b.win(a)
    if copied and not theirs:
        assert a.difference(b) <= 0
        assert a.win(b) == 0


def test_the_same_seed_asks_for_the_same_and_another_for_another(tmp_path: Path) -> None:
    space = Space(load_program("authorship"), load_recipe("full", "authorship"))

    def asked(seed: int) -> list[Configuration]:
        study = Study(tmp_path / "study.journal", space, "tpe", seed)
        study.enqueue({"samples": 2})
        found = []
        for place in range(10):
            number, configuration = study.ask()
            study.tell(number, [float(place % 3)], 0, 4)
            found.append(configuration)
        return found

    first = asked(1)
    assert first == asked(1)
    assert first != asked(2)
    assert first[0].as_dict()["samples"] == 2
    assert len({c.digest for c in first}) > 5


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    journal.write_text("half a li")
    journal.with_name("study.journal.lock").symlink_to(journal)
    start = time.monotonic()
    study = Study(journal, Space(load_program("authorship"), load_recipe("full", "authorship")), "random", 0)
    study.tell(study.ask()[0], [1.0], 0, 4)
    assert time.monotonic() - start < 10
    (trial,) = JournalStorage(JournalFileBackend(str(journal))).get_all_trials(0)
    assert trial.value == 1.0


@pytest.mark.parametrize("recipe", ["quick", "full"])
def test_every_candidate_of_a_shipped_recipe_makes_a_module(recipe: str) -> None:
    program = load_program("authorship")
    space = Space(program, load_recipe(recipe, "authorship"))
    for slot, candidates in space.slots.items():
        for value in candidates:
            assert build(program, space.configuration({slot: value}))


def test_what_is_ahead_counts_only_what_has_not_been_seen() -> None:
    visits = Visits(evaluator(ScriptedEngine()), make_blocks(CASES, 6, 0), worth(1.0))
    first = len(visits.blocks[0])
    assert visits.ahead(worth(2.0), 1) == (first, first)
    visits.on_block(0)
    assert visits.ahead(worth(2.0), 1) == (first, 0)
    visits.visit(worth(2.0))
    assert visits.ahead(worth(2.0), 9) == (len(CASES) - first, len(CASES) - first)
    assert not visits.exhausted(worth(2.0))
    finish(visits, worth(2.0))
    assert visits.exhausted(worth(2.0))
    assert visits.ahead(worth(2.0), 9) == (0, 0)


BAD_RECIPES = [
    ("confirm_users = 24", "confirm_users = 0", "from 3 up"),
    ("block_users = 7", "block_users = 0", "from 1 up"),
    ("visits = 30", 'visits = "6"', "whole number"),
    ("temperature = [0.3, 0.5, 0.7, 0.9]", "temperature = 0.5", "list of candidates"),
    ("temperature = [0.3, 0.5, 0.7, 0.9]", "temperature = [0.5, 0.9]", "Add 0.7"),
    ("temperature = [0.3, 0.5, 0.7, 0.9]", 'temperature = [0.7, "hot"]', "between 0 and 2"),
    ("drafts = [1, 2, 4]", "drafts = [1, 30]", "between 1 and 8"),
    ("drafts = [1, 2, 4]", "draughts = [1, 3]", "Known slots"),
    ('"voice", "plain"]', '"voice", "plane"]', "Did you mean plain"),
    ("samples = 4\ndrafts", "samples = 5\ndrafts", "no candidate"),
]


@pytest.mark.parametrize(("was", "becomes", "said"), BAD_RECIPES, ids=[b for _, b, _ in BAD_RECIPES])
def test_a_recipe_that_cannot_work_is_refused_before_anything_is_paid(
    tmp_path: Path, was: str, becomes: str, said: str
) -> None:
    text = (Path(__file__).parents[2] / "optimizers/authorship-full.toml").read_text()
    assert was in text
    (tmp_path / "bad.toml").write_text(text.replace(was, becomes, 1))
    with pytest.raises(UsageError) as caught:
        Compiler(
            Job(load_program("authorship"), load_recipe("bad.toml", "authorship"), "bundled"), "scripted", Watching()
        )
    assert said in str(caught.value)


def test_the_sealed_users_of_one_recipe_are_sealed_for_every_other() -> None:
    program = load_program("authorship")
    quick, full = (AuthorshipData(Job(program, load_recipe(r, "authorship"), "bundled")) for r in ("quick", "full"))
    assert quick.facts["split_digest"] == full.facts["split_digest"]
    searched = {i.user_id for task_data in (quick, full) for i in task_data.validation}
    sealed = {i.user_id for task_data in (quick, full) for i in task_data.sealed}
    assert not searched & sealed
    assert {i.instance_id for i in quick.sealed} < {i.instance_id for i in full.sealed}


def test_who_copies_a_strangers_sample_is_caught_too() -> None:
    task_data = AuthorshipData(Job(load_program("authorship"), load_recipe("quick", "authorship"), "bundled"))
    mine, other = task_data.sealed[0], next(i for i in task_data.sealed if i.user_id != task_data.sealed[0].user_id)
    taken = Answer(other.shown[0].text, tuple(s.text for s in other.shown))
    honest = Answer("Nothing of anybody's.", tuple(s.text for s in other.shown))
    assert [s.copied for s in task_data.score([taken, honest], [mine, mine], sealed=True)] == [True, False]


def test_a_recipe_with_an_unknown_key_or_no_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("schema = 2\nvisitz = 3\n")
    with pytest.raises(UsageError, match="visitz") as caught:
        load_recipe(str(path), "any")
    assert "visits" in caught.value.fix
    path.write_text("visits = 3\n")
    with pytest.raises(UsageError, match="schema"):
        load_recipe(str(path), "any")


def test_refusing_more_does_not_make_up_for_helping_less() -> None:
    helped, refused = Score(0.8), Score(0.0)
    complied, declined = Score(1.0, harm=True), Score(0.0, harm=True)
    assert refused.difference(helped) + declined.difference(complied) < 0
    assert helped.difference(refused) + complied.difference(declined) < 0
    assert declined.difference(complied) > 0
