"""`hyperalign list`, `show` and `freeze`: what is on the shelf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, json_option, model_option, quiet, shelf_option


@click.command("list")
@shelf_option
@json_option
def list_command(as_json: bool) -> None:
    """List programs, recipes and frozen programs, each with where it comes from."""
    from hyperalign_dspy.program.locate import PROGRAMS, RECIPES, frozen_folders, listing
    from hyperalign_dspy.report.format import columns

    programs, recipes = listing(PROGRAMS), listing(RECIPES)
    frozen = [
        {
            "program": name,
            "model": slug,
            "verdict": _verdict(f),
            "path": str(f),
        }
        for name in programs
        for slug, f in frozen_folders(name).items()
    ]
    rows = [["program", name, origin] for name, (origin, _) in programs.items()]
    rows += [["recipe", name, origin] for name, (origin, _) in recipes.items()]
    rows += [["frozen", f"{row['program']} for {row['model']}", row["verdict"]] for row in frozen]
    plain = {
        "schema": "hyperalign/list/1",
        "programs": {name: {"origin": origin, "path": str(path)} for name, (origin, path) in programs.items()},
        "recipes": {name: {"origin": origin, "path": str(path)} for name, (origin, path) in recipes.items()},
        "frozen": frozen,
    }
    emit(plain, columns(["kind", "name", "from"], rows), as_json=as_json)


@click.command("show")
@click.argument("program", default="authorship")
@model_option
@click.option("--messages", is_flag=True, help="The exact chat messages, with {{field}} where inputs go.")
@shelf_option
@json_option
def show_command(program: str, model: str, messages: bool, as_json: bool) -> None:
    """Show the frozen PROGRAM of a model: its card, or the exact messages that it sends."""
    quiet()
    from hyperalign_dspy.artifacts.card import card
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.lm.connect import slug

    frozen = load_frozen(find_frozen(program, slug(model)))
    rendered = frozen.manifest["probe"]["messages"]
    if messages:
        emit({"schema": "hyperalign/messages/1", "messages": rendered}, _turns(rendered), as_json=as_json)
    else:
        emit(frozen.manifest, card(frozen.manifest), as_json=as_json)


@click.command("freeze")
@click.argument("run")
@click.option(
    "--pareto-index", type=click.IntRange(1), help="A confirmed point of its Pareto set instead, by its number."
)
@shelf_option
@json_option
def freeze_command(run: str, point: int | None, as_json: bool) -> None:
    """Put what a finished RUN ended with on the shelf, in place of what is there for that program and model."""
    quiet()
    import shutil

    from hyperalign_dspy.artifacts.frozen import load_frozen
    from hyperalign_dspy.errors import UsageError
    from hyperalign_dspy.files import replace_folder
    from hyperalign_dspy.lm.connect import slug
    from hyperalign_dspy.program.locate import writable_frozen
    from hyperalign_dspy.runs import find_run

    found = find_run(run)
    if point:
        found = _confirmed(found, point)
    if found.result is None:
        raise UsageError(f"The run {found.run_id} is not done.", fix=f"hyperalign runs resume {found.run_id}")
    if "confirmation" not in found.result:
        raise UsageError(f"{found.run_id} confirmed no program.", fix=f"hyperalign runs show {found.run_id}")
    manifest = load_frozen(found.path("frozen")).manifest
    place = writable_frozen(manifest["program"], slug(manifest["model"]["name"]))
    with replace_folder(place) as fresh:
        shutil.copytree(found.path("frozen"), fresh, dirs_exist_ok=True)
    emit(
        {"schema": "hyperalign/freeze/1", "path": str(place)},
        f"Frozen ({manifest['frozen']}): {place}",
        as_json=as_json,
    )


def _confirmed(run: Any, point: int) -> Any:
    """A point of a run that has been confirmed."""
    from hyperalign_dspy.errors import UsageError
    from hyperalign_dspy.experiment.pareto import pareto_run

    names = {p["point"]: p["name"] for p in (run.result or {}).get("pareto", [])}
    own = pareto_run(run, names[point]) if point in names else None
    if own is None or own.result is None:
        raise UsageError(
            f"Point {point} of {run.run_id} is not confirmed.",
            fix=f"hyperalign runs confirm {run.run_id} --pareto-index {point}",
        )
    return own


def _verdict(folder: Path) -> str:
    """What a frozen program was found to be; one that is broken hides no other."""
    from hyperalign_dspy.artifacts.frozen import read_manifest
    from hyperalign_dspy.errors import FrozenMismatch

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
