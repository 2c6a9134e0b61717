"""`hyperalign run`: write as somebody would."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, ready, same_weights, say
from hyperalign_dspy.cli.options import Top, json_option, model_option, pass_top, prices_of
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.types import Cost, Hypothesis

# Measured hypotheses that are shown of a user: the most notable.
_NOTABLE = 6


@click.command("run")
@click.argument("program", default="authorship")
@model_option
@click.option("--user", help="Somebody with a profile (see `hyperalign profile`): what was inferred before is kept.")
@click.option("--samples", type=click.Path(path_type=Path), help="A text file, a folder of them, or JSONL.")
@click.option("--request", help="What is to be written; - reads it from standard input.")
@click.option("--requests", type=click.Path(path_type=Path), help="Many requests: JSONL with user or samples, request.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where the answers to --requests go.")
@click.option("--hypotheses", type=click.Path(path_type=Path), help="Edited hypotheses, as written by --json.")
@click.option("--max-tokens", type=click.IntRange(8), help="The longest text, instead of the program's own.")
@click.option("--seed", default=0, show_default=True, help="Another seed, another text.")
@json_option
@pass_top
def run_command(top: Top, /, program: str, model: str, as_json: bool, **given: Any) -> None:
    """Print the hypotheses about a USER, or about the author of some SAMPLES, and a text that they might have written.

    With the frozen program for the model where there is one, else with the program's baseline. The answers to many
    --requests go to a file, in their order; the same command goes on where it was cut off.
    """
    _check_options(given)
    if given["requests"]:
        _answer_many(top, program, model, given, as_json=as_json)
        return
    import dspy

    from hyperalign_dspy.artifacts.hypotheses import read_hypotheses
    from hyperalign_dspy.artifacts.profiles import Profile
    from hyperalign_dspy.data.load import read_samples
    from hyperalign_dspy.lm.connect import connect

    profile = Profile.load(given["user"]) if given["user"] else None
    samples = list(profile.samples if profile else read_samples(given["samples"]))
    known = read_hypotheses(given["hypotheses"]) if given["hypotheses"] else None
    request = sys.stdin.read() if given["request"] == "-" else given["request"]
    if not request.strip():
        raise UsageError("The request is empty.", fix='Say what is to be written: --request "...".')
    module = _module(program, model, given["max_tokens"])
    with following(top.display) as watcher:
        ready(watcher, model)
        lm = connect(model)
        if profile and known is None:
            with dspy.context(lm=lm, disable_history=True):
                known = profile.hypotheses(module, program, model)
    call = {"samples": samples, "request": request, "hypotheses": known, "seed": given["seed"]}
    with dspy.context(lm=lm, disable_history=True):
        if sys.stdout.isatty() and not as_json:
            _show_written(top, module, call)
        else:
            written = module(**call)
            emit(_answer_of(written), _words_of(written), as_json=as_json)


def _check_options(given: dict[str, Any]) -> None:
    one = [name for name in ("request", "user", "samples", "hypotheses") if given[name] is not None]
    if given["requests"]:
        if one:
            raise click.UsageError(f"--requests says of every line what --{one[0]} would: give one of them.")
        if not given["out"]:
            raise click.UsageError("Say where the answers go: --out FILE")
        if given["out"].resolve() == given["requests"].resolve():
            raise click.UsageError("--out names the file of the --requests: give another.")
        return
    if given["out"]:
        raise click.UsageError("--out is for --requests.")
    if given["request"] is None:
        raise click.UsageError('Say what is to be written: --request "..."')
    if (given["user"] is None) == (given["samples"] is None):
        raise click.UsageError("Say who is to be written as: --user NAME or --samples PATH, one of them.")


def _answer_many(top: Top, program: str, model: str, given: dict[str, Any], *, as_json: bool) -> None:
    from hyperalign_dspy.artifacts.batch import Batch, read_lines
    from hyperalign_dspy.errors import TooManyFailures

    lines = read_lines(given["requests"], given["seed"])
    module = _module(program, model, given["max_tokens"])
    with following(top.display) as watcher:
        ready(watcher, model)
        batch = Batch(lines, module, program, model, given["out"], top.concurrency)
        tally = batch.answer_all(prices_of(top), watcher)
    answer = {"schema": "hyperalign/answers/1", "out": str(given["out"]), **asdict(tally)}
    emit(answer, str(given["out"]), as_json=as_json)
    if tally.failed:
        raise TooManyFailures(
            f"{tally.failed} of {tally.lines} requests have no answer; their lines say why.",
            fix="The same command asks for these again; where an answer could not be read, another seed gives another.",
        )


def _module(program: str, model: str, max_tokens: int | None) -> Any:
    from hyperalign_dspy.artifacts.frozen import load_frozen
    from hyperalign_dspy.program.configuration import Configuration, adjust, build
    from hyperalign_dspy.program.locate import frozen_folders
    from hyperalign_dspy.program.specs import load_program

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


def _show_written(top: Top, module: Any, call: dict[str, Any]) -> None:
    """The same as elsewhere, to somebody who watches: hypotheses first, then the text as it is being written.

    Where one of several drafts is to be chosen, or a text comes in a format, it is shown when it is done.
    """
    from hyperalign_dspy.lm.engine import streaming

    if call["hypotheses"] is None and hasattr(module, "infer"):
        call["hypotheses"] = module.infer(samples=call["samples"]).hypotheses
    settings = module.settings.value
    drafts = settings.drafts if settings.temperature > 0 else 1
    if call["hypotheses"] is None or drafts > 1 or settings.adapter != "turns":
        with _counting(top, drafts):
            written = module(**call)
        click.echo(_words_of(written))
        return
    typed = _Typed()
    click.echo(_known_words(call["hypotheses"]) + "\n\nText")
    with streaming(typed.take):
        text = module(**call).text
    typed.end(text)


class _Typed:
    """Puts a text on the screen as it comes, without the white space around it, which is not kept."""

    def __init__(self) -> None:
        self._shown, self._held = "", ""

    def take(self, piece: str) -> None:
        whole = self._held + piece if self._shown else (self._held + piece).lstrip()
        text = whole.rstrip()
        click.echo(text, nl=False)
        self._shown, self._held = self._shown + text, whole[len(text) :]

    def end(self, text: str) -> None:
        """The text that is kept: what is not on the screen yet is put there."""
        again = not text.startswith(self._shown)
        click.echo(f"\n{text}" if again else text[len(self._shown) :])


@contextmanager
def _counting(top: Top, drafts: int) -> Iterator[None]:
    """Progress over drafts, for as long as they are being written."""
    import dspy
    from dspy.utils.callback import BaseCallback

    with following(top.display) as watcher:

        class Drafts(BaseCallback):
            """Hears of calls of the model that was given to the program."""

            def __init__(self) -> None:
                self.begun: set[str] = set()
                self.done = 0

            def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                # A remote engine calls through a model of its own, which is no further draft.
                if instance is dspy.settings.lm:
                    self.begun.add(call_id)

            def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
                if call_id in self.begun:
                    self.done += 1
                    watcher.step("drafts", self.done, drafts, Cost())

        watcher.step("drafts", 0, drafts, Cost())
        with dspy.context(callbacks=[*dspy.settings.callbacks, Drafts()]):
            yield


def _answer_of(written: Any) -> dict[str, Any]:
    return {
        "schema": "hyperalign/text/1",
        "text": written.text,
        "drafts": written.drafts,
        "hypotheses": [asdict(h) for h in written.hypotheses],
    }


def _words_of(written: Any) -> str:
    return f"{_known_words(written.hypotheses)}\n\nText\n{written.text}"


def _known_words(hypotheses: Sequence[Hypothesis]) -> str:
    inferred = [h for h in hypotheses if h.kind == "inferred"]
    measured = [h for h in hypotheses if h.kind == "measured" and h.direction != "same"][:_NOTABLE]
    return "\n".join(["Hypotheses", *(f"  {h.facet:14} {h.text}" for h in [*inferred, *measured])])
