"""`hyperalign run`: write as somebody would."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, json_option, model_option, quiet, ready, same_weights, say, shelf_option
from hyperalign_dspy.cli.progress import following

NOTABLE = 6


@click.command("run")
@click.argument("program", default="authorship")
@model_option
@click.option(
    "--samples",
    required=True,
    type=click.Path(path_type=Path),
    help="A text file, a folder of them, or JSONL.",
)
@click.option("--request", required=True, help="What is to be written; - reads it from standard input.")
@click.option("--hypotheses", type=click.Path(path_type=Path), help="Edited hypotheses, as written by --json.")
@click.option("--max-tokens", type=click.IntRange(8), help="The longest text, instead of the program's own.")
@click.option("--seed", default=0, show_default=True, help="Another seed, another text.")
@shelf_option
@json_option
def run_command(program: str, model: str, samples: Path, as_json: bool, **given: Any) -> None:
    """Print the hypotheses about the author of some SAMPLES, and a text that they might have written.

    With the frozen program for the model where there is one, else with the program's baseline.
    """
    quiet()
    import dspy

    from hyperalign_dspy.data.load import read_samples
    from hyperalign_dspy.lm.causes import unwrap
    from hyperalign_dspy.lm.connect import connect

    texts = read_samples(samples)
    known = _edited(given["hypotheses"])
    request = sys.stdin.read() if given["request"] == "-" else given["request"]
    with following(None) as watcher:
        ready(model, watcher)
    module = _module(program, model, given["max_tokens"])
    try:
        with dspy.context(lm=connect(model), disable_history=True):
            written = module(samples=list(texts), request=request, hypotheses=known, seed=given["seed"])
    except Exception as error:
        raise unwrap(error) from error
    answer = {
        "schema": "hyperalign/text/1",
        "text": written.text,
        "drafts": written.drafts,
        "hypotheses": [asdict(h) for h in written.hypotheses],
    }
    emit(answer, _words(answer), as_json=as_json)


def _module(program: str, model: str, max_tokens: int | None) -> Any:
    from hyperalign_dspy.errors import UsageError
    from hyperalign_dspy.lm.connect import slug
    from hyperalign_dspy.shelf.configure import Configuration, adjust, build
    from hyperalign_dspy.shelf.frozen import load_frozen
    from hyperalign_dspy.shelf.locate import frozen_folders
    from hyperalign_dspy.shelf.specs import load_program

    spec = load_program(program)
    if spec.task != "authorship":
        raise UsageError(
            f"`run` writes as a person would; {program} is a program of another kind ({spec.task}).",
            fix=f"Use it from Python: hyperalign show {program} says how.",
        )
    folder = frozen_folders(program).get(slug(model))
    if folder:
        frozen = load_frozen(folder)
        same_weights(frozen.manifest, model)
        module = frozen.module
    else:
        say(f"No frozen {program} for {model} yet; this is its baseline. Make one: hyperalign compile {program}")
        module = build(spec, Configuration.of(spec.baseline))
    if max_tokens:
        adjust(module, {"max_tokens": max_tokens})
    return module


def _edited(path: Path | None) -> list[Any] | None:
    from hyperalign_dspy.errors import DataError
    from hyperalign_dspy.types import Hypothesis

    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [Hypothesis(**row) for row in (found["hypotheses"] if isinstance(found, dict) else found)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} holds no hypotheses: {error}.",
            fix="Write them with `hyperalign run ... --json > FILE`, edit or strike some, and give FILE.",
        ) from error


def _words(answer: dict[str, Any]) -> str:
    inferred = [h for h in answer["hypotheses"] if h["kind"] == "inferred"]
    measured = [h for h in answer["hypotheses"] if h["kind"] == "measured" and h["direction"] != "same"][:NOTABLE]
    lines = [f"  {h['facet']:14} {h['text']}" for h in [*inferred, *measured]]
    return "\n".join(["Hypotheses", *lines, "", "Text", answer["text"]])
