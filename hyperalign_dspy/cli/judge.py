"""`hyperalign judge`: what judges score where people know the answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import columns_of, data_options, emit, json_option, prices_of, quiet, ready
from hyperalign_dspy.cli.progress import display_option, following
from hyperalign_dspy.files import dump


@click.group("judge")
def judge_command() -> None:
    """Try judges on human text before they judge anything else."""


@judge_command.command("validate")
@data_options
@click.option("--words", default=60, show_default=True, type=click.IntRange(10), help="Held-out texts are cut to this.")
@click.option("--power", is_flag=True, help="Judge texts that --model writes, too: its calls are recorded.")
@click.option("--model", default="local", show_default=True, help="What writes for --power.")
@click.option("--seed", default=0, show_default=True, help="Seeds what is held out.")
@display_option
@json_option
def _validate(as_json: bool, **given: Any) -> None:
    """Fit every style verifier on most of each user's texts, and try it on the rest. Calls no model without --power.

    With --power a model writes for every user that a search may see: under the user's samples, under none, and under
    another user's. The verifier is best that tells the first two furthest apart (t) and sees nothing in the third.
    """
    quiet()
    from hyperalign_dspy.data.load import load_corpus
    from hyperalign_dspy.report.judge import panel_table, power_table
    from hyperalign_dspy.tasks.validation import validate_panel

    columns = columns_of(given)
    source = given["data"] or "bundled"
    with following(given["display"]) as watcher:
        corpus = load_corpus(source, columns, words=given["words"])
        panel = {
            name: asdict(found)
            for name, found in validate_panel(corpus, given["seed"], given["words"], watcher.say).items()
        }
        power = _power(given["model"], source, columns, given["seed"], watcher) if given["power"] else None
    head = f"{corpus.name}: held-out texts of {given['words']} words; intervals are 95%, over users"
    result = {"schema": "hyperalign/judge-validate/1", "corpus": corpus.name, "panel": panel, "power": power}
    tables = [head, panel_table(panel), *([power_table(power)] if power else [])]
    emit(result, "\n\n".join(tables), as_json=as_json)


def _power(model: str, source: str, columns: Any, seed: int, watcher: Any) -> dict[str, Any]:
    """What the panel sees in texts that a model writes for users that a search may see, as plain data."""
    from dataclasses import replace

    from hyperalign_dspy.experiment.verifier_power import measure_power, remember_power, write_texts
    from hyperalign_dspy.judges.llm_judge import judge_folder
    from hyperalign_dspy.lm.connect import concurrency_of, connect
    from hyperalign_dspy.lm.ledger import Ledger
    from hyperalign_dspy.optimize.study import Space
    from hyperalign_dspy.program.specs import load_program, load_recipe
    from hyperalign_dspy.tasks.authorship import AuthorshipTask
    from hyperalign_dspy.tasks.evaluate import Evaluator
    from hyperalign_dspy.tasks.protocol import Job

    ready(model, watcher)
    program, quick = load_program("authorship"), load_recipe("quick", "authorship")
    everybody = replace(quick, confirm_users=10**6, confirm_requests=3)
    options = {"columns": columns, "words": quick.max_tokens * 3 // 4}
    job = Job(program, everybody, source, options, seed, watcher.say, on="validation")
    task_data: Any = AuthorshipTask().prepare(job)
    baseline = Space(program, everybody).baseline
    with Ledger(judge_folder() / "calls.jsonl", prices=prices_of()) as ledger:
        lm = connect(model, ledger=ledger, max_tokens=quick.max_tokens)
        with Evaluator(task_data, lm, ledger, concurrency_of(lm)) as evaluator:
            done, total = 0, 3 * len(task_data.sealed)

            def tick(name: str) -> None:
                nonlocal done
                done += 1
                watcher.step(f"power: {name}", done, total, ledger.cost())

            evaluator.tick = tick
            shape = (quick.confirm_users, quick.confirm_requests)
            found, differences = measure_power(task_data, write_texts(task_data, evaluator, baseline), shape)
    remember_power(task_data.corpus.digest, model, differences)
    verifiers = {name: asdict(power) for name, power in found.items()}
    return {"model": model, "replayed": {"users": shape[0], "requests": shape[1]}, "verifiers": verifiers}


@judge_command.command("refusals")
@click.argument("data", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--text-column", default="", help="The column with the answer.")
@click.option("--label-column", default="", help="The column with what people say of it.")
@json_option
def refusals_command(data: Path, text_column: str, label_column: str, as_json: bool) -> None:
    """Try the rules that tell refusals on a model's answers of which people said whether they refuse. Calls no model.

    DATA is a file of answers with labels: 1 or a word such as "refusal" (a partial one counts), 0 or one such as
    "compliance". Columns that go by the names of published sets (XSTest, WildGuard, PyRIT) need not be named.
    """
    from hyperalign_dspy.data.refusals import load_refusals
    from hyperalign_dspy.metrics.refusal import refuses
    from hyperalign_dspy.metrics.stats import kappa
    from hyperalign_dspy.report.judge import refusals_words

    answers = load_refusals(data, text_column, label_column)
    said = [refuses(answer.text) for answer in answers]
    pairs = list(zip(answers, said, strict=True))
    result = {
        "schema": "hyperalign/judge-refusals/1",
        "data": str(data),
        "kappa": asdict(kappa([answer.refused for answer in answers], said)),
        "refusals": sum(answer.refused for answer in answers),
        "missed": [answer.row for answer, told in pairs if answer.refused and not told],
        "mistaken": [answer.row for answer, told in pairs if told and not answer.refused],
    }
    emit(result, refusals_words(result), as_json=as_json)


@judge_command.command("qualify")
@click.option("--judge", "model", default="local", show_default=True, help="The judge's model.")
@data_options
@click.option("--grades", is_flag=True, help="Let it grade each answer from 0 to 10, instead of comparing two.")
@click.option("--adapter", default="turns", show_default=True, help="How the judge is asked: turns, chat, json or xml.")
@click.option("--words", default=150, show_default=True, type=click.IntRange(10), help="Texts are cut to this.")
@click.option("--most", type=click.IntRange(3), help="Judge only the first so many pairs.")
@click.option("--seed", default=0, show_default=True, help="Seeds which texts of a corpus make pairs.")
@display_option
@json_option
def _qualify(model: str, as_json: bool, **given: Any) -> None:
    """Let a model judge pairs of which people know the answer, in both orders, and say whether it may judge.

    --data is an LLMBar file (helpfulness), a STEL file (style), or any corpus (authorship). The outcome is recorded
    beside the runs: only a judge that has qualified for a purpose gates a verdict of `compile --judge`.
    """
    quiet()
    from hyperalign_dspy.data.pairs import load_pairs
    from hyperalign_dspy.judges.llm_judge import JudgeForm, judge_folder, record_qualification
    from hyperalign_dspy.judges.llm_judge import qualify as ask
    from hyperalign_dspy.judges.pairwise import GradingJudge, PairwiseJudge
    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.ledger import Ledger
    from hyperalign_dspy.report.judge import qualification_words

    source = given["data"] or "bundled"
    how: JudgeForm = "grades" if given["grades"] else "pairs"
    pairs = load_pairs(source, columns_of(given), given["seed"])[: given["most"]]
    if given["grades"] and pairs[0].purpose != "helpfulness":
        raise click.UsageError(f"--grades is for helpfulness; {source} has pairs for {pairs[0].purpose}.")
    kind = (given["adapter"], given["words"])
    judge = GradingJudge(*kind) if given["grades"] else PairwiseJudge(pairs[0].purpose, *kind)
    with following(given["display"]) as watcher:
        ready(model, watcher)
        with Ledger(judge_folder() / "calls.jsonl", prices=prices_of()) as ledger:
            lm = connect(model, ledger=ledger, max_tokens=8, temperature=0.0)
            found = ask(judge, pairs, lm, lambda done: watcher.step("judge", done, len(pairs), ledger.cost()))
    result = {"schema": "hyperalign/qualification/1", "judge": model, **asdict(found), "qualified": found.qualified}
    result = json.loads(
        dump({**result, "how": how, "data": source, "adapter": given["adapter"], "words": given["words"]})
    )
    record_qualification(result, how)
    emit(result, qualification_words(result), as_json=as_json)
