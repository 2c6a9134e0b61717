"""Candidates made before the search: what makers see, what is kept of what they give, and what a run does with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.frozen import Provenance, freeze, load_frozen
from hyperalign_dspy.cli.compile import compile_command
from hyperalign_dspy.cli.options import command_of
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import FrozenMismatch, UnknownName, UsageError
from hyperalign_dspy.experiment import compile as compiling
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.evaluate_frozen import Evaluation, evaluate_frozen
from hyperalign_dspy.experiment.result import Compiled
from hyperalign_dspy.files import digest, dump, read_json
from hyperalign_dspy.lm import connect as connecting
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.scripted import ScriptedEngine, _scripted
from hyperalign_dspy.metrics.copying import RUN, longest_run_among
from hyperalign_dspy.optimize.pools import clean_demos, clean_instructions
from hyperalign_dspy.optimize.proposers import ProposalContext
from hyperalign_dspy.program.configuration import Configuration, build, with_candidates
from hyperalign_dspy.program.specs import RecipeSpec, load_program, load_recipe, recipe_digest
from hyperalign_dspy.tasks import authorship
from hyperalign_dspy.tasks.protocol import Job, Score

PROPOSING = "You write instructions"
GAIN = r"\(gain [+-][\d.]+ over \d+ users\)"
RECIPE = """schema = 2
name = "pools"
summary = "A few candidates are made first."
visits = 3
finalists = 0
block_users = 4
block_requests = 1
confirm_users = 3
confirm_requests = 1
max_tokens = 24

[slots]
"generate.write.instruction" = ["seed", "voice"]

[[start]]
"generate.write.instruction" = "voice"
"""
WISHES = '\n[candidates."generate.write"]\n'


class Heard:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def step(self, phase: str, done: int, total: int, cost: Any) -> None: ...


@dataclass
class Model:
    """A scripted model that answers a proposing prompt by ``propose`` and keeps every request."""

    propose: Callable[[str], str]
    engine: ScriptedEngine
    prompts: list[str]

    @property
    def asked(self) -> list[str]:
        return [prompt for prompt in self.prompts if PROPOSING in prompt]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    prompts: list[str] = []
    made = Model(sensible, ScriptedEngine(), prompts)

    def answer(request: Request) -> str:
        text = json.dumps(messages_of(request), ensure_ascii=False)
        prompts.append(text)
        return made.propose(text) if PROPOSING in text else _scripted(request)

    made.engine = ScriptedEngine(answer)
    monkeypatch.setattr(connecting, "_engine_of", lambda name, *_: made.engine)
    return made


def sensible(prompt: str) -> str:
    """Another instruction for another prompt, as models put them."""
    return f'"Instruction: Keep the rhythm of the earlier texts, way {digest(prompt)[:5]}."'


@pytest.fixture(autouse=True)
def few_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled corpus with a third of its users: judges are trained in a second."""
    corpus = bundled_corpus()
    few = replace(corpus, users=corpus.users[:14], digest="few")
    real = authorship.load_corpus
    monkeypatch.setattr(
        authorship, "load_corpus", lambda source, *_, **__: few if source == "bundled" else real(source)
    )


def recipe_of(folder: Path, proposals: str) -> RecipeSpec:
    path = folder / "pools.toml"
    path.write_text(RECIPE + (WISHES + proposals if proposals else ""))
    return load_recipe(str(path), "authorship")


def job_of(recipe: RecipeSpec, **more: Any) -> Job:
    return Job(load_program("authorship"), recipe, "bundled", {"words": 18}, force=True, **more)


def compiled(job: Job, heard: Heard | None = None) -> Compiled:
    return Compiler(job, "scripted", heard or Heard()).run()


def measured(found: Compiled) -> Any:
    rows = [{k: v for k, v in asdict(row).items() if k != "cost"} for row in found.confirmation.rows]
    return dump([rows, found.chosen.as_dict(), found.top])


