"""Profiles: readable files of one user, whatever the user is called and whatever a hand did to them."""

from __future__ import annotations

import json
import logging
import stat
import unicodedata
from pathlib import Path

import dspy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyperalign_dspy import HyPerAlign, Profile, Settings
from hyperalign_dspy.artifacts.hypotheses import lines_of, parse_hypotheses
from hyperalign_dspy.errors import DataError, MissingFolder, UnknownName, UsageError
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.locate import user_data
from hyperalign_dspy.types import FACETS, Hypothesis, Sample

TEXTS = ["Rain again. Fine. We walk anyway!", "The dog is wet. So what? Bread helps."]


def speaking(engine: ScriptedEngine, name: str = "scripted") -> object:
    lm = dspy.LM(name, engine=Ledger().wrap(engine, name), cache=False)
    return dspy.context(lm=lm, disable_history=True)


@given(st.text(max_size=120))
@example("../../etc/passwd")
@example("..")
@example("a/b\\c")
@example("con")
@example("NUL.txt")
@example("-rf")
@example("~root")
@example("Zoë O'Brien")
@example("李小龍")
@example("a\u202eb")
@example("ﬁ")
def test_any_name_is_refused_or_one_harmless_folder(name: str) -> None:
    try:
        made = Profile.add(name, TEXTS)
    except UsageError:
        return
    folder = made.folder.name
    assert made.folder.parent == user_data() / "profiles"
    assert folder == Path(folder).name == folder.casefold()
    assert folder.isascii()
    assert not set(folder) & set('/\\:*?"<>| ')
    assert not folder.startswith((".", "-"))
    assert not folder.endswith(".")
    assert folder.partition(".")[0] not in ("con", "nul", "aux", "prn", "com1")
    assert len(folder) <= 60
    assert Profile.load(f"  {made.name} ") == Profile.load(unicodedata.normalize("NFD", made.name)) == made
    made.remove()


@given(st.sampled_from("ada Zoë ΣΊΣΥΦΟΣ straße İ a-b a.b".split()), st.sampled_from(["upper", "lower", "swapcase"]))
def test_spellings_that_differ_in_case_share_a_folder(name: str, change: str) -> None:
    again = getattr(name, change)()
    if unicodedata.normalize("NFKC", again).casefold() == unicodedata.normalize("NFKC", name).casefold():
        assert Profile.add(name, TEXTS) == Profile.load(again)


def test_names_that_are_not_the_same_do_not_meet() -> None:
    names = ["a b", "a-b", "a/b", "a.b", "a_b", "a\\b", "ä", "a", "con", "con~", "x" * 60, "x" * 61]
    assert len({Profile.add(name, TEXTS).folder for name in names}) == len(names)
    made = Profile.load("a b").folder.name
    assert Profile.add(made, TEXTS).folder.name != made


