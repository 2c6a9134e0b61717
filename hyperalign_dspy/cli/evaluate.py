"""`hyperalign eval` and `matrix`: frozen programs measured again, or tried with changes on users not sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli import options
from hyperalign_dspy.cli.common import check_models, emit, finish, job_of, ready, same_weights, say
from hyperalign_dspy.cli.options import Top, command_of, corpus_of, limits_of, prices_of
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.data.load import load_corpus, read_rows
from hyperalign_dspy.files import write_text
from hyperalign_dspy.lm.models import check_name, slug
from hyperalign_dspy.program.locate import frozen_folders
from hyperalign_dspy.program.specs import RecipeSpec, load_program
from hyperalign_dspy.report.judge import outputs_words
from hyperalign_dspy.report.matrix import matrix_svg, matrix_table


@click.command("eval")
@click.argument("program", default="authorship")
@options.model_option
@options.data_options
@click.option(
    "--on", type=click.Choice(["sealed", "validation"]), default="sealed", show_default=True, help="Whose texts."
)
@click.option("--set", "changes", multiple=True, metavar="SLOT=VALUE", help="Try a change, with --on validation.")
@click.option("--users", default=16, show_default=True, type=click.IntRange(3), help="How many of these users at most.")
@click.option("--requests", default=2, show_default=True, type=click.IntRange(1), help="Requests a user at most.")
@click.option("--seed", type=int, help="Seeds the split; the program's own where none is given.")
@click.option("--ours", type=click.Path(path_type=Path), help="A system's outputs: rows with user and text.")
@click.option("--theirs", type=click.Path(path_type=Path), help="Another's, compared with --ours; no program is run.")
@click.option("--key", default="id", show_default=True, help="The column by which rows of the two belong together.")
@click.option("--judge", default="", help="A model whose opinion is asked too.")
@options.json_option
@options.pass_top
def eval_command(top: Top, /, program: str, model: str, as_json: bool, **given: Any) -> None:
    """Measure the frozen PROGRAM of a model beside its controls, on the sealed users of a corpus.

    On the corpus and seed that it was compiled with, these are the users that its search never saw. Recipes are
    developed with --on validation: every judging of sealed users is counted, since each makes them tell less. With
    --ours and --theirs it is outputs in files that are compared, as texts of the users of --data; --model then is what
    made them.
    """
    if given["ours"] or given["theirs"]:
        _compare(top, model, given, as_json=as_json)
        return
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.evaluate_frozen import Evaluation, evaluate_frozen
    from hyperalign_dspy.report.table import result_table

    check_name(model)
    frozen = load_frozen(find_frozen(program, slug(model)))
    recipe = _recipe(frozen.manifest, given)
    seed = frozen.manifest["identity"]["seed"] if given["seed"] is None else given["seed"]
    own = {"seed": seed, "judge": given["judge"], "on": given["on"]}
    with following(top.display) as watcher:
        job = job_of(top, given, load_program(program), recipe, watcher, **own)
        ready(watcher, model, given["judge"])
        same_weights(frozen.manifest, model)
        measured = Evaluation(frozen, options.json_values(given["changes"], "--set"))
        result = evaluate_frozen(job, model, measured, watcher, command_of(), top.run)
    emit(result, result_table(result), as_json=as_json)


def _recipe(manifest: Mapping[str, Any], given: Mapping[str, Any]) -> RecipeSpec:
    """The recipe that a program was made by, with nothing to search and a confirmation of this size."""
    return replace(
        RecipeSpec(**{**manifest["recipe"], "slots": {}, "start": (), "candidates": {}}),
        confirm_users=given["users"],
        confirm_requests=given["requests"],
    )


def _compare(top: Top, model: str, given: dict[str, Any], *, as_json: bool) -> None:
    from hyperalign_dspy.data.pairs import outputs_as_pairs, paired_outputs
    from hyperalign_dspy.judges.llm_judge import LLMJudge, judge_folder
    from hyperalign_dspy.lm.ledger import Ledger
    from hyperalign_dspy.tasks.validation import compare_outputs

    if not (given["ours"] and given["theirs"]):
        raise click.UsageError("Give both --ours and --theirs.")
    pairs = paired_outputs(list(read_rows(given["ours"])), list(read_rows(given["theirs"])), given["key"])
    longest = max(len(str(row.get("text", "")).split()) for pair in pairs for row in pair)
    source, columns = corpus_of(given)
    with following(top.display) as watcher:
        watcher.say(f"{len(pairs)} pairs; training the style verifiers")
        corpus = load_corpus(source, columns, words=longest)
        found = compare_outputs(pairs, corpus, given["seed"] or 0)
        if given["judge"]:
            ready(watcher, given["judge"])
            texts = outputs_as_pairs(pairs, corpus)
            with Ledger(judge_folder() / "calls.jsonl", prices=prices_of(top)) as ledger:

                def tick(done: int) -> None:
                    watcher.step("judge", done, len(texts), ledger.cost())

                judge = LLMJudge(given["judge"], model, ledger, tick, top.concurrency)
                found["llm_judge"] = asdict(judge.compare(texts))
    emit({"schema": "hyperalign/outputs/1", **found}, outputs_words(found), as_json=as_json)


@click.command("matrix")
@click.argument("program", default="authorship")
@click.option("--models", required=True, metavar="A,B,...", help="Models: local, gguf:PATH, scripted or PROVIDER/NAME.")
@options.data_options
@click.option("--users", default=16, show_default=True, type=click.IntRange(3), help="How many sealed users at most.")
@click.option("--requests", default=2, show_default=True, type=click.IntRange(1), help="Requests a user at most.")
@options.max_option
@click.option("--seed", type=int, help="Seeds the split; the programs' own where none is given.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the gaps to this file.")
@options.json_option
@options.pass_top
def matrix_command(top: Top, /, program: str, models: str, as_json: bool, **given: Any) -> None:
    """Measure the frozen PROGRAM of each of some models on each of them, all on the same sealed users.

    Cells that were measured are not paid again, also where more models are asked for later; unless the program of one
    of these writes longer texts: then all are measured at its length, in a matrix of its own.
    """
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.experiment.matrix import Matrix

    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    check_models(names, limits_of(given["caps"]), prices_of(top))
    if len({slug(name) for name in names}) < len(names):
        raise click.UsageError("Two of --models go by the same name: a frozen program could be either's.")
    there = frozen_folders(program)
    programs = {name: load_frozen(there[slug(name)]) for name in names if slug(name) in there}
    if not programs:
        find_frozen(program, slug(names[0]) if names else "")
    manifests = [frozen.manifest for frozen in programs.values()]
    made = manifests[0]
    longest = max(int(manifest["recipe"]["max_tokens"]) for manifest in manifests)
    recipe = replace(_recipe(made, given), max_tokens=longest)
    seed = made["identity"]["seed"] if given["seed"] is None else given["seed"]
    with following(top.display) as watcher:
        job = job_of(top, given, load_program(program), recipe, watcher, seed=seed)
        ready(watcher, *names)
        for name, frozen in programs.items():
            same_weights(frozen.manifest, name)
        result = Matrix(job, programs, watcher, command_of()).measure(names, top.run)
    if given["svg"]:
        write_text(given["svg"], matrix_svg(result))
        say(f"Drawn: {given['svg']}")
    finish(result, matrix_table(result), as_json=as_json)
