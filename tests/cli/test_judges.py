"""The commands that try judges and statistics, and the second task, on the scripted model: plumbing only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.metrics.panel import CLASSIFIERS
from tests.cli.test_main_job import Inside, inside, rows, small

__all__ = ["inside", "small"]


def test_a_panels_table_is_for_people(small: Path, inside: Inside) -> None:
    reply = inside("judge", "validate", "--data", "small.jsonl", cwd=small)
    assert reply.returncode == 0, reply.stderr
    assert "F0.5u" in reply.stdout


def test_the_panel_is_tried_on_peoples_texts(tmp_path: Path, inside: Inside) -> None:
    users = bundled_corpus().users[:24]
    lines = [{"user": user.user_id, "text": sample.text} for user in users for sample in user.samples]
    (tmp_path / "half.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reply = inside("judge", "validate", "--data", "half.jsonl", "--json", cwd=tmp_path)
    assert reply.returncode == 0, reply.stderr
    panel = json.loads(reply.stdout)["panel"]
    assert set(panel) == set(CLASSIFIERS)
    for name, found in panel.items():
        chance = 1 / found["candidates"]
        assert found["accuracy"]["low"] > chance, name
        assert found["auc"] > 0.75
        assert 0.5 < found["c_at_1"] <= 1
    assert panel["primary"]["accuracy"]["mean"] > 0.8


def test_verifiers_are_tried_on_texts_that_a_model_writes_for_users_who_are_not_sealed(
    small: Path, inside: Inside
) -> None:
    words = ("judge", "validate", "--power", "--model", "scripted", "--data", "small.jsonl")
    reply = inside(*words, "--json", cwd=small)
    assert reply.returncode == 0, reply.stderr
    found = json.loads(reply.stdout)["power"]["verifiers"]
    assert set(found) == set(CLASSIFIERS)
    for power in found.values():
        # Half of fourteen are sealed; scripted words are nobody's.
        assert power["gap"]["n_users"] == 7
        assert power["gap"]["low"] <= 0 <= power["gap"]["high"] or power["found"] > 0.5
        assert 0 <= power["found"] <= 1
    calls = (small / ".hyperalign/judge/calls.jsonl").read_text().count("\n")
    assert inside(*words, cwd=small).returncode == 0
    assert (small / ".hyperalign/judge/calls.jsonl").read_text().count("\n") == calls
    plan = inside("compile", "--model", "scripted", "--data", "small.jsonl", "--recipe", "small", "--plan", cwd=small)
    assert "Replayed on recorded scores of 7 users" in plan.stdout + plan.stderr


def test_a_model_that_guesses_does_not_qualify_and_is_not_paid_twice(tmp_path: Path, inside: Inside) -> None:
    words = ("judge", "qualify", "--judge", "scripted", "--most", "20", "--json")
    first = json.loads(inside(*words, cwd=tmp_path).stdout)
    assert (first["qualified"], first["agreement"]["n_instances"]) == (False, 20)
    kept = tmp_path / ".hyperalign/judge/calls.jsonl"
    calls = len(kept.read_text().splitlines())
    assert calls <= 40
    assert json.loads(inside(*words, cwd=tmp_path).stdout) == first
    assert len(kept.read_text().splitlines()) == calls


def test_outputs_of_two_systems_are_compared(tmp_path: Path, inside: Inside) -> None:
    users = bundled_corpus().users[:12]
    own = [{"id": n, "user": u.user_id, "text": u.samples[0].text} for n, u in enumerate(users)]
    others = [{"id": n, "user": u.user_id, "text": users[n - 1].samples[0].text} for n, u in enumerate(users)]
    for name, written in (("own", own), ("others", others)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    words = ("eval", "--ours", "own.jsonl", "--theirs", "others.jsonl", "--judge", "scripted", "--model", "scripted")
    found = json.loads(inside(*words, "--json", cwd=tmp_path).stdout)
    assert (found["verdict"], found["wins"]["mean"] > 0.9) == ("gain", True)
    assert found["llm_judge"]["same_family"]
    assert not found["llm_judge"]["qualified"]
    shown = inside(*words, cwd=tmp_path).stdout
    assert "OURS are more like" in shown
    assert "same family" in shown
    assert "never tried for this purpose" in shown
    assert inside("eval", "--ours", "own.jsonl", cwd=tmp_path).returncode == 2


def test_a_deliberative_program_is_compiled_and_harm_stands_beside_help(tmp_path: Path, inside: Inside) -> None:
    reply = inside("compile", "deliberative", "--model", "scripted", "--json", cwd=tmp_path)
    assert reply.returncode == 0, reply.stderr
    result = json.loads(reply.stdout)
    for row in result["confirmation"]["rows"]:
        assert row["harm"]["n_users"] == row["gap"]["n_users"] == 24
        assert 0 <= row["harm"]["mean"] <= 1
    shown = inside("runs", "show", result["run"], cwd=tmp_path).stdout
    assert "harm rise*" in shown
    assert "(baseline) ->" in shown
    assert len(rows(tmp_path)) == result["cost"]["calls"]
    assert "{{request}}" in inside("show", "deliberative", "--model", "scripted", "--messages", cwd=tmp_path).stdout


def test_the_smallest_gain_is_told_without_a_call(tmp_path: Path, inside: Inside) -> None:
    reply = inside("compile", "--model", "scripted", "--plan", "--json", cwd=tmp_path)
    assert 0.6 < json.loads(reply.stdout)["plan"]["smallest_win"] < 0.85
    assert not (tmp_path / ".hyperalign").exists()


def test_a_judge_of_the_confirmation_is_asked_paid_once_and_says_that_it_is_unqualified(
    tmp_path: Path, inside: Inside
) -> None:
    words = ("compile", "deliberative", "--model", "scripted", "--judge", "scripted:delay=1", "--json")
    result = json.loads(inside(*words, cwd=tmp_path).stdout)
    llm_judge = result["confirmation"]["llm_judge"]
    assert llm_judge["purpose"] == "helpfulness"
    assert llm_judge["tally"]["wins"]["n_users"] == 24
    assert (llm_judge["agreement"], llm_judge["qualified"], llm_judge["same_family"]) == (None, False, True)
    assert "UNQUALIFIED JUDGE" in inside("runs", "show", result["run"], cwd=tmp_path).stdout
    asked = [row for row in rows(tmp_path) if row["phase"] == "judge"]
    assert 0 < len(asked) <= 4 * 24
    before = len(rows(tmp_path))
    assert json.loads(inside(*words, cwd=tmp_path).stdout)["confirmation"]["llm_judge"] == llm_judge
    assert len(rows(tmp_path)) == before


def test_grades_are_for_answers_only(tmp_path: Path, inside: Inside) -> None:
    reply = inside("judge", "qualify", "--judge", "scripted", "--grades", cwd=tmp_path)
    assert reply.returncode == 2
    assert "--grades is for helpfulness" in reply.stderr
    pairs = [{"input": f"Ask {n}", "output_1": "Good.", "output_2": "Bad.", "label": 1} for n in range(6)]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    graded = inside("judge", "qualify", "--judge", "scripted", "--grades", "--data", "pairs.json", cwd=tmp_path)
    assert "grading each from 0 to 10" in graded.stdout
    kept = [json.loads(line) for line in (tmp_path / ".hyperalign/judge/qualifications.jsonl").read_text().splitlines()]
    assert [(row["how"], row["purpose"], row["qualified"]) for row in kept] == [("grades", "helpfulness", False)]


@pytest.mark.evidence
def test_a_bound_on_copying_keeps_the_baseline(tmp_path: Path, inside: Inside) -> None:
    words = ("compile", "--model", "scripted", "--json")
    free = json.loads(inside(*words, cwd=tmp_path).stdout)
    bound = json.loads(inside(*words, "--constraint", "overlap=0", "--constraint", "longest=0", cwd=tmp_path).stdout)
    assert free["changes"]
    assert free["run"] != bound["run"]
    assert bound["confirmation"]["verdict"] != "gain"
    assert bound["frozen_is"] == "baseline"
    assert inside("compile", "--model", "scripted", "--constraint", "copying=0", cwd=tmp_path).returncode == 2
    assert "NAME=NUMBER" in inside("compile", "--model", "scripted", "--constraint", "overlap", cwd=tmp_path).stderr
