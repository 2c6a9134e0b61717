"""`hyperalign eval`: a frozen program measured again, or tried with changes on users that a search may see."""

from __future__ import annotations

from dataclasses import asdict, replace
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
    json_values,
    model_option,
    prices_of,
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
@click.option(
    "--on",
    type=click.Choice(["sealed", "validation"]),
    default="sealed",
    show_default=True,
    help="Whose texts are judged: validation leaves the sealed users out altogether.",
)
@click.option("--set", "changes", multiple=True, metavar="SLOT=VALUE", help="Try a change, with --on validation.")
@click.option("--users", default=16, show_default=True, type=click.IntRange(3), help="How many of these users at most.")
@click.option("--requests", default=2, show_default=True, type=click.IntRange(1), help="Requests a user at most.")
@click.option("--seed", type=int, help="Seeds the split; the program's own where none is given.")
@click.option("--ours", type=click.Path(path_type=Path), help="A system's outputs: rows with user and text.")
@click.option("--theirs", type=click.Path(path_type=Path), help="Another's, compared with --ours; no program is run.")
@click.option("--key", default="id", show_default=True, help="The column by which rows of the two belong together.")
@click.option("--judge", default="", help="A model whose opinion is asked too.")
@click.option("--expect", default="", hidden=True, help="Refuse unless this is the run that it would be.")
@concurrency_option
@shelf_option
@display_option
@json_option
def eval_command(program: str, model: str, as_json: bool, **given: Any) -> None:
    """Measure the frozen PROGRAM of a model beside its controls, on the sealed users of a corpus.

    On the corpus and seed that it was compiled with, these are the users that its search never saw. Recipes are
    developed with --on validation: every judging of sealed users is counted, since each makes them tell less. With
    --ours and --theirs it is outputs in files that are compared, as texts of the users of --data; --model then is what
    made them.
    """
    quiet()
    if given["ours"] or given["theirs"]:
        _compare(model, as_json=as_json, **given)
        return
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.evaluate_frozen import Evaluation, evaluate_frozen
    from hyperalign_dspy.lm.connect import check_name, slug
    from hyperalign_dspy.program.specs import RecipeSpec, load_program
    from hyperalign_dspy.report.table import result_table
    from hyperalign_dspy.tasks.protocol import Job

    check_name(model)
    command = command_of(click.get_current_context())
    frozen = load_frozen(find_frozen(program, slug(model)))
    made = frozen.manifest["recipe"]
    recipe = replace(
        RecipeSpec(**{**made, "slots": {}, "start": (), "candidates": {}}),
        confirm_users=given["users"],
        confirm_requests=given["requests"],
    )
    columns = columns_of(given)
    spec = load_program(program)
    options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
    with following(given["display"]) as watcher:
        ready(model, watcher)
        if given["judge"]:
            ready(given["judge"], watcher)
        same_weights(frozen.manifest, model)
        seed = frozen.manifest["identity"]["seed"] if given["seed"] is None else given["seed"]
        source, judge = given["data"] or spec.data, given["judge"]
        job = Job(spec, recipe, source, options, seed, watcher.say, judge, prices=prices_of())
        job = replace(job, concurrency=given["concurrency"], on=given["on"])
        measured = Evaluation(frozen, json_values(given["changes"], "--set"))
        result = evaluate_frozen(job, model, measured, watcher, command, given["expect"])
    emit(result, result_table(result), as_json=as_json)


def _compare(model: str, *, as_json: bool, **given: Any) -> None:
    from hyperalign_dspy.data.load import load_corpus, read_rows
    from hyperalign_dspy.data.pairs import outputs_as_pairs, paired_outputs
    from hyperalign_dspy.report.judge import outputs_words
    from hyperalign_dspy.tasks.validation import compare_outputs

    if not (given["ours"] and given["theirs"]):
        raise click.UsageError("Give both --ours and --theirs.")
    pairs = paired_outputs(list(read_rows(given["ours"])), list(read_rows(given["theirs"])), given["key"])
    longest = max(len(str(row.get("text", "")).split()) for pair in pairs for row in pair)
    with following(given["display"]) as watcher:
        watcher.say(f"{len(pairs)} pairs; training the style verifiers")
        corpus = load_corpus(given["data"] or "bundled", columns_of(given), words=longest)
        found = compare_outputs(pairs, corpus, given["seed"] or 0)
        if given["judge"]:
            ready(given["judge"], watcher)
            texts = outputs_as_pairs(pairs, corpus)
            found["llm_judge"] = _opinion(given["judge"], model, texts, watcher, given["concurrency"])
    emit({"schema": "hyperalign/outputs/1", **found}, outputs_words(found), as_json=as_json)


def _opinion(judge: str, generator: str, pairs: Any, watcher: Any, concurrency: int | None) -> dict[str, Any]:
    from hyperalign_dspy.judges.llm_judge import LLMJudge, judge_folder
    from hyperalign_dspy.lm.ledger import Ledger

    with Ledger(judge_folder() / "calls.jsonl", prices=prices_of()) as ledger:

        def tick(done: int) -> None:
            watcher.step("judge", done, len(pairs), ledger.cost())

        return asdict(LLMJudge(judge, generator, ledger, tick, concurrency).compare(pairs))