def test_made_candidates_are_searched_and_a_repeat_is_the_same_for_nothing(tmp_path: Path, model: Model) -> None:
    job = job_of(recipe_of(tmp_path, "grounded = 2\nreflective = 2\nbootstrap = 1\n"))
    heard = Heard()
    first = compiled(job, heard)
    made = read_json(first.run.path("candidates.json"))
    assert list(made["candidates"]["generate.write.instruction"]) == [
        "grounded-1",
        "grounded-2",
        "reflective-1",
        "reflective-2",
    ]
    assert list(made["candidates"]["generate.write.demos"]) == ["bootstrap-1"]
    assert made["proposers"]["grounded"]["calls"] == made["proposers"]["reflective"]["calls"] == 2
    assert made["proposers"]["grounded"]["input_tokens"] > 0
    assert any(line.startswith("grounded: 2 of 2 for generate.write.instruction, 2 calls") for line in heard.lines)
    assert first.plan.propose_calls == 4
    assert first.plan.configurations == 12
    before, calls = made, model.engine.calls
    again = compiled(job)
    assert model.engine.calls == calls
    assert again.run.run_id == first.run.run_id
    assert measured(again) == measured(first)
    assert read_json(again.run.path("candidates.json")) == before


def test_what_makers_see_is_of_validation_users_only(tmp_path: Path, model: Model) -> None:
    job = job_of(recipe_of(tmp_path, "grounded = 2\nreflective = 3\n"))
    compiler = Compiler(job, "scripted", Heard())
    compiler.run()
    shown = {i.user_id for i in compiler.task_data.validation}
    assert len(model.asked) == 5
    for user in compiler.task_data.corpus.users:  # type: ignore[attr-defined]
        if user.user_id not in shown:
            for prompt in model.asked:
                assert longest_run_among(prompt, [s.text for s in user.samples]) < RUN, user.user_id


def test_a_reflective_maker_is_told_what_the_texts_lack(tmp_path: Path, model: Model) -> None:
    compiled(job_of(recipe_of(tmp_path, "reflective = 1\n")))
    assert re.search(r"(more|less) than this person does \([\d.]+ against [\d.]+ .+?\)", model.asked[0])
    assert "log-odds" in model.asked[0]


def test_a_later_run_is_told_what_earlier_ones_tried_and_stays_with_it(tmp_path: Path, model: Model) -> None:
    plain = compiled(job_of(recipe_of(tmp_path, "")))
    assert any("generate.write.instruction" in standing["changes"] for standing in plain.top)
    asking = job_of(recipe_of(tmp_path, "grounded = 1\n"))
    compiled(asking)
    assert "You are this writer" in model.asked[0]
    assert re.search(GAIN, model.asked[0])
    # What ends meanwhile changes nothing for a run that goes on; a run of another seed has another split.
    compiled(replace(asking, recipe=replace(asking.recipe, visits=2)))
    calls = model.engine.calls
    compiled(asking)
    assert model.engine.calls == calls
    compiled(replace(asking, seed=1))
    assert not re.search(GAIN, model.asked[-1])


@pytest.mark.parametrize("rubbish", ['""', "*** ***", "word " * 200, "Write as this person writes."])
def test_rubbish_leaves_the_library_and_is_told(tmp_path: Path, model: Model, rubbish: str) -> None:
    model.propose = lambda prompt: rubbish
    heard = Heard()
    job = job_of(recipe_of(tmp_path, "grounded = 2\n"))
    compiler = Compiler(job, "scripted", heard)
    compiler.run()
    assert compiler.space.slots["generate.write.instruction"] == ("seed", "voice")
    assert any("0 of 2" in line and "the library stays as it is" in line for line in heard.lines)


def test_a_text_of_a_users_is_no_instruction(tmp_path: Path, model: Model) -> None:
    model.propose = lambda prompt: " ".join(bundled_corpus().users[0].samples[0].text.split()[:12])
    heard = Heard()
    compiled(job_of(recipe_of(tmp_path, "grounded = 1\n")), heard)
    assert any("copies 8 words in a row" in line for line in heard.lines)


def test_demonstrations_of_private_texts_are_refused_before_anything_is_paid(tmp_path: Path, model: Model) -> None:
    users = bundled_corpus().users[:14]
    lines = [{"user": u.user_id, "text": s.text, "request": s.request} for u in users for s in u.samples]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = replace(job_of(recipe_of(tmp_path, "bootstrap = 1\n")), source="own.jsonl")
    with pytest.raises(UsageError, match="not declared public") as caught:
        compiled(job)
    assert "--allow-private-demos" in caught.value.fix
    assert model.engine.calls == 0
    assert Compiler(replace(job, allow_private_demos=True), "scripted", Heard()).plan().calls > 0


