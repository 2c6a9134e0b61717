"""`hyperalign profile`: what is kept of users, for them to read, correct and take back."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.artifacts.hypotheses import parse_hypotheses, read_hypotheses
from hyperalign_dspy.cli.common import emit, say
from hyperalign_dspy.cli.options import json_option
from hyperalign_dspy.data.load import read_samples
from hyperalign_dspy.errors import DataError, UsageError
from hyperalign_dspy.files import write_text
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.report.format import columns, one_line
from hyperalign_dspy.runs import all_runs, home

if TYPE_CHECKING:
    from hyperalign_dspy.artifacts.profiles import Profile


@click.group("profile")
def profile_command() -> None:
    """Add, show, edit or remove profiles: a user's samples, and what is believed of them."""


@profile_command.command("add")
@click.argument("user")
@click.option("--samples", required=True, type=click.Path(path_type=Path), help="A text file, a folder, or JSONL.")
@json_option
def _add(user: str, samples: Path, as_json: bool) -> None:
    """Keep samples of a USER, or more of one who is kept already."""
    from hyperalign_dspy.artifacts.profiles import Profile

    profile = Profile.add(user, read_samples(samples))
    count = len(profile.samples)
    said = f"{profile.name}: {count} samples in {profile.folder}\n{_first_run(profile.name)}"
    emit(_plain(profile), said, as_json=as_json)


@profile_command.command("show")
@click.argument("user", default="")
@json_option
def _show(user: str, as_json: bool) -> None:
    """The samples of a USER, and what is believed of them; without one, everybody who has a profile."""
    from hyperalign_dspy.artifacts.profiles import Profile

    if user:
        profile = Profile.load(user)
        emit(_plain(profile), _words(profile), as_json=as_json)
        return
    found = [_summary(profile) for profile in Profile.all()]
    cells = [[row["user"], str(row["samples"]), ", ".join(row["believed"]), row["folder"]] for row in found]
    text = columns(["user", "samples", "hypotheses for", "folder"], cells)
    emit({"schema": "hyperalign/profiles/1", "profiles": found}, text if found else "No profiles yet.", as_json=as_json)


@profile_command.command("edit")
@click.argument("user")
@click.option("--program", help="Whose hypotheses; needed where several programs have some.")
@click.option("--model", help="Inferred by which model; needed where several have.")
@click.option("--hypotheses", type=click.Path(path_type=Path), help="Take these in place of those that are kept.")
@click.option("--forget", is_flag=True, help="Drop all hypotheses: the next run infers anew.")
@json_option
def _edit(user: str, program: str | None, model: str | None, as_json: bool, **given: Any) -> None:
    """Correct what is believed of a USER, in $EDITOR. What cannot be read replaces nothing."""
    from hyperalign_dspy.artifacts.profiles import Profile

    profile = Profile.load(user)
    if given["forget"]:
        profile.forget()
        emit(_plain(profile), f"Forgotten: {profile.name}.", as_json=as_json)
        return
    known = _meant(profile, program, model)
    if given["hypotheses"]:
        found = read_hypotheses(given["hypotheses"])
    else:
        before = known.path.read_text(encoding="utf-8", errors="replace")
        text = _edited(before)
        if text.strip() == before.strip():
            # What nobody changed is no person's word, and stays as old as it was.
            emit(_plain(profile), "Nothing changed.", as_json=as_json)
            return
        try:
            found = parse_hypotheses(text, "what was edited")
        except DataError as error:
            raise _kept(known.path, text, profile.name, error) from error
    profile.correct(known, found)
    said = f"{profile.name}: {len(found)} hypotheses in {known.path}"
    emit(_plain(profile), said, as_json=as_json)


@profile_command.command("remove")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def _remove(user: str, yes: bool, as_json: bool) -> None:
    """Delete the folder of a USER. What else may hold their texts is said, and stays."""
    from hyperalign_dspy.artifacts.profiles import Profile

    profile = Profile.load(user)
    say(f"{profile.name}: {profile.folder}, all of it")
    if count := len(all_runs()):
        say(f"The {count} runs in {home()} may hold their texts, and stay: hyperalign runs show; runs remove RUN")
    say("So may frozen programs, and your own files, such as corpora and what `hyperalign run --out` wrote.")
    if not yes and not sys.stdin.isatty():
        raise UsageError("Nothing was removed: nobody is there to be asked.", fix="Give --yes.")
    if not yes and not click.confirm(f"Remove all this of {profile.name} for good?", err=True):
        raise UsageError("Nothing was removed.")
    profile.remove()
    answer = {"schema": "hyperalign/removed/1", "user": profile.name, "folder": str(profile.folder)}
    emit(answer, f"Removed {profile.name}.", as_json=as_json)


def _meant(profile: Profile, program: str | None, model: str | None) -> Any:
    """The one file of hypotheses that is meant; none, or several, are an error."""

    found = [
        one
        for one in profile.believed()
        if (program is None or one.program == program) and (model is None or slug(one.model) == slug(model))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"--program {one.program} --model {one.model}" for one in profile.believed())
        raise UsageError(f"{profile.name} has several sets of hypotheses.", fix=f"Say which: {listed}")
    raise UsageError(
        f"Nothing has been inferred about {profile.name} yet.",
        fix=f"The first run does: {_first_run(profile.name)}",
    )


def _edited(before: str) -> str:
    if not sys.stdin.isatty() and not (os.environ.get("EDITOR") or os.environ.get("VISUAL")):
        raise UsageError("There is no terminal to edit in.", fix="Give a file: --hypotheses FILE")
    return click.edit(before, extension=".jsonl", require_save=False) or ""


def _kept(path: Path, text: str, name: str, error: DataError) -> DataError:
    """The same error, and where what was typed is kept."""
    draft = path.with_suffix(".draft")
    write_text(draft, text, private=True)
    again = f"hyperalign profile edit {quote(name)} --hypotheses {draft}"
    return DataError(error.message, fix=f"{error.fix}\nWhat you typed is in {draft}; mend it and: {again}")


def _first_run(name: str) -> str:
    return f'hyperalign run --user {quote(name)} --request "..."'


def _summary(profile: Profile) -> dict[str, Any]:
    try:
        count: int | str = len(profile.samples)
    except DataError:
        # One damaged profile hides no other; to show it says what is wrong.
        count = "damaged"
    believed = [f"{one.program} on {one.model}{' (damaged)' * one.damaged}" for one in profile.believed()]
    return {"user": profile.name, "samples": count, "believed": believed, "folder": str(profile.folder)}


def _plain(profile: Profile) -> dict[str, Any]:
    return {
        "schema": "hyperalign/profile/1",
        "user": profile.name,
        "folder": str(profile.folder),
        "samples": [asdict(sample) for sample in profile.samples],
        "believed": [
            {"file": str(one.path), "made": dict(one.made), "hypotheses": [asdict(h) for h in one.hypotheses]}
            for one in profile.believed()
        ],
    }


def _words(profile: Profile) -> str:
    lines = [f"{profile.name}: {len(profile.samples)} samples in {profile.folder / 'samples.jsonl'}"]
    lines += [f"  {one_line(sample.text)[:90]}" for sample in profile.samples]
    for one in profile.believed():
        heads = {
            "inferred": f"Inferred by {one.program} on {one.model}, in {one.path}",
            "measured": f"Measured in the samples for {one.program} on {one.model}, in {one.path}",
        }
        for kind, head in heads.items():
            found = [f"  {h.facet:14} {one_line(h.text)}" for h in one.hypotheses if h.kind == kind]
            lines += ["", one_line(head), *found] if found else []
    return "\n".join(lines)
