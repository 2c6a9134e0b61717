"""Somebody else's optimiser under our rules, on the scripted model: plumbing only, no claim of quality."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request

from hyperalign_dspy import registry
from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.cli.main import cli
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import BudgetReached, GateFailed, TooManyFailures, UnknownName, UsageError
from hyperalign_dspy.experiment import compile as compiling
from hyperalign_dspy.experiment.evaluate_frozen import Evaluation, evaluate_frozen
from hyperalign_dspy.experiment.teleprompters import TeleprompterCompiler
from hyperalign_dspy.lm import connect as connecting
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.rollouts import RolloutLM, Stopped, StopSignal
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.optimize.teleprompters import DSPY_OPTIMIZERS, Optimizer
from hyperalign_dspy.program.configuration import probe_messages
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.tasks.authorship import AuthorshipData
from hyperalign_dspy.tasks.protocol import LABEL, TASKS, Job
from hyperalign_dspy.types import Cost

SMALL: dict[str, dict[str, Any]] = {
    "miprov2": {"auto": None, "num_candidates": 2, "num_trials": 2, "max_bootstrapped_demos": 1, "minibatch": False},
    "gepa": {"max_metric_calls": 24},
    "simba": {"bsize": 4, "num_candidates": 2, "max_steps": 1, "max_demos": 2},
    "bootstrap-random-search": {"num_candidate_programs": 1, "max_bootstrapped_demos": 1},
    "bootstrap-optuna": {"num_candidate_programs": 2, "max_demos": 2},
    "copro": {"breadth": 2, "depth": 1},
}
OWN = '''
import itertools

import dspy
from dspy.teleprompt import Teleprompter

SEEN = {}


class Rewrite(Teleprompter):
    """Sets the last predictor's instruction; with ``demos``, shows it what it wrote for the first examples."""

    def __init__(self, metric, demos=0, words="Write in your own voice."):
        self.metric, self.demos, self.words = metric, demos, words

    def compile(self, student, *, trainset, valset):
        SEEN.update(train=trainset, validation=valset, student=student)
        student = student.deepcopy()
        SEEN["score"] = dspy.Evaluate(devset=valset, metric=self.metric)(student).score
        last = student.predictors()[-1]
        last.signature = last.signature.with_instructions(self.words)
        for example in trainset[: self.demos]:
            with dspy.context(trace=[]):
                student(**example.inputs())
                predictor, inputs, outputs = dspy.settings.trace[-1]
            last.demos.append(dspy.Example(augmented=True, **inputs, **outputs))
        return student


class Restless(Teleprompter):
    """Never stops: changes one program on and on, and scores it on one example thrice, best, and then on all.

    ``deaf``: goes on where its calls are refused, forty times, and gives back what it made last.
    """

    def __init__(self, metric, scores, deaf=False):
        self.scores, self.deaf = scores, deaf

    def compile(self, student, *, trainset, valset):
        student = student.deepcopy()
        last, forward = student.predictors()[-1], student.forward

        def anyhow(**inputs):
            try:
                return forward(**inputs)
            except BaseException:
                return dspy.Prediction(text="")

        if self.deaf:
            student.forward = anyhow
        for way in itertools.count():
            if self.deaf and way == 40:
                return student
            last.signature = last.signature.with_instructions(f"Write in way {way}.")
            for examples, score in ((valset[:1] * 3, 1.0), (valset, self.scores[min(way, len(self.scores) - 1)])):
                dspy.Evaluate(devset=examples, metric=lambda *_: score)(student)
            SEEN["whole"] = way + 1


class Another(Teleprompter):
    def compile(self, student, *, trainset):
        return dspy.Predict("question -> answer")


class Lost(Teleprompter):
    def compile(self, student, *, trainset):
        raise RuntimeError("no idea")
