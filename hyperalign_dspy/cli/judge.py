"""`hyperalign judge`: what judges score where people know the answer."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, job_of, ready
from hyperalign_dspy.cli.options import Top, corpus_of, data_options, json_option, pass_top, prices_of
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.data.load import load_corpus
from hyperalign_dspy.data.pairs import load_pairs
from hyperalign_dspy.files import dump
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.report.judge import panel_table, power_table, qualification_words
from hyperalign_dspy.types import Watcher


@click.group("judge")
def judge_command() -> None:
    """Try judges on human text before they judge anything else."""


@judge_command.command("validate")
@data_options
@click.option("--words", default=60, show_default=True, type=click.IntRange(10), help="Held-out texts are cut to this.")
@click.option("--power", is_flag=True, help="Judge texts that --model writes, too: its calls are recorded.")
@click.option("--model", default="local", show_default=True, help="What writes for --power.")
@click.option("--seed", default=0, show_default=True, help="Seeds what is held out.")
@json_option
@pass_top
def _validate(top: Top, /, as_json: bool, **given: Any) -> None:
    """Fit every style verifier on most of each user's texts, and try it on the rest. Calls no model without --power.

    With --power a model writes for every user that a search may see: under the user's samples, under none, and under
    another user's. The verifier is best that tells the first two furthest apart (t) and sees nothing in the third.
    """
    from hyperalign_dspy.tasks.validation import validate_panel

    source, columns = corpus_of(given)
    with following(top.display) as watcher:
        corpus = load_corpus(source, columns, words=given["words"])
        found = validate_panel(corpus, given["seed"], given["words"], watcher.say)
        panel = {name: asdict(verifier) for name, verifier in found.items()}
        power = _power(top, given, watcher) if given["power"] else None
    head = f"{corpus.name}: held-out texts of {given['words']} words; intervals are 95%, over users"
    result = {"schema": "hyperalign/judge-validate/1", "corpus": corpus.name, "panel": panel, "power": power}
    tables = [head, panel_table(panel), *([power_table(power)] if power else [])]
    emit(result, "\n\n".join(tables), as_json=as_json)


def _power(top: Top, given: dict[str, Any], watcher: Watcher) -> dict[str, Any]:
    from hyperalign_dspy.experiment.verifier_power import panel_power

    model, quick = given["model"], load_recipe("quick", "authorship")
    everybody = replace(quick, confirm_users=10**6, confirm_requests=3)
    job = job_of(top, given, load_program("authorship"), everybody, watcher, seed=given["seed"], on="validation")
    ready(watcher, model)
    shape = (quick.confirm_users, quick.confirm_requests)
    verifiers = {name: asdict(power) for name, power in panel_power(job, model, shape, watcher).items()}
    return {"model": model, "replayed": {"users": shape[0], "requests": shape[1]}, "verifiers": verifiers}


@judge_command.command("qualify")
@click.option("--judge", "model", default="local", show_default=True, help="The judge's model.")
@data_options
@click.option("--grades", is_flag=True, help="Let it grade each answer from 0 to 10, instead of comparing two.")
@click.option("--adapter", default="turns", show_default=True, help="How the judge is asked: turns, chat, json or xml.")
@click.option("--words", default=150, show_default=True, type=click.IntRange(10), help="Texts are cut to this.")
@click.option("--most", type=click.IntRange(3), help="Judge only the first so many pairs.")
@click.option("--seed", default=0, show_default=True, help="Seeds which texts of a corpus make pairs.")
@json_option
@pass_top
def _qualify(top: Top, /, model: str, as_json: bool, **given: Any) -> None:
    """Let a model judge pairs of which people know the answer, in both orders, and say whether it may judge.

    --data is an LLMBar file (helpfulness), a STEL file (style), or any corpus (authorship). The outcome is recorded
    beside the runs: only a judge that has qualified for a purpose gates a verdict of `compile --judge`.
    """
    from hyperalign_dspy.judges.llm_judge import JudgeForm, judge_folder, record_qualification
    from hyperalign_dspy.judges.llm_judge import qualify as ask
    from hyperalign_dspy.judges.pairwise import GradingJudge, PairwiseJudge
    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.ledger import Ledger

    source, columns = corpus_of(given)
    how: JudgeForm = "grades" if given["grades"] else "pairs"
    pairs = load_pairs(source, columns, given["seed"])[: given["most"]]
    if given["grades"] and pairs[0].purpose != "helpfulness":
        raise click.UsageError(f"--grades is for helpfulness; {source} has pairs for {pairs[0].purpose}.")
    kind = (given["adapter"], given["words"])
    judge = GradingJudge(*kind) if given["grades"] else PairwiseJudge(pairs[0].purpose, *kind)
    with following(top.display) as watcher:
        ready(watcher, model)
        with Ledger(judge_folder() / "calls.jsonl", prices=prices_of(top)) as ledger:
            lm = connect(model, ledger=ledger, max_tokens=8, temperature=0.0)
            found = ask(judge, pairs, lm, lambda done: watcher.step("judge", done, len(pairs), ledger.cost()))
    result = {"schema": "hyperalign/qualification/1", "judge": model, **asdict(found), "qualified": found.qualified}
    result |= {"how": how, "data": source, "adapter": given["adapter"], "words": given["words"]}
    result = json.loads(dump(result))
    record_qualification(result, how)
    emit(result, qualification_words(result), as_json=as_json)