def test_a_profile_is_its_owners_alone_and_says_what_it_was_given() -> None:
    ada = Profile.add("Ada Lovelace", [TEXTS[0], Sample(TEXTS[1], "What of the dog?")])
    assert ada.folder.parent == user_data() / "profiles"
    assert stat.S_IMODE(ada.folder.stat().st_mode) == stat.S_IMODE(ada.folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in ada.folder.iterdir()} == {0o600}
    assert ada.samples == (Sample(TEXTS[0]), Sample(TEXTS[1], "What of the dog?"))
    assert Profile.load("ada lovelace") == ada
    assert [profile.name for profile in Profile.all()] == ["Ada Lovelace"]
    lines = (ada.folder / "samples.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"text": TEXTS[0]}


def test_more_samples_are_added_once_and_only_under_the_same_spelling() -> None:
    Profile.add("Ada", TEXTS[:1])
    assert len(Profile.add("Ada", [*TEXTS, *TEXTS]).samples) == 2
    assert len(Profile.add("Ada", TEXTS).samples) == 2
    with pytest.raises(UsageError, match="share the profile of 'Ada'"):
        Profile.add("ADA", ["Something of somebody else."])
    with pytest.raises(DataError, match="no texts"):
        Profile.add("Bob", ["  "])
    with pytest.raises(UnknownName, match="profile add"):
        Profile.load("Bob")
    assert [profile.name for profile in Profile.all()] == ["Ada"]


def test_hypotheses_are_inferred_once_and_what_a_person_corrects_is_used() -> None:
    engine = ScriptedEngine()
    ada, module = Profile.add("ada", TEXTS), HyPerAlign(Settings(shown_hypotheses="inferred"))
    with speaking(engine):
        first = ada.hypotheses(module)
        assert engine.calls == 1
        assert ada.hypotheses(module) == first
        path = ada.place("authorship", "scripted")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.write_text('{"facet": "style", "text": "Says little."}\n')
        written = ada.write(module, "Write about the rain.")
    assert written.hypotheses == [Hypothesis("Says little.", "style")]
    assert engine.calls == 2


def test_writing_can_be_heard_and_inferring_is_not() -> None:
    heard: list[str] = []
    with speaking(ScriptedEngine()):
        written = Profile.add("ada", TEXTS).write(HyPerAlign(), "Write about the rain.", tell=heard.append)
    assert "".join(heard) == written.text
    assert len(heard) > 3


def test_each_program_and_model_has_hypotheses_of_its_own() -> None:
    ada, module = Profile.add("ada", TEXTS), HyPerAlign()
    for model, program in (("scripted", "authorship"), ("scripted:delay=0", "authorship"), ("scripted", "mine")):
        with speaking(ScriptedEngine(), model):
            ada.hypotheses(module, program)
    assert len({one.path for one in ada.believed()}) == 3
    assert {(one.program, one.model) for one in ada.believed()} >= {("authorship", "scripted"), ("mine", "scripted")}
    ada.forget()
    assert ada.believed() == []
    assert len(ada.samples) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [("samples", "the samples have changed since"), ("settings", "infers in another way by now"), ("nothing", "")],
)
def test_what_is_out_of_date_is_used_and_said_to_be(change: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    engine, ada = ScriptedEngine(), Profile.add("ada", TEXTS[:1])
    with speaking(engine), caplog.at_level(logging.WARNING, "hyperalign_dspy"):
        first = ada.hypotheses(HyPerAlign(Settings(temperature=0.5)))
        if change == "samples":
            Profile.add("ada", TEXTS)
        # How the text is written has no part in what was inferred.
        changed = Settings(hypotheses=2) if change == "settings" else Settings(temperature=0.9, drafts=2)
        assert ada.hypotheses(HyPerAlign(changed)) == first
    assert engine.calls == 1
    assert said in caplog.text
    assert bool(said) == ("--forget" in caplog.text)


def test_a_program_that_keeps_no_stage_for_it_is_refused() -> None:
    with speaking(ScriptedEngine()), pytest.raises(UsageError, match="no stage"):
        Profile.add("ada", TEXTS).hypotheses(dspy.Predict("request -> text"))


MEASURED = Hypothesis("Exclaims never.", "style", "measured", "exclaims", "less", 0.0, 1.5, 0.4)
SOUND = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1).filter(str.strip)


@given(st.lists(st.builds(Hypothesis, SOUND.map(lambda t: " ".join(t.split())), st.sampled_from(FACETS))))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_hypotheses_come_back_from_their_lines(hypotheses: list[Hypothesis]) -> None:
    assert parse_hypotheses(lines_of(hypotheses), "a file") == hypotheses


def test_a_measured_hypothesis_comes_back_and_a_list_as_run_prints_it_is_read() -> None:
    from hyperalign_dspy.metrics.features import FEATURES

    measured = Hypothesis("Exclaims.", "style", "measured", next(iter(FEATURES)), "more", 2.0, 1.5, 0.4)
    assert parse_hypotheses(lines_of([measured]), "a file") == [measured]
    whole = json.dumps({"schema": "hyperalign/text/1", "hypotheses": [{"text": "Says little.", "facet": "style"}]})
    assert parse_hypotheses(whole, "a file") == [Hypothesis("Says little.", "style")]
    assert parse_hypotheses("", "a file") == []


