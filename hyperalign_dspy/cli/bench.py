"""`hyperalign bench`: statistics and searchers, tried where the truth is known."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import (
    columns_of,
    command_of,
    concurrency_option,
    data_options,
    emit,
    frozen_folder,
    json_option,
    limit_options,
    limits_of,
    model_option,
    prices_of,
    quiet,
    ready,
    say,
    shelf_option,
)
from hyperalign_dspy.cli.progress import display_option, following


@click.group("bench")
def bench_command() -> None:
    """Compare optimisers on a model, searchers on tables, and try the statistics where the truth is known."""


@bench_command.command("coverage")
@click.option("--replications", default=4000, show_default=True, type=click.IntRange(100))
@click.option("--requests", default=3, show_default=True, type=click.IntRange(1), help="Requests a user.")
@click.option("--seed", default=0, show_default=True)
@json_option
def coverage_command(replications: int, requests: int, seed: int, as_json: bool) -> None:
    """How often a 95% interval over 8, 24 and 100 users holds the truth."""
    quiet()
    from hyperalign_dspy.metrics.simulation import coverage
    from hyperalign_dspy.report.simulation import coverage_table

    found = []
    for users in (8, 24, 100):
        for win in (0.5, 0.65):
            say(f"{users} users, true win rate {win}")
            found.append(
                {"users": users, "true_win": win, **asdict(coverage(users, requests, replications, seed, win))}
            )
    emit({"schema": "hyperalign/coverage/1", "rows": found}, coverage_table(found, requests), as_json=as_json)


@bench_command.command("gains")
@click.option("--runs", default=4000, show_default=True, type=click.IntRange(100))
@click.option("--seed", default=0, show_default=True)
@json_option
def gains_command(runs: int, seed: int, as_json: bool) -> None:
    """How often a search among 50 equal configurations declares a gain: where there is none, and where there is one."""
    quiet()
    from hyperalign_dspy.metrics.simulation import planted, search_trial
    from hyperalign_dspy.report.simulation import gains_table

    found: list[dict[str, Any]] = []
    for win in (0.5, planted()):
        say(f"{runs} searches, true win rate {win:.3f}")
        found.append(asdict(search_trial(win, runs, seed)))
    emit({"schema": "hyperalign/gains/1", "rows": found}, gains_table(found), as_json=as_json)


@bench_command.command("tabulate")
@click.argument("program", default="authorship")
@model_option
@click.option("--recipe", default="table", show_default=True, help="Whose slots are the pool: every combination.")
@data_options
@click.option("--seed", default=0, show_default=True, help="Seeds the split and every text.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table's file (JSON).")
@concurrency_option
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@shelf_option
@display_option
@json_option
def tabulate_command(program: str, model: str, as_json: bool, **given: Any) -> None:
    """Score every configuration of a pool on every instance once, for `bench replay`. Goes on where it was cut off."""
    quiet()
    from hyperalign_dspy.report.bench import table_words
    from hyperalign_dspy.search.bench.tables import tabulate, tabulated
    from hyperalign_dspy.shelf.files import write_json
    from hyperalign_dspy.shelf.specs import load_program, load_recipe
    from hyperalign_dspy.tasks.protocol import Job

    columns = columns_of(given)
    spec, recipe = load_program(program), load_recipe(given["recipe"], program)
    options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
    with following(given["display"]) as watcher:
        ready(model, watcher)
        source, most = given["data"] or spec.data, given["concurrency"]
        job = Job(spec, recipe, source, options, given["seed"], watcher.say, concurrency=most)
        table = tabulate(job, model, watcher, command_of(click.get_current_context()), given["expect"])
    write_json(given["out"], table.as_dict())
    result = tabulated(table)
    emit(result, table_words(result), as_json=as_json)


@bench_command.command("replay")
@click.argument("table", metavar="NAME|FILE")
@click.option("--seeds", default=200, show_default=True, type=click.IntRange(10), help="Replays of every searcher.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw gain against calls into this file.")
@click.option("--searchers", default="", help="Which, with commas between; all where none is named.")
@display_option
@json_option
def replay_command(table: str, as_json: bool, **given: Any) -> None:
    """Replay searchers on a score table: true gain on sealed users against calls. Calls no model.

    The table is a file of `bench tabulate`, or the one that comes with the package: authorship-bundled.
    """
    quiet()
    from hyperalign_dspy.report.bench import comparison_curves, comparison_words
    from hyperalign_dspy.search.bench.compare import compare
    from hyperalign_dspy.search.bench.replay import SEARCHERS
    from hyperalign_dspy.search.bench.tables import read_table, tabulated
    from hyperalign_dspy.shelf.files import write_text
    from hyperalign_dspy.types import Cost

    names = [name.strip() for name in given["searchers"].split(",") if name.strip()] or list(SEARCHERS)
    scores = read_table(table)
    with following(given["display"]) as watcher:
        found = asdict(
            compare(scores, given["seeds"], names, lambda n, done: watcher.step(n, done, given["seeds"], Cost()))
        )
    about = tabulated(scores)
    if given["svg"]:
        write_text(given["svg"], comparison_curves(found, about))
    result = {"schema": "hyperalign/replay/1", "table": about["made"], "reliability": about["reliability"], **found}
    emit(result, comparison_words(found, about), as_json=as_json)


@bench_command.command("live")
@click.argument("program", default="authorship")
@model_option
@click.option(
    "--recipe", default="quick", show_default=True, help="How much is measured, and what our search searches."
)
@data_options
@click.option("--optimizers", default="", help="Which, with commas between; our search and all that are known if none.")
@click.option("--prompt-model", default="", help="The model that writes proposals; it reads users' texts.")
@click.option("--embed-private", is_flag=True, help="Let programs hold users' texts that are not public.")
@limit_options
@concurrency_option
@click.option("--seed", default=0, show_default=True, help="Seeds the split, the searches and every text.")
@click.option("--expect", default="", hidden=True, help="Refuse unless one of the runs is this one.")
@shelf_option
@display_option
@json_option
def live_command(program: str, model: str, as_json: bool, **given: Any) -> None:
    """Optimisers side by side on a PROGRAM: one corpus, metric and cap each, confirmed on the same sealed users.

    Each is a run of its own; given again, finished ones cost nothing. Nothing goes on the shelf.
    """
    quiet()
    os.environ.setdefault("TQDM_DISABLE", "1")
    from hyperalign_dspy.report.bench import live_words
    from hyperalign_dspy.search.bench.live import OPTIMIZERS, compete
    from hyperalign_dspy.shelf.specs import load_program, load_recipe
    from hyperalign_dspy.tasks.protocol import Job

    limits, prices, columns = limits_of(given), prices_of(given["prices"]), columns_of(given)
    names = [name.strip() for name in given["optimizers"].split(",") if name.strip()] or list(OPTIMIZERS)
    spec, recipe = load_program(program), load_recipe(given["recipe"], program)
    options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
    with following(given["display"]) as watcher:
        for name in filter(None, (model, given["prompt_model"])):
            ready(name, watcher)
        job = Job(
            spec,
            recipe,
            given["data"] or spec.data,
            options,
            given["seed"],
            watcher.say,
            anyway=True,
            limits=limits,
            prices=prices,
            prompt_model=given["prompt_model"],
            embed_private=given["embed_private"],
            concurrency=given["concurrency"],
        )
        entries = compete(job, model, names, watcher, command_of(click.get_current_context()), given["expect"])
    found = [asdict(entry) for entry in entries]
    unit = "log-odds" if spec.task == "authorship" else spec.task
    emit({"schema": "hyperalign/live/1", "entries": found}, live_words(found, unit), as_json=as_json)


@bench_command.command("overhead")
@click.option(
    "--instances", default=100_000, show_default=True, type=click.IntRange(1000), help="Recorded ones, to go on from."
)
@json_option
def overhead_command(instances: int, as_json: bool) -> None:
    """What the machinery itself costs: places kept busy, time an instance, going on with what is recorded, memory.

    Takes about four minutes.
    """
    quiet()
    from hyperalign_dspy.report.bench import overhead_words
    from hyperalign_dspy.search.bench.overhead import dispatch, overhead, resumed

    say("a confirmation of 10 configurations x 1,000 instances, 64 in flight")
    busy = dispatch()
    say("time an instance")
    each = overhead()
    say(f"{instances:,} instances, answered and then found on record")
    found = {"dispatch": asdict(busy), "overhead": {**asdict(each), "own": each.own}}
    found |= {"resumed": asdict(resumed(instances))}
    emit({"schema": "hyperalign/overhead/3", **found}, overhead_words(found), as_json=as_json)


@bench_command.command("serving")
@click.argument("target", default="authorship", metavar="NAME|PATH")
@model_option
@click.option("--runs", default=30, show_default=True, type=click.IntRange(3), help="Runs of each, in turn.")
@click.option("--latency", default=50, show_default=True, type=click.IntRange(0), help="Milliseconds the model takes.")
@shelf_option
@json_option
def serving_command(target: str, model: str, runs: int, latency: int, as_json: bool) -> None:
    """What a frozen program costs at run time beside a bare openai client, against a server on this machine."""
    quiet()
    from hyperalign_dspy.export.overhead import loading, serving
    from hyperalign_dspy.report.bench import serving_words
    from hyperalign_dspy.shelf.frozen import load_frozen

    frozen = load_frozen(frozen_folder(target, model))
    say("fresh processes")
    loaded = asdict(loading(frozen))
    rows = []
    for milliseconds in dict.fromkeys((0, latency)):
        say(f"{runs} runs, {milliseconds} ms a call")
        rows.append(asdict(serving(frozen, runs, milliseconds / 1000)))
    found = {"loading": loaded, "serving": rows}
    emit({"schema": "hyperalign/serving/1", **found}, serving_words(found), as_json=as_json)
