"""What several commands share: output, progress, and the embedded model's weights."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import click

from hyperalign_dspy.data.load import Columns
from hyperalign_dspy.shelf.files import dump
from hyperalign_dspy.types import Cost

Command = Callable[..., Any]
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
model_option = click.option(
    "--model", default="local", show_default=True, help="local, gguf:PATH, scripted, or PROVIDER/NAME."
)


def data_options(command: Command) -> Command:
    """The options that say what a corpus is."""
    options = [
        click.option("--data", default="", help="bundled, a file, a folder, or a hub data set's name."),
        click.option("--user-column", default="", help="The column that names the user."),
        click.option("--text-column", default="", help="The column with the text."),
        click.option("--request-column", default="", help="The column with what the text answers."),
        click.option("--group-column", default="", help="The column of sources that must not be parted (a book)."),
        click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep only such rows."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def columns_of(given: dict[str, Any]) -> Columns:
    """Take the corpus options out of a command's keywords."""
    where = []
    for pair in given.pop("where"):
        column, sign, value = pair.partition("=")
        if not sign:
            raise click.BadParameter(f"{pair!r} is not COLUMN=VALUE", param_hint="--where")
        where.append((column, value))
    names = {name: given.pop(f"{name}_column") for name in ("user", "text", "request", "group")}
    return Columns(where=tuple(where), **names)


def quiet() -> None:
    """Third-party loggers say nothing on a user's screen; what matters reaches it as an error."""
    # DSPy sets its own top logger's level when it is imported; those below keep what is set here.
    for name in ("dspy.clients", "dspy.predict", "dspy.adapters", "LiteLLM", "httpx", "optuna", "datasets", "filelock"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="dspy")


def emit(value: Any, text: str, *, as_json: bool) -> None:
    """An answer on stdout, as JSON or as text."""
    click.echo(json.dumps(json.loads(dump(value)), ensure_ascii=False, indent=2) if as_json else text)


def say(text: str = "") -> None:
    """Anything that is not an answer, on stderr."""
    click.echo(text, err=True)


def ready(model: str) -> None:
    """See that a model can be used: the name makes sense, and the embedded model's weights are here."""
    from hyperalign_dspy.lm.connect import check_name
    from hyperalign_dspy.lm.models import LOCAL, ensure, find, local_path

    check_name(model)
    if model == LOCAL and find() is None:
        say("Fetching the embedded model's weights once (93 MB, Apache-2.0).")
        bar = Bar("weights")
        ensure(lambda done, total: bar.show(done / total, f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"))
        bar.end()
    elif model.startswith("gguf:"):
        local_path(model)


class Bar:
    """One line that moves on a terminal, and a line now and then elsewhere."""

    EVERY = 15.0  # seconds between lines that do not overwrite each other

    def __init__(self, label: str) -> None:
        self.label, self._last, self._live = label, 0.0, sys.stderr.isatty()
        self._start = time.monotonic()

    def show(self, share: float, note: str) -> None:
        """How far it is, from 0 to 1."""
        now = time.monotonic()
        if now - self._last < (0.1 if self._live else self.EVERY) and share < 1:
            return
        self._last = now
        filled = round(20 * min(1.0, share))
        line = f"{self.label:26} [{'#' * filled}{'.' * (20 - filled)}] {share:4.0%}  {note}"
        click.echo(f"\r\x1b[K{line}" if self._live else line, err=True, nl=not self._live)

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            click.echo("\r\x1b[K", err=True, nl=False)


class Progress:
    """Follows a compile or an evaluation on stderr."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._phase, self._start = "", time.monotonic()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar:
            self._bar.end()
        say(text)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """How far a phase is."""
        name = phase.partition(":")[0]
        if self._bar is None or name != self._phase:
            self._bar, self._phase = Bar(name), name
        self._bar.label = phase
        passed = time.monotonic() - self._start
        reused = f", {cost.recorded_calls} reused" if cost.recorded_calls else ""
        self._bar.show(done / max(1, total), f"{cost.calls} calls{reused}, {passed:.0f} s")
        if done >= total:
            self._bar.end()
