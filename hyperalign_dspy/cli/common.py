"""What several commands share: options, output, and the embedded model's weights."""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.data.load import Columns
from hyperalign_dspy.files import dump
from hyperalign_dspy.program.locate import user_data
from hyperalign_dspy.types import Cost, Watcher

if TYPE_CHECKING:
    from hyperalign_dspy.lm.limits import Limits, Prices

_Command = Callable[..., Any]
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
model_option = click.option(
    "--model", default="local", show_default=True, help="local, gguf:PATH, scripted, or PROVIDER/NAME."
)

concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Calls in flight at once. [default: 8 at a server; an engine in this process takes 4 at most]",
)


def data_options(command: _Command) -> _Command:
    """The options that say what a corpus is."""
    options = [
        click.option("--data", default="", help="bundled, a file, a folder, or a hub data set's name."),
        click.option("--user-column", default="", help="The column that names the user."),
        click.option("--text-column", default="", help="The column with the text."),
        click.option("--request-column", default="", help="The column with what the text answers."),
        click.option("--group-column", default="", help="The column of sources that must not be parted (a book)."),
        click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep only such rows."),
        click.option("--mask", "masks", multiple=True, metavar="names|quotes", help="Take these out of every text."),
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
    return Columns(where=tuple(where), masks=tuple(given.pop("masks")), **names)


def bounds(pairs: Sequence[str]) -> dict[str, float]:
    """NAME=NUMBER pairs as a mapping."""
    found = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            found[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"{pair!r} is not NAME=NUMBER", param_hint="--constraint") from error
    return found


def cap_options(command: _Command) -> _Command:
    """The caps of a run, all sessions together."""
    options = [
        click.option("--max-calls", type=click.IntRange(1), help="Never more calls than this, all sessions together."),
        click.option("--max-tokens", type=click.IntRange(1), help="Never more tokens than this, in and out together."),
        click.option("--max-cost", type=click.FloatRange(0, min_open=True), help="Never more dollars than this."),
        click.option(
            "--max-time",
            default="",
            metavar="90s|30m|2h",
            help="No call begins that would end later than this, if it took as long as the longest so far.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def limit_options(command: _Command) -> _Command:
    """The caps of a run, and the prices that the one on money goes by."""
    prices = click.option(
        "--prices",
        type=click.Path(path_type=Path),
        envvar="HYPERALIGN_PRICES",
        help="A TOML file of models' prices.",
    )
    return cap_options(prices(command))


def limits_of(given: dict[str, Any]) -> Limits:
    """Take the caps out of a command's keywords."""
    from hyperalign_dspy.lm.limits import Limits

    calls, tokens, cost = (given.pop(name) for name in ("max_calls", "max_tokens", "max_cost"))
    return Limits(calls, tokens, cost, _seconds(given.pop("max_time")))


def prices_of(path: Path | None = None) -> Prices:
    """What the user knows of prices: from the file given, $HYPERALIGN_PRICES, or prices.toml in their data folder."""
    from hyperalign_dspy.lm.limits import Prices

    named = path or os.environ.get("HYPERALIGN_PRICES")
    own = user_data() / "prices.toml"
    return Prices.read(Path(named or own)) if named or own.is_file() else Prices(place=own)


def _seconds(text: str) -> float | None:
    """A time like 90s, 30m or 2h; None of nothing."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or not float(match[1]):
        raise click.BadParameter(f"{text!r} is no time; give one like 90s, 30m or 2h", param_hint="--max-time")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def json_values(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """NAME=VALUE pairs as a mapping; a value that is no JSON is a text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint=option)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


# Options that say how to show a run, and not what it is.
_HOW = ("expect", "only_plan", "power", "point", "as_json", "display")


def command_of(context: click.Context) -> list[str]:
    """The words that give this command again, as `runs resume` does."""
    names: list[str] = []
    at = context
    while at.parent:
        names, at = [str(at.command.name), *names], at.parent
    words = [*names, str(context.params["program"])]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if isinstance(parameter, click.Option) and parameter.name not in _HOW and not _unset(value):
            values = value if isinstance(value, tuple) else (value,)
            words += [word for each in values for word in (parameter.opts[0], *([] if each is True else [str(each)]))]
    shelf = os.environ.get("HYPERALIGN_SHELF")
    return [*words, *(["--shelf", shelf] if shelf else [])]


def _unset(value: Any) -> bool:
    return value is None or value is False or value in ("", ())


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


def ready(model: str, watcher: Watcher) -> None:
    """See that a model can be used: the name makes sense, and the embedded model's weights are here."""
    from hyperalign_dspy.lm.connect import check_name
    from hyperalign_dspy.lm.models import LOCAL, find_weights, local_path, pull

    check_name(model)
    if model == LOCAL and find_weights() is None:
        watcher.say("Fetching the embedded model's weights once (93 MB, Apache-2.0).")
        pull(megabytes(watcher))
    elif model.startswith("gguf:"):
        local_path(model)


def same_weights(manifest: Mapping[str, Any], model: str) -> None:
    """Say so when a frozen program was measured on other weights, or another server, than those in use."""
    from hyperalign_dspy.lm.connect import describe_model

    here, there = describe_model(model), manifest["model"]
    if any(here.get(name) != there.get(name) for name in ("weights_sha256", "server")):
        say(f"{model} is not what this program was measured on; its figures say nothing about this one.")


def frozen_folder(target: str, model: str) -> Path:
    """Where a frozen program lies: a program's name on the shelf, for a model, or a folder that holds one.

    A folder is written with a separator, or as . or ..: a bare name is a name, whatever lies where one is.

    Raises:
        UnknownName: no such program, or no frozen program in that folder.
    """
    from hyperalign_dspy.artifacts.frozen import find_frozen
    from hyperalign_dspy.errors import UnknownName
    from hyperalign_dspy.lm.connect import slug

    here = Path(target)
    holds = (here / "manifest.json").is_file()
    if target in (".", "..") or "/" in target or os.sep in target:
        if holds:
            return here
        raise UnknownName(
            f"{target} holds no frozen program: there is no manifest.json in it.",
            fix="Give the folder of a frozen program, or a program's name. See them: hyperalign list",
        )
    try:
        return find_frozen(target, slug(model))
    except UnknownName as error:
        if holds:
            error.fix = f"For the folder of that name: ./{target}. {error.fix}"
        raise


def megabytes(watcher: Watcher) -> Callable[[int, int], None]:
    """Shows a transfer of so many bytes as the phase "weights (MB)"."""
    return lambda done, total: watcher.step("weights (MB)", done // 10**6, total // 10**6, Cost())


def shelf_option(command: _Command) -> _Command:
    """--shelf, for this process: as if HYPERALIGN_SHELF were set."""

    def use(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if value:
            os.environ["HYPERALIGN_SHELF"] = str(value)

    return click.option(
        "--shelf",
        type=click.Path(path_type=Path, file_okay=False),
        callback=use,
        expose_value=False,
        help="A folder with programs/ and optimizers/ that comes before all others; frozen programs go there.",
    )(command)