def test_demo_sets_hold_what_was_asked_and_written_each_of_another_user(tmp_path: Path, model: Model) -> None:
    compiler = Compiler(job_of(recipe_of(tmp_path, "bootstrap = 2\n")), "scripted", Heard())
    run = compiler.run().run
    made = read_json(run.path("candidates.json"))["candidates"]["generate.write.demos"]
    sets = [candidate["content"] for candidate in made.values()]
    assert [len(demos) for demos in sets] == [2, 2]
    assert all(set(demo) == {"hypotheses", "request", "text"} for demos in sets for demo in demos)
    assert len({dump(demo) for demos in sets for demo in demos}) == 4
    assert compiler.space.slots["generate.write.demos"] == ("seed", "bootstrap-1", "bootstrap-2")


def test_other_tasks_have_candidates_made_too(tmp_path: Path, model: Model) -> None:
    text = (Path(__file__).parents[2] / "optimizers/deliberative-quick.toml").read_text()
    proposals = '[candidates."answer"]\ngrounded = 1\nreflective = 1\nbootstrap = 1\n'
    (tmp_path / "few.toml").write_text(text.replace("visits = 6", "visits = 1") + proposals)
    recipe = load_recipe("few.toml", "deliberative")
    job = Job(load_program("deliberative"), recipe, "bundled", force=True, allow_private_demos=True)
    compiler = Compiler(job, "scripted", Heard())
    made = read_json(compiler.run().run.path("candidates.json"))["candidates"]
    assert set(made["answer.instruction"]) == {"grounded-1", "reflective-1"}
    assert all({"request", "text"} <= set(demo) for demo in made["answer.demos"]["bootstrap-1"]["content"])
    assert sum("Score:" in prompt and "helpfulness" in prompt for prompt in model.asked) == 1
    taking = compiler.space.configuration({"answer.demos": "bootstrap-1"})
    assert compiler.pools.private(taking, compiler.task_data.facts)
    assert not compiler.pools.private(compiler.space.baseline, compiler.task_data.facts)


def test_a_cap_that_leaves_no_room_for_makers_is_refused_and_the_reserve_is_never_touched(
    tmp_path: Path, model: Model
) -> None:
    without = recipe_of(tmp_path, "")
    recipe = recipe_of(tmp_path, "grounded = 3\n")
    with pytest.raises(UsageError, match="too low") as caught:
        Compiler(job_of(replace(without, max_calls=1)), "scripted", Heard()).plan()
    least = int(re.findall(r"--max calls=(\d+)", caught.value.fix)[0])
    with pytest.raises(UsageError, match="too low"):
        Compiler(job_of(replace(recipe, max_calls=least + 2)), "scripted", Heard()).plan()
    found = compiled(job_of(replace(recipe, max_calls=least + 3)))
    assert found.cost.calls <= least + 3
    assert len(model.asked) == 3


