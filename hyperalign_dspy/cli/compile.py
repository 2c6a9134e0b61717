"""`hyperalign compile`: the main job."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from typing import Any

import click

from hyperalign_dspy.cli.common import (
    bounds,
    columns_of,
    command_of,
    concurrency_option,
    data_options,
    emit,
    json_option,
    json_values,
    limit_options,
    limits_of,
    model_option,
    prices_of,
    quiet,
    ready,
    shelf_option,
)
from hyperalign_dspy.cli.progress import display_option, following
from hyperalign_dspy.errors import BudgetReached


@click.command("compile")
@click.argument("program", default="authorship")
@model_option
@click.option("--recipe", default="quick", show_default=True, help="A recipe's name or file.")
@data_options
@click.option("--visits", type=click.IntRange(1), help="How many visits to search with, instead of the recipe's.")
@limit_options
@concurrency_option
@click.option("--seed", default=0, show_default=True, help="Seeds the split, the search and every text.")
@click.option(
    "--judge", default="", help="A model whose opinion on the confirmation is asked; it gates if it qualified."
)
@click.option(
    "--optimizer", default="", help="A DSPy optimiser in place of the search: miprov2, gepa, ..., or module:Class."
)
@click.option("--optimizer-arg", "optimizer_args", multiple=True, metavar="NAME=VALUE", help="Its arguments, as JSON.")
@click.option("--prompt-model", default="", help="The model that writes its proposals; it reads users' texts.")
@click.option(
    "--allow-private-demos", is_flag=True, help="Let the frozen program hold users' texts that are not public."
)
@click.option(
    "--constraint",
    "constraints",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Bound longest, refusals, tokens, cost, ...",
)
@click.option(
    "--objective", "objectives", multiple=True, metavar="NAME", help="Lessen tokens, cost, latency or harm as well."
)
@click.option("--force", is_flag=True, help="Search even where the pilot leaves no hope of showing a gain.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done and what it can show; call nothing.")
@click.option("--power", is_flag=True, help="Say only the smallest gain that these users and requests can show.")
@click.option("--pareto-index", "point", default=0, hidden=True, help="Confirm this point of its Pareto set instead.")
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@shelf_option
@display_option
@json_option
def compile_command(program: str, model: str, as_json: bool, **given: Any) -> None:
    """Search for a better PROGRAM for a model, prove it on users that the search never saw, and freeze it.

    The same command again goes on where an interrupted one stopped. Where a cap ends the search, the best so far is
    confirmed and frozen, and the exit code is 4.
    """
    quiet()
    if given["optimizer"]:
        # DSPy's optimisers draw bars of their own; this is read when the library that draws them is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
    from hyperalign_dspy.lm.connect import check_name
    from hyperalign_dspy.program.specs import load_program, load_recipe
    from hyperalign_dspy.report.plan import plan_words, power_words
    from hyperalign_dspy.runs import expect
    from hyperalign_dspy.tasks.protocol import Job

    limits, prices, columns = limits_of(given), prices_of(given["prices"]), columns_of(given)
    models = [name for name in (model, given["judge"], given["prompt_model"]) if name]
    for name in models:
        check_name(name)
        if limits.max_cost:
            prices.demand(name)
    spec, recipe = load_program(program), _asked(load_recipe(given["recipe"], program), given)
    free = given["only_plan"] or given["power"]
    with following(given["display"]) as watcher:
        if not free:
            for name in models:
                ready(name, watcher)
        options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
        source, judge, force = given["data"] or spec.data, given["judge"], given["force"]
        job = Job(spec, recipe, source, options, given["seed"], watcher.say, judge, force, limits, prices)
        job = replace(job, concurrency=given["concurrency"])
        compiler = _compiler(job, model, watcher, given)
        if given["expect"]:
            expect(given["expect"], compiler.identity)
        plan = asdict(compiler.plan())
        # Judges are fitted for what is said of them; nobody who asks for the power alone waits for that.
        facts = {} if given["power"] else dict(compiler.task_data.facts)
        watcher.say("" if given["power"] else plan_words(plan, facts, compiler.limits))
        result = {} if free else _compiled(compiler, given["point"], models).as_dict()
    if given["power"]:
        emit({"schema": "hyperalign/power/1", "plan": plan}, power_words(plan), as_json=as_json)
    elif given["only_plan"]:
        emit({"schema": "hyperalign/plan/1", "plan": plan, "facts": facts}, "Nothing was called.", as_json=as_json)
    else:
        emit(result, _finished(result, program, model), as_json=as_json)
        if result["capped"]:
            sys.exit(BudgetReached.exit_code)


def _asked(recipe: Any, given: dict[str, Any]) -> Any:
    """The recipe with what the command line says otherwise."""
    return replace(
        recipe,
        visits=given["visits"] or recipe.visits,
        constraints={**recipe.constraints, **bounds(given["constraints"])},
        objectives=given["objectives"] or recipe.objectives,
    )


def _compiled(compiler: Any, point: int, models: list[str]) -> Any:
    """What a run ends with, or one point of its Pareto set, under the caps that `runs confirm` hands on."""
    if not point:
        return compiler.run()
    from hyperalign_dspy.experiment.pareto import confirm_pareto_point
    from hyperalign_dspy.lm.limits import Limits

    caps = click.get_current_context().find_object(Limits) or Limits()
    for name in models if caps.max_cost else ():
        compiler.job.prices.demand(name)
    return confirm_pareto_point(compiler, point, caps)


def _compiler(job: Any, model: str, watcher: Any, given: dict[str, Any]) -> Any:
    """Our own search, or somebody else's optimiser."""
    from hyperalign_dspy.experiment.compile import Compiler

    context = click.get_current_context()
    command = command_of(context)
    arguments = json_values(given["optimizer_args"], "--optimizer-arg")
    if not given["optimizer"]:
        if arguments:
            raise click.UsageError("--optimizer-arg is for an --optimizer.")
        if not job.recipe.candidates and (given["prompt_model"] or given["allow_private_demos"]):
            raise click.UsageError(
                "--prompt-model and --allow-private-demos are for an --optimizer, or for [candidates]."
            )
        job = replace(job, prompt_model=given["prompt_model"], allow_private_demos=given["allow_private_demos"])
        return Compiler(job, model, watcher, command)
    from hyperalign_dspy.experiment.teleprompters import TeleprompterCompiler
    from hyperalign_dspy.optimize.teleprompters import Optimizer

    if given["objectives"]:
        raise click.UsageError("--objective is for our own search; an --optimizer has one of its own.")
    asked = Optimizer(given["optimizer"], arguments, given["prompt_model"], given["allow_private_demos"])
    return TeleprompterCompiler(job, model, watcher, asked, command)


def _finished(result: dict[str, Any], program: str, model: str) -> str:
    """The table, where the frozen program is, and what to type next."""
    from hyperalign_dspy.report.table import result_table

    name = "" if model == "local" else f" --model {model}"
    write = f'run {program}{name} --samples FOLDER --request "Write about the weather this week."'
    follow = f"hyperalign {write if program == 'authorship' else f'show {program}{name} --messages'}"
    return "\n\n".join(
        [
            result_table(result),
            f"Frozen ({result['frozen_is']}): {result['frozen']}\nNext: {follow}",
        ]
    )
