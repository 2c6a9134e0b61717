"""`hyperalign eval`: a frozen program measured again, on any corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from hyperalign_dspy.cli.common import (
    columns_of,
    command_of,
    data_options,
    emit,
    json_option,
    model_option,
    quiet,
    ready,
    same_weights,
    shelf_option,
)
from hyperalign_dspy.cli.progress import display_option, following


@click.command("eval")
@click.argument("program", default="authorship")
@model_option
@data_options
@click.option("--users", default=16, show_default=True, type=click.IntRange(3), help="How many sealed users at most.")
@click.option("--requests", default=2, show_default=True, type=click.IntRange(1), help="Requests a user at most.")
@click.option("--seed", type=int, help="Seeds the split; the program's own where none is given.")
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@shelf_option
@display_option
@json_option
def eval_command(program: str, model: str, as_json: bool, **given: Any) -> None:
    """Measure the frozen PROGRAM of a model beside its controls, on the sealed users of a corpus.

    On the corpus and seed that it was compiled with, these are the users that its search never saw.
    """
    quiet()
    from hyperalign_dspy.lm.connect import check_name, slug
    from hyperalign_dspy.report.table import result_table
    from hyperalign_dspy.search.measure import measure
    from hyperalign_dspy.shelf.frozen import find_frozen, load_frozen
    from hyperalign_dspy.shelf.specs import RecipeSpec, load_program
    from hyperalign_dspy.tasks.protocol import Job

    check_name(model)
    command = command_of(click.get_current_context())
    frozen = load_frozen(find_frozen(program, slug(model)))
    made = frozen.manifest["recipe"]
    recipe = replace(
        RecipeSpec(**{**made, "slots": {}, "start": ()}),
        confirm_users=given["users"],
        confirm_requests=given["requests"],
    )
    columns = columns_of(given)
    spec = load_program(program)
    options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
    with following(given["display"]) as watcher:
        ready(model, watcher)
        same_weights(frozen.manifest, model)
        seed = frozen.manifest["identity"]["seed"] if given["seed"] is None else given["seed"]
        job = Job(spec, recipe, given["data"] or spec.data, options, seed, watcher.say)
        result = measure(job, model, frozen, watcher, command, given["expect"])
    emit(result, result_table(result), as_json=as_json)