def test_a_prompt_model_of_its_own_is_part_of_what_the_run_is(tmp_path: Path, model: Model) -> None:
    recipe = recipe_of(tmp_path, "grounded = 1\n")
    own = Compiler(job_of(recipe), "scripted", Heard())
    other = Compiler(job_of(recipe, prompt_model="scripted:delay=0"), "scripted", Heard())
    assert "prompt_model" not in own.identity
    assert other.identity["prompt_model"] == "scripted:delay=0"
    run = other.run().run
    rows = [json.loads(line) for line in run.path("calls.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows if row["phase"] == "propose:grounded"} == {"scripted:delay=0"}
    assert {row["model"] for row in rows if row["phase"] == "search"} == {"scripted"}
    assert read_json(run.path("candidates.json"))["prompt_model"] == "scripted:delay=0"


class Mine:
    """A proposer of one's own."""

    part, embeds, whole, asks = "instruction", False, False, False

    def make(self, context: ProposalContext, count: int) -> list[str]:
        return ["Mind the first line.", "Mind the last line."][:count]


def test_a_maker_of_ones_own_is_named_in_the_recipe(tmp_path: Path, model: Model) -> None:
    compiler = Compiler(job_of(recipe_of(tmp_path, f'"{__name__}:Mine" = 2\n')), "scripted", Heard())
    assert compiler.plan().propose_calls == 0
    made = read_json(compiler.run().run.path("candidates.json"))["candidates"]["generate.write.instruction"]
    assert {name: candidate["model"] for name, candidate in made.items()} == {"mine-1": "", "mine-2": ""}


def test_a_prompt_model_that_fails_is_told_with_its_reason(tmp_path: Path, model: Model) -> None:
    def fail(prompt: str) -> str:
        raise ValueError("no voice")

    model.propose = fail
    heard = Heard()
    compiled(job_of(recipe_of(tmp_path, "grounded = 1\n")), heard)
    assert any("0 of 1" in line and "no voice" in line for line in heard.lines)


def test_the_command_that_gives_a_run_again_holds_the_new_options() -> None:
    words = ["authorship", "--allow-private-demos", "--prompt-model", "scripted"]
    with compile_command.make_context("compile", list(words)):
        again = command_of()
    assert "--allow-private-demos" in again
    assert "True" not in again
    assert again[again.index("--prompt-model") + 1] == "scripted"


WRONG = [
    ("grounded = 0", "whole number from 1"),
    ("grounded = true", "whole number from 1"),
    ('grounded = "2"', "whole number from 1"),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_a_wish_that_makes_no_sense_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_of(tmp_path, line + "\n")
    assert said in str(caught.value)


def test_a_wish_of_an_unknown_maker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean grounded"):
        Compiler(job_of(recipe_of(tmp_path, "grounde = 1\n")), "scripted", Heard())


def test_a_wish_for_no_predictor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no predictor"):
        load_wrong(tmp_path, "[candidates]\ngrounded = 1\n")
    with pytest.raises(UsageError, match="lacks quotes"):
        load_wrong(tmp_path, "[candidates.generate.write]\ngrounded = 1\n")
    recipe = load_wrong(tmp_path, '[candidates."generate.writ"]\ngrounded = 1\n')
    with pytest.raises(UnknownName, match=r"generate\.writ"):
        Compiler(job_of(recipe), "scripted", Heard())


def load_wrong(folder: Path, proposals: str) -> RecipeSpec:
    (folder / "wrong.toml").write_text(RECIPE + "\n" + proposals)
    return load_recipe(str(folder / "wrong.toml"), "authorship")


def test_a_recipe_without_wishes_is_the_recipe_that_it_was(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "")
    plain = {**asdict(recipe), "sampler": "knowledge"}
    del plain["candidates"], plain["objectives"], plain["rounds"]
    assert recipe_digest(replace(recipe, max_calls=9)) == digest(plain)
    for change in ({"objectives": ("tokens",)}, {"rounds": 2}):
        assert recipe_digest(replace(recipe, **change)) != digest(plain)  # type: ignore[arg-type]
    assert recipe_digest(recipe_of(tmp_path, "grounded = 1\n")) != recipe_digest(recipe)


def frozen_with(folder: Path, content: str = "Keep to short sentences.") -> Path:
    slot = "generate.write.instruction"
    program = with_candidates(load_program("authorship"), {slot: {"grounded-1": "Keep to short sentences."}})
    values = {**program.baseline, slot: "grounded-1"}
    module = build(program, Configuration.of(values))
    estimate = {"mean": 0.0, "low": 0.0, "high": 0.0, "n_users": 3, "n_instances": 3}
    row = {"name": "compiled", "drafts": 1, "value": estimate, "gap": estimate, "wins": estimate, "copied": 0.0}
    made = {slot: {"id": "grounded-1", "proposer": "grounded", "model": "scripted", "content": content}}
    return freeze(
        module,
        Provenance(
            program=program,
            recipe=load_recipe("quick", "authorship"),
            model="scripted",
            model_facts={},
            configuration=values,
            identity={"seed": 0},
            facts={"corpus": "none", "users": {"sealed": 3}},
            confirmation={"verdict": "gain", "rows": [row]},
            cost={"calls": 0, "input_tokens": 0, "output_tokens": 0},
            frozen_is="compiled",
            candidates=made,
        ),
        folder / "frozen",
    )


def test_a_frozen_program_holds_what_was_proposed_and_says_by_whom(tmp_path: Path) -> None:
    found = load_frozen(frozen_with(tmp_path))
    predictors = dict(found.module.named_predictors())
    assert predictors["generate.write"].signature.instructions == "Keep to short sentences."
    said = found.manifest["candidates"]["generate.write.instruction"]
    assert (said["proposer"], said["model"], said["id"]) == ("grounded", "scripted", "grounded-1")
    assert found.manifest["embedded_texts"]["private"] is False


def test_a_frozen_program_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrozenMismatch, match="grounded-1"):
        load_frozen(frozen_with(tmp_path, content="Write at length."))


def test_a_winning_proposal_is_frozen_and_measured_again(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    wins = {"generate.write.instruction": "grounded-1", "generate.write.demos": "bootstrap-1"}
    monkeypatch.setattr(compiling.Visits, "winner", lambda self: Configuration.of({**self.baseline.as_dict(), **wins}))
    confirm = compiling.confirm
    monkeypatch.setattr(compiling, "confirm", lambda *given: replace(confirm(*given), verdict="gain"))
    job = job_of(recipe_of(tmp_path, "grounded = 1\nbootstrap = 1\n"))
    found = compiled(job)
    frozen = load_frozen(found.frozen)
    assert {slot: made["proposer"] for slot, made in frozen.manifest["candidates"].items()} == {
        "generate.write.instruction": "grounded",
        "generate.write.demos": "bootstrap",
    }
    assert frozen.manifest["embedded_texts"] == {"demonstrations": 2, "private": False}
    plain = replace(job, recipe=replace(job.recipe, slots={}, start=(), candidates={}))
    assert evaluate_frozen(plain, "scripted", Evaluation(frozen), Heard(), [])["changes"] == wins


@given(st.lists(st.text(max_size=60), max_size=6))
def test_what_is_kept_is_clean_short_new_and_nobodys(said: list[str]) -> None:
    known = ["Write as this person writes."]
    texts = ["one two three four five six seven eight nine ten"]
    kept, dropped = clean_instructions([*said, "word " * 99, texts[0], *known], known, texts)
    assert len(kept) + len(dropped) == len(said) + 3
    assert len({text.casefold() for text in kept}) == len(kept)
    for text in kept:
        assert text == " ".join(text.split())
        assert 0 < len(text) <= 400
        assert text not in known
        assert longest_run_among(text, texts) < RUN
    assert clean_instructions(kept, known, texts) == (kept, [])


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ('  "Write\n briefly."  ', "Write briefly."),
        ("**New instruction:** Don't ramble.", "Don't ramble."),
        ("`Say 'yes' or 'no'.`", "Say 'yes' or 'no'."),
        ("Instruction: 'Use \"you\"'", 'Use "you"'),
        ("Keep it plain", "Keep it plain"),
    ],
)
def test_quotes_and_labels_around_an_instruction_go(said: str, becomes: str) -> None:
    assert clean_instructions([said], [], [])[0] == [becomes]


def test_demo_sets_that_are_empty_or_known_are_dropped() -> None:
    one: dict[str, Any] = {"request": "a", "text": "b"}
    assert clean_demos([[one], [], [one]], []) == (
        [[one]],
        [("0 demonstrations", "empty"), ("1 demonstrations", "known already")],
    )
    assert clean_demos([[one]], [[one]])[0] == []


def test_harm_and_copies_rank_below_what_helps() -> None:
    order = [Score(0.9), Score(0.0, harm=True), Score(1.0, harm=True), Score(3.0, copied=True)]
    ranks = [score.goodness for score in order]
    assert ranks[1] > ranks[0] > ranks[2] > ranks[3]


def test_proposals_are_made_under_one_adapter_whatever_dspy_is_set_to(tmp_path: Path, model: Model) -> None:
    with dspy.context(adapter=dspy.JSONAdapter()):
        compiled(job_of(recipe_of(tmp_path, "grounded = 1\n")))
    assert "JSON" not in model.asked[0]
