"""`hyperalign bench`: optimisers and searchers side by side."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, job_of, ready
from hyperalign_dspy.cli.options import Top, command_of, data_options, json_option, max_option, model_option, pass_top
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.files import write_json, write_text
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.report.bench import describe_comparison, draw_comparison, live_words, table_words
from hyperalign_dspy.types import Cost


@click.group("bench")
def bench_command() -> None:
    """Compare optimisers on a model, and searchers on recorded scores."""


@bench_command.command("tabulate")
@click.argument("program", default="authorship")
@model_option
@click.option("--recipe", default="table", show_default=True, help="Whose slots are the pool: every combination.")
@data_options
@click.option("--seed", default=0, show_default=True, help="Seeds the split and every text.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table's file (JSON).")
@json_option
@pass_top
def _tabulate(top: Top, /, program: str, model: str, as_json: bool, **given: Any) -> None:
    """Score every configuration of a pool on every instance once, for `bench replay`. Goes on where it was cut off."""
    from hyperalign_dspy.experiment.bench.tables import tabulate

    spec, recipe = load_program(program), load_recipe(given["recipe"], program)
    with following(top.display) as watcher:
        job = job_of(top, given, spec, recipe, watcher, seed=given["seed"])
        ready(watcher, model)
        table = tabulate(job, model, watcher, command_of(), top.run)
    write_json(given["out"], table.as_dict())
    result = table.summary()
    emit(result, table_words(result), as_json=as_json)


@bench_command.command("replay")
@click.argument("table", metavar="NAME|FILE")
@click.option("--seeds", default=200, show_default=True, type=click.IntRange(10), help="Replays of every searcher.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw gain against calls into this file.")
@click.option("--searchers", default="", help="Which, with commas between; all where none is named.")
@json_option
@pass_top
def _replay(top: Top, /, table: str, as_json: bool, **given: Any) -> None:
    """Replay searchers on a score table: true gain on sealed users against calls. Calls no model.

    The table is a file of `bench tabulate`, or the one that comes with the package: authorship-bundled.
    """
    from hyperalign_dspy.experiment.bench.compare import compare
    from hyperalign_dspy.experiment.bench.replay import SEARCHERS
    from hyperalign_dspy.experiment.bench.tables import read_table

    names = [name.strip() for name in given["searchers"].split(",") if name.strip()] or list(SEARCHERS)
    scores = read_table(table)
    seeds = given["seeds"]
    with following(top.display) as watcher:
        found = compare(scores, seeds, names, lambda name, done: watcher.step(name, done, seeds, Cost()))
    if given["svg"]:
        write_text(given["svg"], draw_comparison(found, scores))
    about = {"schema": "hyperalign/replay/1", "table": scores.made, "reliability": scores.reliability()}
    emit({**about, **asdict(found)}, describe_comparison(found, scores), as_json=as_json)


@bench_command.command("live")
@click.argument("program", default="authorship")
@model_option
@click.option("--recipe", default="quick", show_default=True, help="How much is measured, and what we search.")
@data_options
@click.option("--optimizers", default="", help="Which, with commas between; our search and all that are known if none.")
@click.option("--prompt-model", default="", help="The model that writes proposals; it reads users' texts.")
@click.option("--allow-private-demos", is_flag=True, help="Let programs hold users' texts that are not public.")
@max_option
@click.option("--seed", default=0, show_default=True, help="Seeds the split, the searches and every text.")
@json_option
@pass_top
def _live(top: Top, /, program: str, model: str, as_json: bool, **given: Any) -> None:
    """Optimisers side by side on a PROGRAM: one corpus, metric and cap each, confirmed on the same sealed users.

    Each is a run of its own; given again, finished ones cost nothing. Nothing goes on the shelf.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    from hyperalign_dspy.experiment.bench.live import OPTIMIZERS, compete

    names = [name.strip() for name in given["optimizers"].split(",") if name.strip()] or list(OPTIMIZERS)
    spec, recipe = load_program(program), load_recipe(given["recipe"], program)
    own = {name: given[name] for name in ("seed", "prompt_model", "allow_private_demos")}
    with following(top.display) as watcher:
        job = job_of(top, given, spec, recipe, watcher, force=True, **own)
        ready(watcher, model, given["prompt_model"])
        entries = compete(job, model, names, watcher, command_of(), top.run)
    found = [asdict(entry) for entry in entries]
    unit = "log-odds" if spec.task == "authorship" else spec.task
    emit({"schema": "hyperalign/live/1", "entries": found}, live_words(found, unit), as_json=as_json)
