"""Profiles from the command line: kept, corrected, used, shown while being written, and taken back."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.profiles import Profile
from hyperalign_dspy.cli import run as run_module
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.metrics.features import FEATURES
from hyperalign_dspy.program.hyperalign import HyPerAlign
from hyperalign_dspy.program.settings import Settings
from tests.cli.test_main_job import Inside, inside
from tests.resume.server import Server

__all__ = ["inside"]

USER = bundled_corpus().users[0]
RUN = ("run", "--model", "scripted", "--user", "ada", "--request", "Write about rain.")


@pytest.fixture
def ada(tmp_path: Path) -> Profile:
    return Profile.add("ada", ["Rain again. Fine. We walk anyway!", "The dog is wet. So what? Bread helps."])


def test_a_profile_is_added_listed_shown_and_removed(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("Rain again. Fine. We walk anyway!")
    added = inside("profile", "add", "Ada L", "--samples", "texts", cwd=tmp_path)
    assert (added.returncode, "hyperalign run --user 'Ada L'" in added.stdout) == (0, True)
    listed = json.loads(inside("profile", "show", "--json", cwd=tmp_path).stdout)["profiles"]
    assert [(row["user"], row["samples"]) for row in listed] == [("Ada L", 1)]
    shown = json.loads(inside("profile", "show", "ada l", "--json", cwd=tmp_path).stdout)
    assert shown["samples"][0]["text"] == "Rain again. Fine. We walk anyway!"
    assert "Rain again." in inside("profile", "show", "ADA L", cwd=tmp_path).stdout
    asked = inside("profile", "remove", "Ada L", cwd=tmp_path)
    assert (asked.returncode, "--yes" in asked.stderr, Path(shown["folder"]).is_dir()) == (2, True, True)
    run = tmp_path / ".hyperalign/runs/a-b-1"
    run.mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    removed = inside("profile", "remove", "Ada L", "--yes", "--json", cwd=tmp_path)
    assert json.loads(removed.stdout)["user"] == "Ada L"
    assert "The 1 runs in" in removed.stderr
    assert not Path(shown["folder"]).exists()
    assert inside("profile", "show", cwd=tmp_path).stdout == "No profiles yet.\n"


@pytest.mark.parametrize(
    "words", [("show", "eve"), ("add", "a\x07b", "--samples", "a.txt"), ("add", "eve", "--samples", "no")]
)
def test_what_cannot_be_is_one_screen(words: tuple[str, ...], tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "a.txt").write_text("Rain.")
    reply = inside("profile", *words, cwd=tmp_path)
    assert (reply.returncode, reply.stdout, "Traceback" in reply.stderr) == (2, "", False)


def test_a_run_infers_once_and_what_is_corrected_is_used(tmp_path: Path, ada: Profile, inside: Inside) -> None:
    nothing = inside("profile", "edit", "ada", cwd=tmp_path)
    assert (nothing.returncode, "hyperalign run --user ada" in nothing.stderr) == (2, True)
    first = json.loads(inside(*RUN, "--json", cwd=tmp_path).stdout)
    assert json.loads(inside(*RUN, "--json", cwd=tmp_path).stdout) == first
    (tmp_path / "mine.jsonl").write_text('{"facet": "style", "text": "Says little."}\n')
    edited = inside("profile", "edit", "ada", "--hypotheses", "mine.jsonl", "--json", cwd=tmp_path)
    assert json.loads(edited.stdout)["believed"][0]["made"]["model"] == "scripted"
    second = json.loads(inside(*RUN, "--json", cwd=tmp_path).stdout)
    assert [h["text"] for h in second["hypotheses"]] == ["Says little."]
    assert second["text"] != first["text"]
    inside("profile", "edit", "ada", "--forget", cwd=tmp_path)
    assert json.loads(inside(*RUN, "--json", cwd=tmp_path).stdout) == first


def test_an_edit_that_cannot_be_read_replaces_nothing_and_is_not_lost(
    tmp_path: Path, ada: Profile, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(*RUN, cwd=tmp_path)
    path = ada.believed()[0].path
    before = path.read_text()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "edit", lambda text, **how: f'{text}{{"facet": "mood", "text": "x"}}\n')
    reply = inside("profile", "edit", "ada", cwd=tmp_path)
    assert (reply.returncode, "has the facet 'mood'" in reply.stderr, path.read_text()) == (2, True, before)
    assert "mood" in path.with_suffix(".draft").read_text()
    assert str(path.with_suffix(".draft")) in reply.stderr
    monkeypatch.setattr(click, "edit", lambda text, **how: text.splitlines(keepends=True)[0])
    assert inside("profile", "edit", "ada", cwd=tmp_path).returncode == 0
    assert path.read_text() == before.splitlines(keepends=True)[0]


def break_samples(ada: Profile) -> None:
    (ada.folder / "samples.jsonl").write_text('{"text": "Rain again. Fine. We walk anyway!"}\n{"text": "The dog is')


def break_bytes(ada: Profile) -> None:
    (ada.folder / "samples.jsonl").write_bytes(b'{"text": "Rain again. Fine. We walk anyway!"}\n\xff\n')


def break_made(ada: Profile) -> None:
    ada.believed()[0].path.with_suffix(".json").write_text('{"program": ')


def break_hypotheses(ada: Profile) -> None:
    ada.believed()[0].path.write_bytes(b'{"facet": "mood"}\n\xff\n')


def delete_samples(ada: Profile) -> None:
    (ada.folder / "samples.jsonl").unlink()


@pytest.mark.parametrize("damage", [break_samples, break_bytes, break_made, break_hypotheses, delete_samples])
def test_a_damaged_profile_is_listed_as_such_and_can_be_removed(
    damage: Any, tmp_path: Path, ada: Profile, inside: Inside
) -> None:
    inside(*RUN, cwd=tmp_path)
    Profile.add("ada.b", ["The cat is dry."])
    damage(ada)
    listed = inside("profile", "show", cwd=tmp_path)
    assert (listed.returncode, "ada.b" in listed.stdout, "damaged" in listed.stdout) == (0, True, True)
    removed = inside("profile", "remove", "ada", "--yes", cwd=tmp_path)
    assert (removed.returncode, "Traceback" in removed.stderr) == (0, False)
    assert sorted(path.name for path in ada.folder.parent.iterdir()) == [".lock", "ada.b"]


@pytest.mark.parametrize("name", ["half.jsonl", "half.json"])
def test_samples_with_half_a_character_are_read(name: str, tmp_path: Path, inside: Inside) -> None:
    row = json.dumps({"text": "Half a \ud800 here.", "request": "Write \udfff."})
    (tmp_path / name).write_text(row if name.endswith("l") else f"[{row}]")
    reply = inside("run", "--model", "scripted", "--samples", name, "--request", "Write.", "--json", cwd=tmp_path)
    assert (reply.returncode, reply.stderr.count("Traceback")) == (0, 0)
    assert inside("profile", "add", "eve", "--samples", name, cwd=tmp_path).returncode == 0
    assert Profile.load("eve").samples[0].text == "Half a ? here."


def test_an_empty_request_infers_nothing(tmp_path: Path, ada: Profile, inside: Inside) -> None:
    reply = inside(*RUN[:-1], " ", cwd=tmp_path)
    assert (reply.returncode, "request is empty" in reply.stderr, ada.believed()) == (2, True, [])


def test_of_several_sets_one_has_to_be_named(tmp_path: Path, ada: Profile, inside: Inside) -> None:
    for model in ("scripted", "scripted:delay=0"):
        inside(*RUN[:2], model, *RUN[3:], cwd=tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"text": "Says little."}\n')
    words = ("profile", "edit", "ada", "--hypotheses", "mine.jsonl")
    assert "--model scripted:delay=0" in inside(*words, cwd=tmp_path).stderr
    assert inside(*words, "--model", "scripted", cwd=tmp_path).returncode == 0
    assert ada.place("authorship", "scripted").read_text() == '{"facet": "style", "text": "Says little."}\n'


def test_stale_hypotheses_are_used_and_said(tmp_path: Path, ada: Profile, inside: Inside) -> None:
    assert "out of date" not in inside(*RUN, cwd=tmp_path).stderr
    Profile.add("ada", ["One more text."])
    reply = inside(*RUN, cwd=tmp_path)
    assert (reply.returncode, "profile edit ada --forget" in reply.stderr) == (0, True)
    (tmp_path / "mine.jsonl").write_text('{"text": "Says little."}\n')
    inside("profile", "edit", "ada", "--hypotheses", "mine.jsonl", cwd=tmp_path)
    assert "out of date" not in inside(*RUN, cwd=tmp_path).stderr


def test_an_edit_that_changes_nothing_leaves_them_out_of_date(tmp_path: Path, ada: Profile, inside: Inside) -> None:
    inside(*RUN, cwd=tmp_path)
    Profile.add("ada", ["One more text."])
    before = ada.believed()[0].made
    reply = inside("profile", "edit", "ada", cwd=tmp_path, EDITOR="true")
    assert (reply.returncode, reply.stdout) == (0, "Nothing changed.\n")
    assert ada.believed()[0].made == before
    assert "out of date" in inside(*RUN, cwd=tmp_path).stderr


def test_what_is_shown_obeys_no_code_in_a_text_and_says_what_was_measured(tmp_path: Path, inside: Inside) -> None:
    eve = Profile.add("eve", ["Red \x1b[31malert\x9b2J\x7f.\r\n\x07Zoë 👩‍👧 雨"])
    known = eve.place("authorship", "scripted")
    known.parent.mkdir()
    measured = {"facet": "style", "text": "Exclaims never.", "kind": "measured", "feature": next(iter(FEATURES))}
    known.write_text(
        json.dumps({"facet": "style", "text": "Says \x1b[2J little."}) + "\n" + json.dumps(measured) + "\n"
    )
    shown = inside("profile", "show", "eve", cwd=tmp_path).stdout
    assert r"Red \x1b[31malert\x9b2J\x7f. \x07Zoë 👩‍👧 雨" in shown
    assert r"Says \x1b[2J little." in shown
    assert not set(shown) & {"\x1b", "\x9b", "\x7f", "\r", "\x07"}
    heads = [line.split(" ")[0] for line in shown.splitlines() if line and not line.startswith(" ")]
    assert heads == ["eve:", "Inferred", "Measured"]
    known.write_text(json.dumps(measured) + "\n")
    assert "Inferred" not in inside("profile", "show", "eve", cwd=tmp_path).stdout


@pytest.mark.parametrize("drafts", [1, 3])
@pytest.mark.parametrize("who", [("--user", "ada"), ("--samples", "a.txt")])
def test_who_watches_sees_what_a_file_would_hold(
    drafts: int, who: tuple[str, str], tmp_path: Path, ada: Profile, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("Rain again. Fine. We walk anyway!")
    words = ("run", "--model", "scripted", *who, "--request", "Write about rain.")
    made = HyPerAlign(Settings(drafts=drafts))
    monkeypatch.setattr(run_module, "_module", lambda *given: made)
    to_file = inside(*words, cwd=tmp_path)
    pieces: list[str] = []
    taken = run_module._Typed.take
    monkeypatch.setattr(run_module._Typed, "take", lambda self, piece: (pieces.append(piece), taken(self, piece))[1])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    watched = inside(*words, cwd=tmp_path)
    assert watched.stdout == to_file.stdout
    assert (len(pieces) > 3) == (drafts == 1)
    assert ("drafts" in watched.stderr) == (drafts > 1)
    assert "drafts" not in to_file.stderr
    json.loads(inside(*words, "--json", cwd=tmp_path).stdout)


def test_drafts_of_a_server_are_counted_once(
    tmp_path: Path, ada: Profile, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = HyPerAlign(Settings(drafts=2, shown_hypotheses="none"))
    monkeypatch.setattr(run_module, "_module", lambda *given: made)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with Server() as server:
        reply = inside(*RUN[:2], "openai/small", *RUN[3:], cwd=tmp_path, **server.environment)
    assert (reply.returncode, server.requests) == (0, 2)
    assert "2/2" in reply.stderr
    assert not [line for line in reply.stderr.splitlines() if "3/2" in line or "4/2" in line]


def cut_up(text: str, places: list[int]) -> list[str]:
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(ends)]


@given(st.text(), st.lists(st.integers(0, 50)), st.booleans())
def test_pieces_on_the_screen_are_the_text_that_is_kept(text: str, places: list[int], broken: bool) -> None:
    shown: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click, "echo", lambda text="", nl=True: shown.append(text + ("\n" if nl else "")))
        typed = run_module._Typed()
        pieces = cut_up(text, places)
        for piece in pieces[: len(pieces) // 2] if broken else pieces:
            typed.take(piece)
        typed.end(text.strip())
    assert "".join(shown) == text.strip() + "\n"
