"""`hyperalign compile`, the main job, and `port`: a frozen program taken to another model."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.cli import options
from hyperalign_dspy.cli.common import check_models, emit, finish, job_of, ready
from hyperalign_dspy.cli.options import Top, command_of, limits_of, prices_of
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.program.specs import RecipeSpec, load_program, load_recipe
from hyperalign_dspy.runs import expect
from hyperalign_dspy.types import Watcher

if TYPE_CHECKING:
    from hyperalign_dspy.experiment.compile import Compiler
    from hyperalign_dspy.tasks.protocol import Job


@click.command("compile")
@click.argument("program", default="authorship")
@options.model_option
@click.option("--recipe", default="quick", show_default=True, help="A recipe's name or file.")
@options.data_options
@click.option("--visits", type=click.IntRange(1), help="How many visits to search with, instead of the recipe's.")
@options.max_option
@click.option("--seed", default=0, show_default=True, help="Seeds the split, the search and every text.")
@click.option("--judge", default="", help="A model that is asked about the confirmation; it gates if it qualified.")
@click.option("--optimizer", default="", help="A DSPy optimiser, not our search: miprov2, gepa, ..., or module:Class.")
@click.option("--optimizer-arg", "optimizer_args", multiple=True, metavar="NAME=VALUE", help="Its arguments, as JSON.")
@click.option("--prompt-model", default="", help="The model that writes its proposals; it reads users' texts.")
@click.option("--allow-private-demos", is_flag=True, help="Let what is frozen hold users' texts that are not public.")
@click.option(
    "--constraint", "constraints", multiple=True, metavar="NAME=NUMBER", help="Bound longest, refusals, tokens, ..."
)
@click.option(
    "--objective", "objectives", multiple=True, metavar="NAME", help="Lessen tokens, cost, latency or harm as well."
)
@click.option("--force", is_flag=True, help="Search even where the pilot leaves no hope of showing a gain.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done and what it can show; call nothing.")
@options.json_option
@options.pass_top
def compile_command(top: Top, /, program: str, model: str, as_json: bool, **given: Any) -> None:
    """Search for a better PROGRAM for a model, prove it on users that the search never saw, and freeze it.

    The same command again goes on where an interrupted one stopped. Where a cap ends the search, the best so far is
    confirmed and frozen, and the exit code is 4.
    """
    if given["optimizer"]:
        # DSPy's optimisers draw bars of their own; this is read when the library that draws them is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")

    models = [name for name in (model, given["judge"], given["prompt_model"]) if name]
    check_models(models, limits_of(given["caps"]), prices_of(top))
    spec, recipe = load_program(program), _asked(load_recipe(given["recipe"], program), given)
    own = {name: given[name] for name in ("seed", "judge", "force")}
    with following(top.display) as watcher:
        job = job_of(top, given, spec, recipe, watcher, **own)
        if not given["only_plan"]:
            ready(watcher, *models)
        compiler = _compiler(job, model, watcher, given)
        plan = _planned(top, compiler, watcher)
        if top.point:
            _confirm(compiler, models, top)
            return
        if given["only_plan"]:
            emit(plan, "Nothing was called.", as_json=as_json)
            return
        result = compiler.run().as_dict()
    finish(result, _finished(result, program, model), as_json=as_json)


def _planned(top: Top, compiler: Compiler, watcher: Watcher) -> dict[str, Any]:
    """Say what a run will do, and give it as plain data; one that goes on has to be what it was."""
    from hyperalign_dspy.report.plan import plan_words

    if top.run:
        expect(top.run, compiler.identity)
    plan, facts = asdict(compiler.plan()), dict(compiler.task_data.facts)
    watcher.say(plan_words(plan, facts, compiler.limits))
    return {"schema": "hyperalign/plan/1", "plan": plan, "facts": facts}


def _asked(recipe: RecipeSpec, given: dict[str, Any]) -> RecipeSpec:
    """The recipe with what the command line says otherwise."""
    return replace(
        recipe,
        visits=given["visits"] or recipe.visits,
        constraints={**recipe.constraints, **options.bounds(given["constraints"])},
        objectives=given["objectives"] or recipe.objectives,
    )


def _confirm(compiler: Compiler, models: list[str], top: Top) -> None:
    """Confirm a point of a run's Pareto set into its folder, under caps of its own; see `runs freeze`."""
    from hyperalign_dspy.experiment.pareto import confirm_pareto_point
    from hyperalign_dspy.lm.limits import Limits

    caps = top.caps or Limits()
    check_models(models, caps, compiler.job.prices)
    confirm_pareto_point(compiler, top.point, caps)


