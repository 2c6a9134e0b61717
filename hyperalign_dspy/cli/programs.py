"""`hyperalign list`, `show`, `verify`, `export`: what is on the shelf; and `init`, a program of one's own."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.cli.common import emit
from hyperalign_dspy.cli.options import json_option, model_option
from hyperalign_dspy.errors import DataError, FrozenMismatch, UnknownName, UsageError
from hyperalign_dspy.files import write_text
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.program.locate import PROGRAMS, RECIPES, frozen_folders, listing
from hyperalign_dspy.report.format import columns

if TYPE_CHECKING:
    from hyperalign_dspy.artifacts.frozen import Check

_TEMPLATE = Path(__file__).parent / "template"


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List programs, recipes and frozen programs, each with where it comes from."""
    plain: dict[str, Any] = {"schema": "hyperalign/list/1"}
    rows: list[list[str]] = []
    for kind, found in {"program": listing(PROGRAMS), "recipe": listing(RECIPES)}.items():
        plain[f"{kind}s"] = {name: {"origin": origin, "path": str(path)} for name, (origin, path) in found.items()}
        rows += [[kind, name, origin] for name, (origin, _) in found.items()]
    plain["frozen"] = [
        {"program": program, "model": model, "verdict": _verdict(folder), "path": str(folder)}
        for program in plain["programs"]
        for model, folder in frozen_folders(program).items()
    ]
    rows += [["frozen", f"{row['program']} for {row['model']}", row["verdict"]] for row in plain["frozen"]]
    emit(plain, columns(["kind", "name", "from"], rows), as_json=as_json)


@click.command("show")
@click.argument("program", default="authorship")
@model_option
@click.option("--messages", is_flag=True, help="The exact chat messages, with {{field}} where inputs go.")
@json_option
def show_command(program: str, model: str, messages: bool, as_json: bool) -> None:
    """Show the frozen PROGRAM of a model: its card, or the exact messages that it sends."""
    from hyperalign_dspy.artifacts.card import card
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen

    frozen = load_frozen(find_frozen(program, slug(model)))
    rendered = frozen.manifest["probe"]["messages"]
    if messages:
        emit({"schema": "hyperalign/messages/1", "messages": rendered}, _turns(rendered), as_json=as_json)
    else:
        emit(frozen.manifest, card(frozen.manifest), as_json=as_json)


def _verdict(folder: Path) -> str:
    """What a frozen program was found to be; one that is broken hides no other."""
    from hyperalign_dspy.artifacts.frozen import read_manifest

    try:
        return str(read_manifest(folder)["measured"]["verdict"])
    except FrozenMismatch:
        return "damaged"


def _turns(rendered: dict[str, Any]) -> str:
    lines = []
    for predictor, messages in rendered.items():
        lines.append(f"== {predictor}")
        lines += [f"-- {message['role']}\n{message['content']}" for message in messages]
    return "\n".join(lines)


@click.command("verify")
@click.argument("target", default="authorship", metavar="NAME|PATH")
@model_option
@click.option("--replay", default=0, type=click.IntRange(0), metavar="K", help="Send K of the run's calls again.")
@click.option(
    "--readme",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Renew the measured tables of this Markdown file from their manifests, where nothing is refused.",
)
@json_option
def verify_command(target: str, model: str, replay: int, readme: Path | None, as_json: bool) -> None:
    """Check hashes, signatures, messages and versions of a frozen program: a NAME on the shelf, or a folder.

    Tables that --readme renews stand between <!-- measured: PROGRAM MODEL --> and <!-- end -->.
    """
    from hyperalign_dspy.artifacts.frozen import verify

    folder = _frozen_folder(target, model)
    checks, frozen = verify(folder)
    if frozen and replay:
        from hyperalign_dspy.experiment.replay_calls import replay_calls

        checks.append(replay_calls(frozen.manifest, model, replay))
    refused = [check for check in checks if check.state == "refused"]
    if readme and not refused:
        checks.append(_renew(readme))
    result = {"schema": "hyperalign/verify/1", "path": str(folder), "verified": not refused}
    result["checks"] = [asdict(check) for check in checks]
    emit(result, _words(folder, checks), as_json=as_json)
    if refused:
        raise FrozenMismatch(f"{folder} is refused: see {refused[0].name}.", fix=refused[0].fix)


