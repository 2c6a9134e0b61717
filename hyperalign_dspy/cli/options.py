"""The options that several commands share, and what they come to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.data.load import Columns, described
from hyperalign_dspy.program.locate import user_data

if TYPE_CHECKING:
    from hyperalign_dspy.lm.limits import Limits, Prices

_Command = Callable[..., Any]


@dataclass(frozen=True)
class Top:
    """What stands before a command's name: how it is run, and not what it does.

    Of a recorded command that is given once more: the ``run`` that it has to be, and a ``point`` of that run's
    Pareto set, if this is to be confirmed alone, under ``caps`` of its own.
    """

    display: str | None = None
    concurrency: int | None = None
    prices: Path | None = None
    run: str = ""
    point: int = 0
    caps: Limits | None = None


pass_top = click.make_pass_decorator(Top, ensure=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
model_option = click.option(
    "--model", default="local", show_default=True, help="local, gguf:PATH, scripted, or PROVIDER/NAME."
)
max_option = click.option(
    "--max",
    "caps",
    multiple=True,
    metavar="KIND=AMOUNT",
    help="Never more calls, tokens (in and out), cost (dollars) or time (90s, 30m, 2h), all sessions together.",
)


def data_options(command: _Command) -> _Command:
    """The options that say what a corpus is."""
    options = [
        click.option("--data", default="", help="bundled, a file, a folder, a hub data set, or a TOML file about one."),
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="ROLE=NAME",
            help="The column of user, text, request or group.",
        ),
        click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep only such rows."),
        click.option("--mask", "masks", multiple=True, metavar="names|quotes", help="Take these out of every text."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def corpus_of(given: Mapping[str, Any], default: str = "bundled") -> tuple[str, Columns]:
    """A command's corpus: its source, and what its columns are."""
    roles = dict(_pairs(given["columns"], "--column", "ROLE=NAME"))
    if unknown := [role for role in roles if role not in ("user", "text", "request", "group")]:
        raise click.BadParameter(f"{unknown[0]!r} is not user, text, request or group", param_hint="--column")
    where = tuple(_pairs(given["where"], "--where", "COLUMN=VALUE"))
    return described(given["data"] or default, Columns(**roles, where=where, masks=tuple(given["masks"])))


def bounds(words: Sequence[str]) -> dict[str, float]:
    """NAME=NUMBER pairs as a mapping."""
    try:
        return {name: float(number) for name, number in _pairs(words, "--constraint", "NAME=NUMBER")}
    except ValueError as error:
        raise click.BadParameter(f"{error}: give NAME=NUMBER", param_hint="--constraint") from error


def json_values(words: Sequence[str], option: str) -> dict[str, Any]:
    """NAME=VALUE pairs as a mapping; a value that is no JSON is a text."""
    found: dict[str, Any] = {}
    for name, value in _pairs(words, option, "NAME=VALUE"):
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _pairs(words: Sequence[str], option: str, form: str) -> Iterator[tuple[str, str]]:
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise click.BadParameter(f"{word!r} is not {form}", param_hint=option)
        yield name, value


def limits_of(words: Sequence[str]) -> Limits:
    """The caps of KIND=AMOUNT pairs; of two of a kind the last one holds."""
    from hyperalign_dspy.lm.limits import Limits

    found: dict[str, Any] = {}
    for kind, amount in _pairs(words, "--max", "KIND=AMOUNT"):
        if kind not in _CAPS:
            raise click.BadParameter(f"{kind!r} is not calls, tokens, cost or time", param_hint="--max")
        name, read, form = _CAPS[kind]
        found[name] = read(amount)
        if not found[name]:
            raise click.BadParameter(f"{amount!r} is no {kind}; give {form}", param_hint="--max")
    return Limits(**found)


def _count(text: str) -> int:
    """A whole number; 0 of anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _dollars(text: str) -> float:
    """An amount of money; 0 of anything that is none."""
    try:
        amount = float(text)
    except ValueError:
        return 0.0
    return amount if 0 < amount < math.inf else 0.0


def _seconds(text: str) -> float:
    """A time like 90s, 30m or 2h; 0 of anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text)
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0


_CAPS: Mapping[str, tuple[str, Callable[[str], float], str]] = {
    "calls": ("max_calls", _count, "a whole number"),
    "tokens": ("max_tokens", _count, "a whole number"),
    "cost": ("max_cost", _dollars, "dollars"),
    "time": ("max_seconds", _seconds, "one like 90s, 30m or 2h"),
}


def prices_of(top: Top) -> Prices:
    """The user's prices: of the file that is named, or of prices.toml in their data folder."""
    from hyperalign_dspy.lm.limits import Prices

    own = user_data() / "prices.toml"
    return Prices.read(top.prices or own) if top.prices or own.is_file() else Prices(place=own)


# Options that say how to show a run, and not what it is.
_SHOWN = ("only_plan", "as_json", "display")


def command_of() -> list[str]:
    """The words that give the command at hand again, as `runs resume` does."""
    names: list[str] = []
    at = context = click.get_current_context()
    while at.parent:
        names, at = [str(at.command.name), *names], at.parent
    before = [] if at is context else option_words(at)
    return [*before, *names, context.params["program"], *option_words(context)]


def option_words(context: click.Context, wanted: Callable[[str], bool] = lambda name: name not in _SHOWN) -> list[str]:
    """The words of the options that a command was given and that are ``wanted`` by name."""
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        # 0 was given: it is no more unset than other numbers.
        unset = value is False or value in (None, "", ())
        if isinstance(parameter, click.Option) and wanted(name) and not unset:
            for each in value if isinstance(value, tuple) else (value,):
                words += [parameter.opts[0], *([] if each is True else [str(each)])]
    return words
