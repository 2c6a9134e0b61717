"""`hyperalign port`: a frozen program taken to another model."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
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
    shelf_option,
)
from hyperalign_dspy.cli.progress import display_option, following
from hyperalign_dspy.errors import BudgetReached


@click.command("port")
@click.argument("program", default="authorship")
@click.option("--from", "parent", required=True, help="The model that it was frozen for.")
@click.option("--to", "model", required=True, help="The new model: local, gguf:PATH, scripted, or PROVIDER/NAME.")
@click.option("--recipe", default="", help="A recipe's name or file. [default: the one that it was made by]")
@data_options
@click.option("--visits", type=click.IntRange(1), help="How many visits to search with, instead of the recipe's.")
@limit_options
@concurrency_option
@click.option("--seed", type=int, help="Seeds the split and every text; the program's own where none is given.")
@click.option("--retune", is_flag=True, help="Search even where the old program holds.")
@click.option("--force", is_flag=True, help="Go on even where the pilot leaves no hope of showing a gain.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done at most; call nothing.")
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@shelf_option
@display_option
@json_option
def port_command(program: str, parent: str, model: str, as_json: bool, **given: Any) -> None:
    """Take the frozen PROGRAM of one model to another, re-tune it there where it does not hold, prove and freeze it.

    The old winners are visited first. Where the old program keeps at least half of its gain in the pilot, no more is
    searched. The same command again goes on where an interrupted one stopped.
    """
    quiet()
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.port import PortCompiler
    from hyperalign_dspy.lm.connect import check_name, slug
    from hyperalign_dspy.program.specs import load_program, load_recipe
    from hyperalign_dspy.report.plan import plan_words
    from hyperalign_dspy.report.table import port_table
    from hyperalign_dspy.runs import expect
    from hyperalign_dspy.tasks.protocol import Job

    command, limits, prices, columns = (
        command_of(click.get_current_context()),
        limits_of(given),
        prices_of(given["prices"]),
        columns_of(given),
    )
    check_name(model)
    if slug(parent) == slug(model):
        raise click.UsageError("--from and --to are the same model.")
    if limits.max_cost:
        prices.demand(model)
    old = load_frozen(find_frozen(program, slug(parent)))
    spec = load_program(program)
    # What an optimiser made names that optimiser where others name their recipe.
    made_by = "quick" if "optimizer" in old.manifest["identity"] else old.manifest["recipe"]["name"]
    recipe = load_recipe(given["recipe"] or made_by, program)
    if given["visits"]:
        recipe = replace(recipe, visits=given["visits"])
    with following(given["display"]) as watcher:
        if not given["only_plan"]:
            ready(model, watcher)
        options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
        seed = old.manifest["identity"]["seed"] if given["seed"] is None else given["seed"]
        source, force = given["data"] or spec.data, given["force"]
        job = Job(spec, recipe, source, options, seed, watcher.say, "", force, limits, prices)
        job = replace(job, concurrency=given["concurrency"])
        compiler = PortCompiler(job, model, watcher, old, command, given["retune"])
        if given["expect"]:
            expect(given["expect"], compiler.identity)
        plan, facts = asdict(compiler.plan()), dict(compiler.task_data.facts)
        watcher.say(plan_words(plan, facts, compiler.limits))
        if not given["retune"]:
            watcher.say("Where the old program holds in the pilot, no visit follows.")
        result = {} if given["only_plan"] else compiler.result(compiler.run())
    if given["only_plan"]:
        emit({"schema": "hyperalign/plan/1", "plan": plan, "facts": facts}, "Nothing was called.", as_json=as_json)
        return
    name = f"{program} --model {model}"
    follow = f"Frozen ({result['frozen_is']}): {result['frozen']}\nNext, its controls: hyperalign eval {name}"
    emit(result, f"{port_table(result)}\n\n{follow}", as_json=as_json)
    if result["capped"]:
        sys.exit(BudgetReached.exit_code)