def _frozen_folder(target: str, model: str) -> Path:
    """Where a frozen program lies: on the shelf by a program's name, for a model, or in a folder.

    A folder is written with a separator, or as . or ..; a bare name is a program's.
    """
    from hyperalign_dspy.artifacts.frozen import find_frozen

    here = Path(target)
    holds = (here / "manifest.json").is_file()
    if target in (".", "..") or "/" in target or os.sep in target:
        if holds:
            return here
        raise UnknownName(
            f"{target} holds no frozen program: there is no manifest.json in it.",
            fix="Give the folder of a frozen program, or a program's name. See them: hyperalign list",
        )
    try:
        return find_frozen(target, slug(model))
    except UnknownName as error:
        if holds:
            error.fix = f"For the folder of that name: ./{target}. {error.fix}"
        raise


def _renew(readme: Path) -> Check:
    """Write a Markdown file's measured tables as their manifests have them, unless they are so."""
    from hyperalign_dspy.artifacts.frozen import Check, find_frozen, read_manifest
    from hyperalign_dspy.report.table import renewed

    try:
        text = readme.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{readme} cannot be read as text: {error}.") from error
    new = renewed(text, lambda program, name: read_manifest(find_frozen(program, slug(name))))
    if new == text:
        return Check(str(readme), "ok", "its tables are as their manifests have them")
    write_text(readme, new)
    return Check(str(readme), "ok", "its tables are written again")


def _words(folder: Path, checks: list[Check]) -> str:
    lines = [f"{check.name:16} {check.state:8} {check.about}" for check in checks]
    told = [check for check in checks if check.fix and check.state in ("differs", "skipped")]
    notes = [f"{check.name}: {check.fix}" for check in told]
    return "\n".join([str(folder), "", *lines, *([""] if notes else []), *notes])


@click.command("export")
@click.argument("target", default="authorship", metavar="NAME|PATH")
@model_option
@click.option("--to", "form", required=True, help="messages, script, dspy, promptfoo, hub, or MODULE:CLASS.")
@click.option("--out", type=click.Path(), help="The file, or the folder (it ends in /); else a file's text is printed.")
@click.option("--upload", metavar="USER/REPO", help="Send it to this repository of the Hugging Face Hub (--to hub).")
@json_option
def export_command(target: str, model: str, form: str, out: str | None, upload: str | None, as_json: bool) -> None:
    """Write a frozen program as chat messages, a script, or for DSPy, promptfoo or the Hugging Face Hub.

    Every format but DSPy's renders the very bytes that the program sends: it is checked before anything is written.
    """
    from hyperalign_dspy.artifacts.export.formats import exported, write_export
    from hyperalign_dspy.artifacts.frozen import load_frozen

    if upload and form != "hub":
        raise UsageError("Only a folder for the Hub is uploaded.", fix="Add --to hub.")
    frozen = load_frozen(_frozen_folder(target, model))
    files = exported(frozen, form)
    if out is None and len(files) == 1 and not as_json:
        click.echo(next(iter(files.values())), nl=False)
        return
    name = f"{frozen.manifest['program']}-{slug(frozen.manifest['model']['name'])}-{slug(form)}"
    place = out or (next(iter(files)) if len(files) == 1 else name)
    paths = write_export(files, Path(place), folder=place.endswith(("/", os.sep)))
    address = ""
    if upload:
        from hyperalign_dspy.artifacts.export.formats import upload as send

        address = send(paths[0].parent, upload, frozen.manifest)
    result = {"schema": "hyperalign/export/1", "to": form, "paths": [str(p) for p in paths], "uploaded": address}
    said = [str(p) for p in paths] + ([f"Uploaded: {address}"] if address else [])
    emit(result, "\n".join(said), as_json=as_json)


@click.command("init")
@click.argument("name")
@json_option
def init_command(name: str, as_json: bool) -> None:
    """Write a small working program NAME into this folder: module, metric, rows, program.toml and recipe.

    It compiles as it is; then put your own module, metric and rows in their place.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UsageError(f"{name!r} is no name for a program.", fix="Lower-case letters, digits, - and _.")
    python = name.replace("-", "_")
    files = {
        Path(f"{python}.py"): "module.txt",
        Path(f"{python}.jsonl"): "rows.jsonl",
        Path("programs") / name / "program.toml": "program.toml",
        Path("optimizers") / f"{name}-quick.toml": "recipe.toml",
    }
    if there := [path for path in files if path.exists()]:
        raise UsageError(f"{there[0]} is there already; nothing was written.", fix="Take another name.")
    words = {"name": name, "python": python, "title": python.title().replace("_", "")}
    for path, template in files.items():
        write_text(path, Template((_TEMPLATE / template).read_text(encoding="utf-8")).substitute(words))
    text = "\n".join([*(f"wrote {path}" for path in files), f"Next: hyperalign compile {name}"])
    emit({"schema": "hyperalign/init/1", "files": [str(path) for path in files]}, text, as_json=as_json)