def _compiler(job: Job, model: str, watcher: Watcher, given: dict[str, Any]) -> Compiler:
    from hyperalign_dspy.experiment.compile import Compiler

    command = command_of()
    arguments = options.json_values(given["optimizer_args"], "--optimizer-arg")
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
    from hyperalign_dspy.report.table import result_table

    name = program if model == "local" else f"{program} --model {model}"
    follow = f"show {name} --messages"
    if program == "authorship":
        follow = f'run {name} --samples FOLDER --request "Write about the weather this week."'
    frozen = f"Frozen ({result['frozen_is']}): {result['frozen']}"
    return f"{result_table(result)}\n\n{frozen}\nNext: hyperalign {follow}"


@click.command("port")
@click.argument("program", default="authorship")
@click.option("--from", "parent", required=True, help="The model that it was frozen for.")
@click.option("--to", "model", required=True, help="The new model: local, gguf:PATH, scripted, or PROVIDER/NAME.")
@click.option("--recipe", default="", help="A recipe's name or file. [default: the one that it was made by]")
@options.data_options
@click.option("--visits", type=click.IntRange(1), help="How many visits to search with, instead of the recipe's.")
@options.max_option
@click.option("--seed", type=int, help="Seeds the split and every text; the program's own where none is given.")
@click.option("--retune", is_flag=True, help="Search even where the old program holds.")
@click.option("--force", is_flag=True, help="Go on even where the pilot leaves no hope of showing a gain.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what would be done at most; call nothing.")
@options.json_option
@options.pass_top
def port_command(top: Top, /, program: str, parent: str, model: str, as_json: bool, **given: Any) -> None:
    """Take the frozen PROGRAM of one model to another, re-tune it there where it does not hold, prove and freeze it.

    The old winners are visited first. Where the old program keeps at least half of its gain in the pilot, no more is
    searched. The same command again goes on where an interrupted one stopped.
    """
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.port import PortCompiler
    from hyperalign_dspy.report.table import port_table

    check_models([model], limits_of(given["caps"]), prices_of(top))
    if slug(parent) == slug(model):
        raise click.UsageError("--from and --to are the same model.")
    old = load_frozen(find_frozen(program, slug(parent)))
    spec = load_program(program)
    # What an optimiser made names that optimiser where others name their recipe.
    made_by = "quick" if "optimizer" in old.manifest["identity"] else old.manifest["recipe"]["name"]
    recipe = load_recipe(given["recipe"] or made_by, program)
    if given["visits"]:
        recipe = replace(recipe, visits=given["visits"])
    seed = old.manifest["identity"]["seed"] if given["seed"] is None else given["seed"]
    with following(top.display) as watcher:
        job = job_of(top, given, spec, recipe, watcher, seed=seed, force=given["force"])
        if not given["only_plan"]:
            ready(watcher, model)
        compiler = PortCompiler(job, model, watcher, old, command_of(), given["retune"])
        plan = _planned(top, compiler, watcher)
        if not given["retune"]:
            watcher.say("Where the old program holds in the pilot, no visit follows.")
        if given["only_plan"]:
            emit(plan, "Nothing was called.", as_json=as_json)
            return
        result = compiler.result(compiler.run())
    name = f"{program} --model {model}"
    frozen = f"Frozen ({result['frozen_is']}): {result['frozen']}"
    text = f"{port_table(result)}\n\n{frozen}\nNext, its controls: hyperalign eval {name}"
    finish(result, text, as_json=as_json)
