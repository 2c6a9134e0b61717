"""`hyperalign matrix`: every frozen program on every model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import (
    columns_of,
    command_of,
    concurrency_option,
    data_options,
    emit,
    json_option,
    limit_options,
    limits_of,
    prices_of,
    quiet,
    ready,
    same_weights,
    say,
    shelf_option,
)
from hyperalign_dspy.cli.progress import display_option, following
from hyperalign_dspy.errors import BudgetReached


@click.command("matrix")
@click.argument("program", default="authorship")
@click.option("--models", required=True, metavar="A,B,...", help="Models: local, gguf:PATH, scripted or PROVIDER/NAME.")
@data_options
@click.option("--users", default=16, show_default=True, type=click.IntRange(3), help="How many sealed users at most.")
@click.option("--requests", default=2, show_default=True, type=click.IntRange(1), help="Requests a user at most.")
@limit_options
@concurrency_option
@click.option("--seed", type=int, help="Seeds the split; the programs' own where none is given.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the gaps to this file.")
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@shelf_option
@display_option
@json_option
def matrix_command(program: str, models: str, as_json: bool, **given: Any) -> None:
    """Measure the frozen PROGRAM of each of some models on each of them, all on the same sealed users.

    Cells that were measured are not paid again, also where more models are asked for later; unless the program of one
    of these writes longer texts: then all are measured at its length, in a matrix of its own.
    """
    quiet()
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.matrix import Matrix
    from hyperalign_dspy.files import write_text
    from hyperalign_dspy.lm.connect import check_name, slug
    from hyperalign_dspy.program.locate import frozen_folders
    from hyperalign_dspy.program.specs import RecipeSpec, load_program
    from hyperalign_dspy.report.matrix import matrix_svg, matrix_table
    from hyperalign_dspy.tasks.protocol import Job

    command, limits, prices = command_of(click.get_current_context()), limits_of(given), prices_of(given["prices"])
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    for name in names:
        check_name(name)
        if limits.max_cost:
            prices.demand(name)
    if len({slug(name) for name in names}) < len(names):
        raise click.UsageError("Two of --models go by the same name: a frozen program could be either's.")
    there = frozen_folders(program)
    programs = {name: load_frozen(there[slug(name)]) for name in names if slug(name) in there}
    if not programs:
        find_frozen(program, slug(names[0]) if names else "")
    manifests = [frozen.manifest for frozen in programs.values()]
    made = manifests[0]
    recipe = replace(
        RecipeSpec(**{**made["recipe"], "slots": {}, "start": (), "candidates": {}}),
        confirm_users=given["users"],
        confirm_requests=given["requests"],
        max_tokens=max(int(manifest["recipe"]["max_tokens"]) for manifest in manifests),
    )
    spec = load_program(program)
    options = {"columns": columns_of(given), "words": recipe.max_tokens * 3 // 4}
    seed = made["identity"]["seed"] if given["seed"] is None else given["seed"]
    with following(given["display"]) as watcher:
        for name in names:
            ready(name, watcher)
            if name in programs:
                same_weights(programs[name].manifest, name)
        source = given["data"] or spec.data
        job = Job(spec, recipe, source, options, seed, watcher.say, limits=limits, prices=prices)
        job = replace(job, concurrency=given["concurrency"])
        result = Matrix(job, programs, watcher, command).measure(names, given["expect"])
    if given["svg"]:
        write_text(given["svg"], matrix_svg(result))
        say(f"Drawn: {given['svg']}")
    emit(result, matrix_table(result), as_json=as_json)
    if result["capped"]:
        sys.exit(BudgetReached.exit_code)