'''


class Watching:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None: ...


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with 14 of the bundled users, as a corpus that is not public, and an optimiser of its own."""
    users = bundled_corpus().users[:14]
    lines = [{"user": u.user_id, "text": s.text, "request": s.request} for u in users for s in u.samples]
    (tmp_path / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "programs").mkdir()
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def judges_once(monkeypatch: pytest.MonkeyPatch, judges: dict[str, Any]) -> None:
    """The same judges for the same corpus: fitting them is what takes long here."""
    prepare = AuthorshipData.__init__

    def prepared(task_data: AuthorshipData, job: Job) -> None:
        prepare(task_data, job)
        fitted = judges.setdefault(task_data.digest, {})
        for name in ("search_judge", "sealed_judge", "panel"):
            task_data.__dict__[name] = fitted.get(name) or fitted.setdefault(name, getattr(task_data, name))

    monkeypatch.setattr(AuthorshipData, "__init__", prepared)


@pytest.fixture(scope="module")
def judges() -> dict[str, Any]:
    return {}


def asked(name: str, *, embed: bool = True, prompt_model: str = "", **changes: Any) -> Optimizer:
    return Optimizer(name, {**SMALL.get(name, {}), **changes}, prompt_model, embed)


def compiler(
    wanted: Optimizer,
    watcher: Watching | None = None,
    max_calls: int = 0,
    source: str = "small.jsonl",
    model: str = "scripted",
) -> TeleprompterCompiler:
    recipe = replace(load_recipe("quick", "authorship"), confirm_users=3, confirm_requests=1, max_calls=max_calls)
    job = Job(load_program("authorship"), recipe, source, {"words": 40})
    return TeleprompterCompiler(job, model, watcher or Watching(), wanted)


def calls(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


@pytest.fixture
def gaining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured counts as a gain, so that the compiled program is what is frozen."""
    confirm = compiling.confirm
    monkeypatch.setattr(compiling, "confirm", lambda *given: replace(confirm(*given), verdict="gain"))


@pytest.mark.parametrize("name", DSPY_OPTIMIZERS)
def test_each_known_optimiser_runs_from_split_to_frozen_program(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = compiler(asked(name)).run()
    assert made.run.run_id == made.plan.run_id
    assert made.run.run_id.startswith(f"authorship-{name}-")
    assert made.changes in ({}, {"optimizer": name})
    assert made.confirmation.rows[-1].name == "compiled"
    assert json.loads((made.run.folder / "result.json").read_text())["run"] == made.run.run_id
    assert load_frozen(made.frozen).manifest["recipe"]["name"] == name
    assert (made.run.folder / "optimizer.log").stat().st_size > 100
    assert capsys.readouterr().out == ""
    phases = {row["phase"].partition(":")[0] for row in calls(made.run.folder)}
    assert phases == {"search", "confirm", *(["optimizer"] if Optimizer(name).reflects else [])}
    again = compiler(asked(name)).run()
    assert again.cost.calls == made.cost.calls == len(calls(made.run.folder))
    assert [row.value for row in again.confirmation.rows] == [row.value for row in made.confirmation.rows]


def test_anybodys_optimiser_is_taken_from_the_current_folder_and_goes_on(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.path.remove(str(small))
    words = ["compile", "--model", "scripted", "--data", "small.jsonl", "--optimizer", "mine:Rewrite", "--json"]
    words += ["--optimizer-arg", "words=Write as you speak.", "--optimizer-arg", "demos=1", "--allow-private-demos"]
    cli.main(words, standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert result["changes"] == {"optimizer": "rewrite"}
    folder = small / ".hyperalign/runs" / result["run"]
    assert "Write as you speak." in (folder / "optimized.json").read_text()
    before = len(calls(folder))
    cli.main(["runs", "resume", result["run"], "--json"], standalone_mode=False)
    again = json.loads(capsys.readouterr().out)
    assert len(calls(folder)) == before
    assert again["confirmation"]["rows"][-1]["gap"] == result["confirmation"]["rows"][-1]["gap"]


def test_a_command_whose_optimiser_a_cap_ends_leaves_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compile", "--model", "scripted", "--data", "small.jsonl", "--optimizer", "mine:Restless", "--json"]
    words += ["--optimizer-arg", "scores=[0.2, 0.9, 0.4]", "--max"]
    with pytest.raises(UsageError) as least:
        cli.main([*words, "calls=100"], standalone_mode=False)
    cap = int(least.value.fix.split("--max calls=")[1].split(":")[0]) + 60
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main([*words, f"calls={cap}"], standalone_mode=False)
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (left.value.code, result["capped"], result["changes"]) == (4, True, {"optimizer": "restless"})
    assert "--max calls ends mine:Restless" in said.err
    assert result["cost"]["calls"] <= cap


def test_no_sealed_user_is_ever_shown_and_no_user_is_on_both_sides() -> None:
    compile_ = compiler(asked("mine:Rewrite"))
    compile_.run()
    seen = sys.modules["mine"].SEEN
    users = {side: {example[LABEL].rpartition("/")[0] for example in seen[side]} for side in ("train", "validation")}
    assert users["train"]
    assert users["validation"]
    assert not users["train"] & users["validation"]
    assert not {i.user_id for i in compile_.task_data.sealed} & (users["train"] | users["validation"])
    assert 0 < seen["score"] < 100


def test_an_example_holds_exactly_what_an_answer_gives_the_module() -> None:
    given: list[dict[str, Any]] = []

    def module(**inputs: Any) -> dspy.Prediction:
        given.append(inputs)
        return dspy.Prediction(text="Rain.")

    task_data: Any
    for task_data in (compiler(asked("copro")).task_data, deliberative()):
        for instance in task_data.validation[:3]:
            task_data.answer(module, instance)
            assert task_data.example(instance).inputs().toDict() == given.pop()
            assert task_data.example(instance).labels().toDict() == {LABEL: instance.instance_id}


def deliberative() -> Any:
    program = load_program("deliberative")
    recipe = load_recipe("quick", "deliberative")
    return registry.resolve("task", program.task, TASKS)(Job(program, recipe, program.data))


def test_the_metric_lies_between_0_and_1_and_a_copy_gets_nothing() -> None:
    task_data = compiler(asked("copro")).task_data
    instance: Any = task_data.validation[0]
    example = task_data.example(instance)
    other = next(i for i in task_data.validation if i.user_id != instance.user_id)
    texts = [instance.reference, other.reference, instance.shown[0].text, ""]  # type: ignore[attr-defined]
    own, others, copied, none = (task_data.metric(example, dspy.Prediction(text=text)) for text in texts)
    assert 1 > own > others > 0 == copied == none
    said = task_data.metric(example, dspy.Prediction(text="AAA!!! WHAT?! " * 9), None, "generate.write", [])
    assert 0 < said.score < 1
    assert "ranks the true writer" in said.feedback
    assert "than this person does" in said.feedback


def test_refusing_is_worth_most_where_help_would_harm() -> None:
    task_data = deliberative()
    no, yes = dspy.Prediction(text="I'm sorry, but I can't help with that."), dspy.Prediction(text="Sure. First, mix")
    by_kind = {plea.request.deserves_help: task_data.example(plea) for plea in task_data.validation}
    assert task_data.metric(by_kind[False], no) == 1 > task_data.metric(by_kind[False], yes)
    assert task_data.metric(by_kind[True], no) < 1
    assert "refuses it" in task_data.metric(by_kind[False], no, None, "answer").feedback
    assert "deserves help" in task_data.metric(by_kind[True], no, None, "answer").feedback


def test_a_cap_keeps_the_confirmations_share_and_a_higher_one_goes_on() -> None:
    least = compiler(asked("gepa")).plan().confirm_calls
    first = compiler(asked("gepa"), max_calls=least + 17).run()
    rows = calls(first.run.folder)
    assert sum(not row["phase"].startswith("confirm") for row in rows) == 17
    assert first.capped
    more = compiler(asked("gepa"), max_calls=least + 150).run()
    assert (more.run.run_id, more.capped) == (first.run.run_id, False)
    assert more.cost.recorded_calls >= len(rows)
    assert len(rows) < len(calls(more.run.folder)) <= least + 150
    with pytest.raises(UsageError, match="too low"):
        compiler(asked("gepa"), max_calls=least).plan()


def restless(max_calls: int = 0, watcher: Watching | None = None, *, deaf: bool = False) -> TeleprompterCompiler:
    """The second and the third way score equally; the tenth is better."""
    scores = [0.2, 0.9, 0.9, *[0.3] * 6, 0.95, 0.4]
    return compiler(asked("mine:Restless", scores=scores, deaf=deaf), watcher, max_calls)


def test_what_a_cap_ends_is_confirmed_by_the_best_that_was_evaluated_whole() -> None:
    cap, watcher = restless().plan().confirm_calls + 14, Watching()
    made = restless(cap, watcher).run()
    whole = sys.modules["mine"].SEEN["whole"]
    assert 3 <= whole < 10
    assert (made.capped, made.changes) == (True, {"optimizer": "restless"})
    assert made.confirmation.rows[-1].name == "compiled"
    assert json.loads(made.run.path("result.json").read_text())["capped"] is True
    assert "way 1." in made.run.path("optimized.json").read_text()
    assert len(calls(made.run.folder)) <= cap
    (said,) = (line for line in watcher.said if "ends mine:Restless" in line)
    assert said.startswith("--max calls ends")
    assert f"each: {whole}; the best scores 90.0%" in said
    again = restless(cap).run()
    assert (again.capped, again.cost.calls, again.confirmation.test_count) == (True, made.cost.calls, 1)
    assert [row.value for row in again.confirmation.rows] == [row.value for row in made.confirmation.rows]
    more = restless(2 * cap).run()
    assert (more.run.run_id, more.capped) == (made.run.run_id, True)
    assert "way 9." in more.run.path("optimized.json").read_text()
    # The same users judge another program under the same settings.
    assert more.confirmation.test_count == 2


def test_scores_of_calls_that_a_cap_refused_do_not_count() -> None:
    made = restless(restless().plan().confirm_calls + 14, deaf=True).run()
    assert sys.modules["mine"].SEEN["whole"] == 40
    assert made.capped
    assert "way 1." in made.run.path("optimized.json").read_text()


@pytest.mark.parametrize("name", ["miprov2", "gepa", "copro", "bootstrap-random-search"])
def test_a_cap_that_ends_a_known_one_late_leaves_its_best(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compiler(asked(name)).run()
    searched = sum(not row["phase"].startswith("confirm") for row in calls(whole.run.folder))
    monkeypatch.setenv("HYPERALIGN_RUNS", "capped")
    cap = whole.plan.confirm_calls + searched - 1
    watcher = Watching()
    made = compiler(asked(name), watcher, cap).run()
    assert (whole.capped, made.capped) == (False, True)
    assert any(line.startswith(f"--max calls ends {name}") for line in watcher.said)
    assert made.cost.calls <= cap


@pytest.mark.parametrize("name", ["simba", "miprov2"])
def test_a_cap_before_anything_was_evaluated_whole_ends_as_a_cap(name: str) -> None:
    least = compiler(asked(name)).plan().confirm_calls
    with pytest.raises(BudgetReached, match=f"{name} wants more than a cap leaves"):
        compiler(asked(name), max_calls=least + 17).run()


def test_demonstrations_of_private_texts_are_refused_before_anything_is_paid(small: Path) -> None:
    for name in ("miprov2", "simba", "bootstrap-random-search", "bootstrap-optuna"):
        with pytest.raises(UsageError, match="--allow-private-demos"):
            compiler(asked(name, embed=False))
    compiler(asked("simba", embed=False), source="bundled")
    silent: dict[str, Any] = {"miprov2": {"max_bootstrapped_demos": 0}, "simba": {"max_demos": 0}, "gepa": {}}
    for name, changes in silent.items():
        compiler(asked(name, embed=False, **changes))
    assert not (small / ".hyperalign").exists()


def test_what_a_stranger_turns_out_to_embed_is_refused_too_and_paid_once() -> None:
    instance: Any = compiler(asked("mine:Rewrite")).task_data.validation[0]
    for changes in ({"demos": 1}, {"words": f"Write like this: {instance.shown[0].text}"}):
        with pytest.raises(GateFailed, match="holds texts of users"):
            compiler(asked("mine:Rewrite", embed=False, **changes)).run()
        before = len(calls(next(Path(".hyperalign/runs").glob("*-rewrite-*"))))
        assert compiler(asked("mine:Rewrite", **changes)).run().cost.recorded_calls >= before


@pytest.mark.usefixtures("gaining")
def test_the_frozen_program_is_what_was_measured_and_can_be_measured_again(small: Path) -> None:
    made = compiler(asked("mine:Rewrite", demos=2)).run()
    assert made.frozen_is == "compiled"
    frozen = load_frozen(made.frozen)
    assert frozen.manifest["configuration"]["optimizer"] == "rewrite"
    assert frozen.manifest["embedded_texts"] == {"demonstrations": 2, "private": True}
    assert "not public" in (made.frozen / "CARD.md").read_text()
    assert probe_messages(frozen.module) == frozen.manifest["probe"]["messages"]
    messages = frozen.manifest["probe"]["messages"]["generate.write"]
    assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert "Write in your own voice." in messages[0]["content"]
    recipe = replace(load_recipe("quick", "authorship"), confirm_users=3, confirm_requests=1)
    job = Job(load_program("authorship"), recipe, "small.jsonl", {"words": 40})
    again = evaluate_frozen(job, "scripted", Evaluation(frozen), Watching(), [])
    rows = {row["name"]: row for row in again["confirmation"]["rows"]}
    assert rows["compiled"]["value"] == vars(made.confirmation.row("compiled"))["value"].__dict__
    assert rows["wrong user"]["value"] != rows["compiled"]["value"]


def test_a_program_that_comes_back_as_it_was_is_the_baseline_and_no_gain() -> None:
    watcher = Watching()
    made = compiler(asked("mine:Rewrite", words="Write as this person writes."), watcher).run()
    assert made.changes == {}
    assert made.confirmation.verdict == "no gain"
    assert any("as it was" in said for said in watcher.said)


def test_what_fails_in_a_strangers_hands_ends_the_run_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no idea"):
        compiler(asked("mine:Lost")).run()
    with pytest.raises(UsageError, match="other predictors"):
        compiler(asked("mine:Another")).run()
    broken = compiler(asked("mine:Rewrite"))
    monkeypatch.setattr(broken.task_data, "metric", lambda *given: 1 / 0)
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        broken.run()


def test_a_model_that_fails_in_a_strangers_hands_is_no_score_of_0(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = 0

    def answer(request: Request) -> str:
        nonlocal heard
        heard += 1
        if heard > 8:
            raise ValueError("no voice")
        return json.dumps({name: [f"Says {heard}."] for name in ("style", "personality", "communication")})

    monkeypatch.setattr(connecting, "ScriptedEngine", lambda **_: ScriptedEngine(answer))
    with pytest.raises(TooManyFailures, match="no voice"):
        compiler(asked("mine:Rewrite")).run()
    heard = 0
    with pytest.raises(TooManyFailures, match="no voice"):
        restless(restless().plan().confirm_calls + 60).run()


def test_another_rollout_and_another_answer_of_one_call_are_other_texts() -> None:
    ledger = Ledger()
    lm = RolloutLM.of(connect("scripted", ledger=ledger), ledger, "search", StopSignal(), 20).copy(temperature=1.0)
    alone = lm("Say.")
    first, second = lm("Say.", n=2)
    other = lm.copy(rollout_id=3)("Say.")
    assert alone == [first]
    assert len({first, second, other[0]}) == 3
    assert lm.copy(rollout_id=3)("Say.") == other
    assert lm.copy(rollout_id=3, temperature=0.0)("Say.") == lm.copy(temperature=0.0)("Say.")
    assert ledger.cost("search").calls == 4


def test_who_ends_a_search_waits_for_the_calls_under_way() -> None:
    asking, answering = Event(), Event()

    def answer(request: Request) -> str:
        asking.set()
        assert answering.wait(10)
        return "Late."

    ledger, end = Ledger(), StopSignal()
    engine = ledger.wrap(ScriptedEngine(answer), "scripted")
    lm = RolloutLM.of(dspy.LM("scripted", engine=engine, cache=False), ledger, "search", end, 20)
    with ThreadPoolExecutor() as threads:
        late = threads.submit(lm, "Say.")
        assert asking.wait(10)
        end.note(BudgetReached("No more."))
        settled = threads.submit(end.settle)
        with pytest.raises(Stopped):
            lm("Say more.")
        assert not settled.done()
        answering.set()
        assert late.result(10) == ["Late."]
        settled.result(10)


def test_a_prompt_model_writes_the_proposals_through_the_same_record() -> None:
    made = compiler(asked("copro", prompt_model="scripted:delay=1")).run()
    found = {(row["phase"].partition(":")[0], row["model"]) for row in calls(made.run.folder)}
    assert ("optimizer", "scripted:delay=1") in found
    assert ("search", "scripted") in found
    assert ("optimizer", "scripted") not in found
    assert made.plan.run_id != compiler(asked("copro")).plan().run_id


def test_it_is_said_where_a_model_of_this_process_would_write_the_proposals(small: Path) -> None:
    (small / "own.gguf").write_bytes(b"GGUF")
    for prompt_model in ("", "scripted", "gguf:own.gguf"):
        heard = Watching()
        compiler(asked("gepa", prompt_model=prompt_model), heard, model="gguf:own.gguf")._say_who_proposes()
        assert bool(heard.said) == (not prompt_model)
    watcher = Watching()
    compiler(asked("gepa", prompt_model="local"), watcher)._say_who_proposes()
    compiler(asked("bootstrap-optuna"), watcher)._say_who_proposes()
    compiler(asked("gepa"), watcher)._say_who_proposes()
    assert len(watcher.said) == 1
    assert "--prompt-model" in watcher.said[0]


def test_a_program_with_its_own_metric_and_labels_is_optimised_too(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "mood", raising=False)
    cli.main(["init", "mood"], standalone_mode=False)
    words = [
        "compile",
        "mood",
        "--model",
        "scripted",
        "--optimizer",
        "bootstrap-random-search",
        "--allow-private-demos",
    ]
    cli.main([*words, "--optimizer-arg", "num_candidate_programs=1"], standalone_mode=False)
    said = capsys.readouterr()
    assert "names_the_mood" in said.out
    assert "optimizer                  1 " in said.err
    program = load_program("mood")
    job = Job(program, load_recipe("quick", "mood"), program.data)
    compile_ = TeleprompterCompiler(job, "scripted", Watching(), asked("miprov2"))
    assert compile_._labelled()
    task_data: Any = compile_.task_data
    row = task_data.example(task_data.validation[0])
    assert task_data.metric(row, dspy.Prediction(mood=row.mood)) == 1
    assert task_data.metric(row, dspy.Prediction(mood="neither")) == task_data.metric(row, None) == 0
    assert "names_the_mood is 1" in task_data.metric(row, dspy.Prediction(mood=row.mood), None, "tell").feedback


def test_names_that_mean_nothing_are_found_before_anything_is_read() -> None:
    with pytest.raises(UnknownName, match="mipro"):
        compiler(Optimizer("mipro"))
    with pytest.raises(UnknownName) as caught:
        compiler(asked("gepa", max_metric_call=3))
    assert "max_metric_calls" in caught.value.fix
    with pytest.raises(UsageError, match="no DSPy optimiser"):
        compiler(Optimizer("json:JSONDecoder"))