BROKEN = {
    '{"facet": "style", "text": "a"}\n{"facet": "style" "text": "b"}': "Line 2 of f is not JSON",
    '{"facet": "mood", "text": "a"}': "Line 1 of f has the facet 'mood'",
    '\n\n{"facet": "style"}': "Line 3 of f has no text",
    '{"text": "a", "fact": "style"}': "Line 1 of f has 'fact'",
    '"a"\n"b"': "Line 1 of f is not a JSON object",
    '{"text": "a", "kind": "guessed"}': "kind 'guessed'",
    '{"text": "a", "kind": "measured", "feature": "height"}': "measures 'height'",
    '[{"text": "a"}, 3]': "Hypothesis 2 of f is not a JSON object",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_edit_is_said_with_its_line_and_a_way_to_mend_it(text: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_hypotheses(text, "f")
    assert BROKEN[text] in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("number", ['"much"', "NaN", "true", "-1"])
def test_a_measured_number_that_is_none_is_refused(number: str) -> None:
    from hyperalign_dspy.metrics.features import FEATURES

    line = f'{{"text": "a", "kind": "measured", "feature": "{next(iter(FEATURES))}", "spread": {number}}}'
    with pytest.raises(DataError):
        parse_hypotheses(line, "f")


@pytest.mark.parametrize("text", ["[]", "{}", '{"samples": "other"}'])
def test_what_made_hypotheses_may_be_lost(text: str) -> None:
    ada, module = Profile.add("ada", TEXTS), HyPerAlign()
    with speaking(ScriptedEngine()):
        first = ada.hypotheses(module)
        ada.place("authorship", "scripted").with_suffix(".json").write_text(text)
        assert ada.hypotheses(module) == first
    assert (ada.believed()[0].program, ada.believed()[0].model) == ("authorship", "scripted")


def test_samples_that_a_hand_broke_are_said_and_hide_nobody() -> None:
    ada = Profile.add("ada", TEXTS)
    Profile.add("bob", TEXTS)
    (ada.folder / "profile.json").write_text("{")
    (ada.folder / "samples.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    assert {profile.name for profile in Profile.all()} == {"ada", "bob"}
    with pytest.raises(DataError, match="has no 'text'"):
        _ = Profile.load("ada").samples


def test_half_characters_are_kept_as_what_can_be_kept() -> None:
    assert Profile.add("ada", ["Half of a \ud83d here."]).samples[0].text == "Half of a ? here."


def test_samples_that_were_deleted_can_be_added_anew() -> None:
    ada = Profile.add("ada", TEXTS)
    (ada.folder / "samples.jsonl").unlink()
    assert [sample.text for sample in Profile.add("ada", TEXTS[:1]).samples] == TEXTS[:1]
    assert {path.name for path in (user_data() / "profiles").iterdir()} == {".lock", "ada"}


def test_an_add_that_was_cut_off_is_taken_up_by_the_next() -> None:
    folder = Profile.add("Ada Lovelace", TEXTS).folder
    (folder / "samples.jsonl").unlink()
    assert Profile.add("Ada Lovelace", TEXTS[:1]).samples == (Sample(TEXTS[0]),)
    Profile.load("Ada Lovelace").remove()
    folder.mkdir()
    assert Profile.add("Ada Lovelace", TEXTS[:1]).name == "Ada Lovelace"


def test_a_profile_that_cannot_be_made_leaves_no_text_behind() -> None:
    Profile.add("bob", TEXTS)
    (user_data() / "profiles" / "ada").write_text("In the way.")
    with pytest.raises(MissingFolder):
        Profile.add("ada", TEXTS)
    assert {path.name for path in (user_data() / "profiles").iterdir()} == {".lock", "bob", "ada"}
