"""The main job from the command line, on the scripted model: plumbing only, no claim of quality."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hyperalign_dspy.artifacts.frozen import load_frozen
from hyperalign_dspy.cli.main import main
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import FrozenMismatch

HYPERALIGN = [sys.executable, "-c", "from hyperalign_dspy.cli.main import main; main()"]


def call(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HYPERALIGN, *words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


@dataclass(frozen=True)
class Reply:
    returncode: int
    stdout: str
    stderr: str


class Inside:
    """The command line in this process: the same entry, without seconds of imports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str, cwd: Path, **env: str) -> Reply:
        self.monkeypatch.chdir(cwd)
        self.monkeypatch.setattr(sys, "argv", ["hyperalign", *words])
        for name, value in env.items():
            self.monkeypatch.setenv(name, value)
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return Reply(code, *self.capsys.readouterr())


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return Inside(monkeypatch, capsys)


def rows(folder: Path) -> list[dict[str, Any]]:
    path = next(folder.glob(".hyperalign/runs/*/calls.jsonl"))
    # Somebody may be writing: what has no line break yet is not a row.
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


SMALL = ("compile", "--model", "scripted", "--data", "small.jsonl", "--recipe", "small")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project with 14 of the bundled users and a recipe that takes seconds: run it with SMALL."""
    users = bundled_corpus().users[:14]
    lines = [{"user": u.user_id, "text": s.text, "request": s.request} for u in users for s in u.samples]
    (tmp_path / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "optimizers").mkdir()
    text = (Path(__file__).parents[2] / "optimizers/authorship-quick.toml").read_text().replace('"quick"', '"small"')
    text = re.sub(r"visits = \d+", "visits = 9", re.sub(r"finalists = \d+", "finalists = 1", text))
    (tmp_path / "optimizers/small.toml").write_text(text)
    return tmp_path


def wait_for_calls(process: subprocess.Popen[Any], folder: Path, count: int) -> None:
    """Until a compile in that folder has recorded so many calls."""
    while not list(folder.glob(".hyperalign/runs/*/calls.jsonl")) or len(rows(folder)) < count:
        time.sleep(0.02)
        assert process.poll() is None


def heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def room_for(size: int) -> None:
    """No file may grow beyond so many bytes: to a process the same as a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def measured(result: dict[str, Any]) -> Any:
    """A result without what a clock says."""
    rows = [{k: v for k, v in row.items() if k != "cost"} for row in result["confirmation"]["rows"]]
    return rows, result["confirmation"]["verdict"], result["chosen"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One finished compile: its folder, its JSON answer and what it said."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "programs").mkdir()
    reply = call("compile", "authorship", "--model", "scripted", "--json", cwd=folder)
    assert reply.returncode == 0, reply.stderr
    return folder, json.loads(reply.stdout), reply.stderr


def test_a_compile_ends_with_a_table_a_verdict_and_a_program(done: tuple[Path, dict[str, Any], str]) -> None:
    folder, result, said = done
    names = [row["name"] for row in result["confirmation"]["rows"]]
    assert names == [
        "generic",
        "raw k-shot",
        "k-shot, best of n",
        "hypotheses only",
        "hypotheses, samples",
        "wrong user",
        "baseline",
        "baseline, equal drafts",
        "compiled",
    ]
    assert "smallest gain that it can show" in said
    sizes = {row["name"]: (row["gap"]["n_users"], row["gap"]["n_instances"]) for row in result["confirmation"]["rows"]}
    assert (sizes["compiled"], sizes["baseline, equal drafts"], sizes["generic"]) == ((24, 48), (24, 48), (24, 24))
    frozen = load_frozen(folder / "programs/authorship/frozen/scripted")
    assert frozen.manifest["measured"]["verdict"] == result["confirmation"]["verdict"]
    assert frozen.manifest["model"]["name"] == "scripted"
    assert "--model scripted" in (frozen.folder / "CARD.md").read_text()
    assert (folder / ".hyperalign/runs/.gitignore").read_text().endswith("*\n")


def test_a_finished_compile_is_not_paid_again(done: tuple[Path, dict[str, Any], str], inside: Inside) -> None:
    folder, result, _ = done
    before = len(rows(folder))
    again = json.loads(inside("compile", "authorship", "--model", "scripted", "--json", cwd=folder).stdout)
    assert len(rows(folder)) == before
    assert measured(again) == measured(result)


def test_what_is_on_the_shelf_can_be_listed_shown_and_run(
    done: tuple[Path, dict[str, Any], str], inside: Inside
) -> None:
    folder, result, _ = done
    listed = json.loads(inside("list", "--json", cwd=folder).stdout)
    assert listed["frozen"][0]["model"] == "scripted"
    shown = inside("show", "authorship", "--model", "scripted", "--messages", cwd=folder).stdout
    assert "{{request}}" in shown
    runs = json.loads(inside("runs", "show", "--json", cwd=folder).stdout)["runs"]
    assert runs[0]["state"] == result["confirmation"]["verdict"]
    assert "compiled" in inside("runs", "show", runs[0]["run"][:14], cwd=folder).stdout
    assert inside("runs", "freeze", runs[0]["run"], cwd=folder).stdout.strip().endswith("authorship/frozen/scripted")
    (folder / "a.txt").write_text("Rain again. Fine. We walk anyway!")
    ran = inside(
        "run", "--model", "scripted", "--samples", "a.txt", "--request", "Write about rain.", "--json", cwd=folder
    )
    answer = json.loads(ran.stdout)
    assert answer["text"]
    (folder / "known.json").write_text(json.dumps([h for h in answer["hypotheses"] if h["kind"] == "measured"][:3]))
    words = ("run", "--model", "scripted", "--samples", "a.txt", "--request", "Write.", "--hypotheses", "known.json")
    assert len(json.loads(inside(*words, "--json", cwd=folder).stdout)["hypotheses"]) == 3


def test_a_frozen_program_is_measured_again_and_the_answers_are_kept(small: Path, inside: Inside) -> None:
    made = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    words = ("eval", "--model", "scripted", "--data", "small.jsonl", "--users", "5")
    result = json.loads(inside(*words, "--json", cwd=small).stdout)
    assert result["confirmation"]["rows"][-1]["gap"]["n_users"] == 5
    assert result["facts"]["split_digest"] == made["facts"]["split_digest"]
    calls = result["cost"]["calls"]
    again = json.loads(inside("runs", "resume", result["run"], "--json", cwd=small).stdout)
    assert (again["cost"]["calls"], again["cost"]["recorded_calls"] >= calls) == (calls, True)
    assert measured({**again, "chosen": 0}) == measured({**result, "chosen": 0})
    other = inside(*words, "--seed", "7", cwd=small)
    assert (other.returncode, "has seen some of these users" in other.stderr) == (2, True)


def test_recipes_are_tried_on_users_that_are_not_sealed(small: Path, inside: Inside) -> None:
    made = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    words = ("eval", "--model", "scripted", "--data", "small.jsonl", "--users", "30", "--on", "validation")
    changed = ("--set", "samples=2", "--set", "generate.write.instruction=voice")
    tried = inside(*words, *changed, "--json", cwd=small)
    assert tried.returncode == 0, tried.stderr
    result = json.loads(tried.stdout)
    assert (result["on"], result["changes"]["samples"]) == ("validation", 2)
    assert result["changes"]["generate.write.instruction"] == "voice"
    sealed, searched = (
        {json.loads(line)["user"] for line in (small / ".hyperalign/runs" / run / "outputs.jsonl").open()}
        for run in (made["run"], result["run"])
    )
    assert len(searched) == 14 - made["facts"]["users"]["sealed"]
    assert not sealed & searched
    assert "No sealed user was touched" in inside(*words, *changed, cwd=small).stdout
    refused = inside(*words[:-2], *changed, cwd=small)
    assert (refused.returncode, "--on validation" in refused.stderr) == (2, True)
    unknown = inside(*words, "--set", "sampels=2", cwd=small)
    assert (unknown.returncode, "sampels" in unknown.stderr) == (2, True)


def test_a_verdict_says_how_often_its_sealed_users_have_been_judged(small: Path, inside: Inside) -> None:
    first = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert set(first["confirmation"]["judged"]) == {0}
    again = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert again["confirmation"]["judged"] == first["confirmation"]["judged"]
    words = ("eval", "--model", "scripted", "--data", "small.jsonl", "--users", "30")
    second = inside(*words, "--json", cwd=small)
    assert set(json.loads(second.stdout)["confirmation"]["judged"]) == {1}
    assert "judged these sealed users 1 times each before" in inside(*words, cwd=small).stdout
    # Another seed seals others, of whom some were judged before: counted by user.
    other = json.loads(inside(*SMALL, "--seed", "1", "--json", cwd=small).stdout)
    assert set(other["confirmation"]["judged"]) == {0, 2}
    removed = inside("runs", "remove", first["run"], cwd=small)
    assert removed.returncode == 0, removed.stderr
    assert "may hold texts" in removed.stderr
    third = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert set(third["confirmation"]["judged"]) == {0}


def test_a_run_is_written_as_one_page_with_every_text_of_its_confirmation(
    done: tuple[Path, dict[str, Any], str], inside: Inside
) -> None:
    folder, result, _ = done
    place = folder / ".hyperalign/runs" / result["run"]
    texts = [json.loads(line) for line in (place / "outputs.jsonl").read_text().splitlines()]
    arms = [row["name"] for row in result["confirmation"]["rows"]]
    assert list(dict.fromkeys(row["arm"] for row in texts)) == arms
    assert len(texts) == sum(row["gap"]["n_instances"] for row in result["confirmation"]["rows"])
    assert all(row["request"] and row["reference"] and row["text"] for row in texts)
    reply = inside("report", result["run"][:14], cwd=folder)
    assert (reply.returncode, reply.stdout.strip()) == (0, str(place / "report.html"))
    page = (place / "report.html").read_text()
    compiled = result["confirmation"]["rows"][-1]["gap"]
    assert f"{compiled['mean']:+.2f} [{compiled['low']:+.2f}, {compiled['high']:+.2f}]" in page
    assert texts[-1]["text"].split("\n")[0][:20] in page
    other = json.loads(inside("report", result["run"], "--out", "a/page.html", "--json", cwd=folder).stdout)
    assert Path(other["report"]).read_text() == page
    assert inside("report", "nothing", cwd=folder).returncode == 2


BROKEN = {"an array": "[]", "half": '{"schema": "hyperalign/frozen/2", ', "no words": "{}"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_manifest_is_said_and_hides_no_other(
    done: tuple[Path, dict[str, Any], str], kind: str, inside: Inside
) -> None:
    folder, _, _ = done
    bad = folder / "programs/authorship/frozen/bad"
    bad.mkdir()
    (bad / "manifest.json").write_text(BROKEN[kind])
    try:
        listed = {
            row["model"]: row["verdict"] for row in json.loads(inside("list", "--json", cwd=folder).stdout)["frozen"]
        }
        with pytest.raises(FrozenMismatch):
            load_frozen(bad)
    finally:
        shutil.rmtree(bad)
    assert listed["bad"] == "damaged"
    assert listed["scripted"] in ("gain", "no gain", "loss")


@pytest.mark.parametrize("name", ["program.json", "manifest.json"])
def test_a_tampered_frozen_program_is_refused(
    done: tuple[Path, dict[str, Any], str], name: str, inside: Inside
) -> None:
    folder, _, _ = done
    path = folder / "programs/authorship/frozen/scripted" / name
    whole = path.read_text()
    try:
        path.write_text(whole.replace("0.7", "0.6", 1) if "0.7" in whole else whole.replace("a", "b", 1))
        reply = inside("show", "authorship", "--model", "scripted", cwd=folder)
    finally:
        path.write_text(whole)
    assert reply.returncode == 5
    assert f"{name} was changed" in reply.stderr
    assert "Traceback" not in reply.stderr


def test_a_run_is_resumed_by_its_name_and_refused_when_the_recipe_changed(small: Path, inside: Inside) -> None:
    assert inside(*SMALL, cwd=small).returncode == 0
    run = next(small.glob(".hyperalign/runs/*/plan.json")).parent.name
    before = len(rows(small))
    assert inside("runs", "resume", run, cwd=small).returncode == 0
    assert len(rows(small)) == before
    # What the command was given comes with it, the shelf too.
    shelf = small / "other"
    assert inside("runs", "resume", run, cwd=small).returncode == 0
    assert inside("--shelf", str(shelf), *SMALL, cwd=small).returncode == 0
    shutil.rmtree(shelf)
    assert inside("runs", "resume", run, cwd=small).returncode == 0
    assert (shelf / "programs/authorship/frozen/scripted/manifest.json").is_file()
    plan = small / ".hyperalign/runs" / run / "plan.json"
    whole = json.loads(plan.read_text())
    assert whole["command"][:3] == ["--shelf", str(shelf), "compile"]
    # An older command has its shelf behind the name; one that is typed now wins over either.
    plan.write_text(json.dumps({**whole, "command": [*whole["command"][2:], *whole["command"][:2]]}))
    shutil.rmtree(shelf)
    assert inside("runs", "resume", run, cwd=small).returncode == 0
    assert shelf.is_dir()
    assert inside("--shelf", "third", "runs", "resume", run, cwd=small).returncode == 0
    assert (small / "third/programs/authorship/frozen/scripted/manifest.json").is_file()
    assert "HYPERALIGN_SHELF" not in os.environ
    recipe = small / "optimizers/small.toml"
    recipe.write_text(recipe.read_text().replace("max_tokens = 48", "max_tokens = 40"))
    reply = inside("runs", "resume", run, cwd=small)
    assert reply.returncode == 5
    assert "recipe_digest" in reply.stderr


def test_a_killed_run_goes_on_where_it_stood(small: Path, inside: Inside) -> None:
    words = [*HYPERALIGN, *SMALL]
    process = subprocess.Popen(words, cwd=small, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_calls(process, small, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(rows(small))
    resumed = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    calls = len(rows(small))
    shutil.rmtree(small / ".hyperalign")
    whole = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert 60 <= kept < calls == len(rows(small))
    assert measured(resumed) == measured(whole)


def test_a_call_cap_is_kept_and_the_confirmation_still_paid(small: Path, inside: Inside) -> None:
    refused = inside(*SMALL, "--max", "calls=50", cwd=small)
    assert refused.returncode == 2
    assert "confirmation alone" in refused.stderr
    least = re.search(r"at least --max calls=(\d+)", refused.stderr)
    assert least
    reply = inside(*SMALL, "--max", f"calls={least[1]}", "--json", cwd=small)
    result = json.loads(reply.stdout)
    assert (reply.returncode, result["capped"]) == (4, True), reply.stderr
    assert len(rows(small)) == result["cost"]["calls"] <= int(least[1])
    assert result["confirmation"]["verdict"]


@pytest.mark.evidence
def test_a_capped_run_decides_the_same_when_it_is_killed_or_given_again(small: Path, inside: Inside) -> None:
    refused = inside(*SMALL, "--max", "calls=50", cwd=small).stderr
    cap = re.search(r"at least --max calls=(\d+)", refused)[1]  # type: ignore[index]
    process = subprocess.Popen(
        [*HYPERALIGN, *SMALL, "--max", f"calls={cap}"], cwd=small, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_calls(process, small, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = json.loads(inside(*SMALL, "--max", f"calls={cap}", "--json", cwd=small).stdout)
    again = json.loads(inside(*SMALL, "--max", f"calls={cap}", "--json", cwd=small).stdout)
    calls = len(rows(small))
    run = next(small.glob(".hyperalign/runs/*/plan.json")).parent.name
    shutil.rmtree(small / ".hyperalign")
    whole = json.loads(inside(*SMALL, "--max", f"calls={cap}", "--json", cwd=small).stdout)
    assert measured(resumed) == measured(again) == measured(whole)
    assert calls == len(rows(small)) <= int(cap)
    more = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    assert more["run"] == run
    assert more["cost"]["calls"] > calls


def test_two_at_once_are_kept_apart_and_ctrl_c_leaves_a_run_to_go_on_with(small: Path, inside: Inside) -> None:
    slow = ("compile", "--model", "scripted:delay=300", *SMALL[3:])
    words = [*HYPERALIGN, *slow]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    # A shell may have started the tests with interrupts ignored.
    first = subprocess.Popen(words, cwd=small, preexec_fn=heed_interrupts, **quiet)
    wait_for_calls(first, small, 20)
    second = inside(*slow, cwd=small)
    assert (second.returncode, "in use by another process" in second.stderr) == (2, True)
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=30)[1]
    assert (first.returncode, "goes on where this stopped" in said, "Traceback" in said) == (130, True, False)
    run = json.loads(inside("runs", "show", "--json", cwd=small).stdout)["runs"][0]
    assert run["state"] == "not done"
    assert f"{len(rows(small))} calls recorded" in inside("runs", "show", run["run"], cwd=small).stdout


def test_a_full_disk_is_said_and_nothing_recorded_is_lost(small: Path, inside: Inside) -> None:
    words = [*HYPERALIGN, *SMALL]
    full = subprocess.run(
        words, cwd=small, capture_output=True, text=True, check=False, preexec_fn=lambda: room_for(60_000)
    )
    assert (full.returncode, "Traceback" in full.stderr) == (3, False), full.stderr
    assert "Free some room" in full.stderr
    kept = [json.loads(line) for line in next(small.glob("**/calls.jsonl")).read_text().splitlines()[:-1]]
    assert len(kept) > 20
    assert inside(*SMALL, cwd=small).returncode == 0
    assert {row["key"] for row in kept} <= {row["key"] for row in rows(small)}


def test_progress_can_be_json_or_nothing_and_the_shelf_another(
    done: tuple[Path, dict[str, Any], str], tmp_path: Path, inside: Inside
) -> None:
    folder = done[0]
    words = ("--shelf", str(tmp_path / "mine"), "compile", "--model", "scripted", "--json")
    lines = inside("--display", "json", *words, cwd=folder).stderr.splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["event"] for event in events} == {"say", "step"}
    assert [e for e in events if e.get("phase", "").startswith("confirm")][-1]["calls"] == len(rows(folder))
    assert inside("--display", "none", *words, cwd=folder).stderr == ""
    assert load_frozen(tmp_path / "mine/programs/authorship/frozen/scripted").manifest["program"] == "authorship"


BAD = [
    (("compile", "--data", "nowhere.jsonl"), 2, "There is no nowhere.jsonl"),
    (("compile", "--data", "empty.jsonl"), 2, "is empty"),
    (("compile", "--data", "binary.jsonl"), 2, "not text"),
    (("compile", "--data", "two.jsonl"), 2, "12 are needed"),
    (("compile", "--data", "two.jsonl", "--column", "user=author"), 2, "no column 'author'"),
    (("compile", "--column", "author=name"), 2, "not user, text, request or group"),
    (("compile", "--column", "author"), 2, "not ROLE=NAME"),
    (("compile", "--where", "kind"), 2, "not COLUMN=VALUE"),
    (("compile", "--data", "nowhere.toml"), 2, "nowhere.toml cannot be read"),
    (("compile", "--shelf", "mine"), 2, "hyperalign --shelf ..."),
    (("--concurrency", "0", "compile"), 2, "not in the range"),
    (("--prices", "nowhere.toml", "compile"), 2, "nowhere.toml cannot be read"),
    (("compile", "--model", "locla"), 2, "Did you mean local"),
    (("compile", "--model", "openai/gpt-4o-mini"), 3, "OPENAI_API_KEY"),
    (("compile", "--model", "gguf:nowhere.gguf"), 3, "There is no file"),
    (("compile", "autorship"), 2, "Did you mean authorship"),
    (("compile", "--recipe", "quik"), 2, "Did you mean quick"),
    (("show", "authorship", "--model", "scripted"), 2, "hyperalign compile"),
    (("run", "--model", "scripted", "--samples", "nowhere", "--request", "x"), 2, "no texts in nowhere"),
    (("runs", "show", "nothing"), 2, "no run called"),
    (("models", "pull", "--from", "binary.jsonl"), 1, "SHA-256"),
]


@pytest.mark.parametrize(("words", "code", "said"), BAD, ids=[" ".join(words) for words, _, _ in BAD])
def test_bad_input_gets_one_clear_screen(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str, inside: Inside
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "binary.jsonl").write_bytes(b"\0\1\2" * 50)
    (tmp_path / "two.jsonl").write_text("".join(json.dumps({"user": u, "text": f"text of {u}"}) + "\n" for u in "ab"))
    model = () if "--model" in words or "compile" not in words else ("--model", "scripted")
    reply = inside(*words, *model, cwd=tmp_path, HYPERALIGN_CACHE=str(tmp_path / "cache"))
    assert said in reply.stderr
    assert reply.returncode == code
    assert "Traceback" not in reply.stderr
    assert len(reply.stderr.splitlines()) < 15


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "file").write_text("")
    reply = inside("compile", "--model", "scripted", cwd=tmp_path, HYPERALIGN_RUNS=str(tmp_path / "file" / "runs"))
    assert (reply.returncode, "Cannot write runs" in reply.stderr) == (3, True)


def test_a_program_of_ones_own_is_written_and_compiles(tmp_path: Path, inside: Inside) -> None:
    made = inside("init", "moods", cwd=tmp_path)
    assert made.returncode == 0
    assert inside("init", "moods", cwd=tmp_path).returncode == 2
    reply = inside("compile", "moods", "--model", "scripted", "--json", cwd=tmp_path)
    assert reply.returncode == 0, reply.stderr
    result = json.loads(reply.stdout)
    assert result["plan"]["unit"] == "names_the_mood"
    assert "Pilot: a block's mean is off by" in reply.stderr
    frozen = load_frozen(tmp_path / "programs/moods/frozen/scripted")
    assert frozen.manifest["program"] == "moods"
    assert frozen.module.settings.value.max_tokens == 16
    assert frozen.module.settings.value.adapter == "turns"
    sent = [row["request"] for row in rows(tmp_path)]
    assert {call["config"]["max_tokens"] for call in sent} == {16}
    assert not any("[[ ##" in message["content"] for call in sent for message in call["messages"])
    shown = inside("show", "moods", "--model", "scripted", cwd=tmp_path).stdout
    assert 'program(message="...")' in shown
    assert "{{message}}" in inside("show", "moods", "--model", "scripted", "--messages", cwd=tmp_path).stdout
    (tmp_path / "a.txt").write_text("A text.")
    refused = inside("run", "moods", "--model", "scripted", "--samples", "a.txt", "--request", "x", cwd=tmp_path)
    assert (refused.returncode, "another kind" in refused.stderr) == (2, True)
    again = inside("eval", "moods", "--model", "scripted", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_doctor_tells_what_is_here_and_hides_keys(tmp_path: Path, inside: Inside) -> None:
    reply = inside("doctor", cwd=tmp_path, OPENAI_API_KEY="sk-secret")
    assert reply.returncode == 0
    assert "sk-secret" not in reply.stdout + reply.stderr
    assert "OPENAI_API_KEY" in reply.stdout
