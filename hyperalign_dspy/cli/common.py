"""What several commands do: a job by its options, a model made ready, output."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.cli.options import Top, corpus_of, limits_of, prices_of
from hyperalign_dspy.errors import BudgetReached
from hyperalign_dspy.files import dump
from hyperalign_dspy.lm.models import GGUF, LOCAL, check_name, find_weights, local_path, pull
from hyperalign_dspy.types import Cost, Watcher

if TYPE_CHECKING:
    from hyperalign_dspy.lm.limits import Limits, Prices
    from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
    from hyperalign_dspy.tasks.protocol import Job


def job_of(
    top: Top, given: Mapping[str, Any], spec: ProgramSpec, recipe: RecipeSpec, watcher: Watcher, **more: Any
) -> Job:
    """What a command is to do, by its options for corpus and caps; ``more`` is what else a `Job` takes."""
    from hyperalign_dspy.tasks.protocol import Job

    source, columns = corpus_of(given, spec.data)
    options = {"columns": columns, "words": recipe.max_tokens * 3 // 4}
    more |= {"limits": limits_of(given.get("caps", ())), "prices": prices_of(top), "concurrency": top.concurrency}
    return Job(spec, recipe, source, options, notify=watcher.say, **more)


def check_models(names: Sequence[str], limits: Limits, prices: Prices) -> None:
    """See that names make sense and, under a cap on money, that prices are known."""
    for name in names:
        check_name(name)
        if limits.max_cost:
            prices.demand(name)


def quiet() -> None:
    """Third-party loggers say nothing on the screen; what matters reaches it as an error."""
    # DSPy sets its own top logger's level when it is imported; those below keep what is set here.
    for name in ("dspy.clients", "dspy.predict", "dspy.adapters", "LiteLLM", "httpx", "optuna", "datasets", "filelock"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="dspy")


def emit(value: Any, text: str, *, as_json: bool) -> None:
    """An answer on stdout, as JSON or as text."""
    click.echo(json.dumps(json.loads(dump(value)), ensure_ascii=False, indent=2) if as_json else text)


def finish(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """An answer that may have come of a capped run: then the exit code says so."""
    emit(result, text, as_json=as_json)
    if result["capped"]:
        sys.exit(BudgetReached.exit_code)


def say(text: str = "") -> None:
    """Anything that is not an answer, on stderr."""
    click.echo(text, err=True)


def ready(watcher: Watcher, *models: str) -> None:
    """See that models can be used: names make sense, and weights are here. Empty names are skipped."""
    for model in filter(None, models):
        check_name(model)
        if model == LOCAL and find_weights() is None:
            watcher.say("Fetching the embedded model's weights once (93 MB, Apache-2.0).")
            pull(megabytes(watcher))
        elif model.startswith(GGUF):
            local_path(model)


def same_weights(manifest: Mapping[str, Any], model: str) -> None:
    """Say so when a frozen program was measured on other weights or another server."""
    from hyperalign_dspy.lm.connect import describe_model

    here, there = describe_model(model), manifest["model"]
    if any(here.get(name) != there.get(name) for name in ("weights_sha256", "server")):
        say(f"{model} is not what this program was measured on; its figures say nothing about this one.")


def megabytes(watcher: Watcher) -> Callable[[int, int], None]:
    """Shows a transfer of so many bytes as the phase "weights (MB)"."""
    return lambda done, total: watcher.step("weights (MB)", done // 10**6, total // 10**6, Cost())
