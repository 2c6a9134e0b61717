"""A text on the screen: as it is being written to somebody who watches, whole to everybody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

from hyperalign_dspy.cli.common import emit
from hyperalign_dspy.cli.progress import following
from hyperalign_dspy.types import Cost, Hypothesis

NOTABLE = 6


def show_written(module: Any, call: dict[str, Any]) -> None:
    """The same as elsewhere, to somebody who watches: hypotheses first, then the text as it is being written.

    Where one of several drafts is to be chosen, or a text comes in a format, it is shown when it is done.
    """
    from hyperalign_dspy.lm.listening import listening

    if call["hypotheses"] is None and hasattr(module, "infer"):
        call["hypotheses"] = module.infer(samples=call["samples"]).hypotheses
    settings = module.settings.value
    drafts = settings.drafts if settings.temperature > 0 else 1
    if call["hypotheses"] is None or drafts > 1 or settings.adapter != "turns":
        with _counting(drafts):
            written = module(**call)
        emit({}, words_of(answer_of(written)), as_json=False)
        return
    typed = Typed()
    click.echo(_known_words(call["hypotheses"]) + "\n\nText")
    with listening(typed.take):
        text = module(**call).text
    typed.end(text)


class Typed:
    """Puts a text on the screen as it comes, without the white space around it, which is no part of what is kept."""

    def __init__(self) -> None:
        self._shown, self._held = "", ""

    def take(self, piece: str) -> None:
        """One more piece."""
        whole = self._held + piece if self._shown else (self._held + piece).lstrip()
        text = whole.rstrip()
        click.echo(text, nl=False)
        self._shown, self._held = self._shown + text, whole[len(text) :]

    def end(self, text: str) -> None:
        """The text that is kept: what is not on the screen yet is put there."""
        again = not text.startswith(self._shown)
        click.echo(f"\n{text}" if again else text[len(self._shown) :])


@contextmanager
def _counting(drafts: int) -> Iterator[None]:
    """Progress over drafts, for as long as they are being written."""
    import dspy
    from dspy.utils.callback import BaseCallback

    with following(None) as watcher:

        class Drafts(BaseCallback):
            """Hears of calls of the model that was given to the program."""

            def __init__(self) -> None:
                self.begun: set[str] = set()
                self.done = 0

            def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                """One more begins."""
                # A remote engine calls through a model of its own, which is no further draft.
                if instance is dspy.settings.lm:
                    self.begun.add(call_id)

            def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
                """It is there, or has failed."""
                if call_id in self.begun:
                    self.done += 1
                    watcher.step("drafts", self.done, drafts, Cost())

        watcher.step("drafts", 0, drafts, Cost())
        with dspy.context(callbacks=[*dspy.settings.callbacks, Drafts()]):
            yield


def answer_of(written: Any) -> dict[str, Any]:
    """What was written, as plain data: the text kept, all drafts, and the hypotheses."""
    return {
        "schema": "hyperalign/text/1",
        "text": written.text,
        "drafts": written.drafts,
        "hypotheses": [asdict(h) for h in written.hypotheses],
    }


def words_of(answer: dict[str, Any]) -> str:
    """The same for a reader: the most notable hypotheses, and the text."""
    known = [Hypothesis(**row) for row in answer["hypotheses"]]
    return "\n".join([_known_words(known), "", "Text", answer["text"]])


def _known_words(hypotheses: Sequence[Hypothesis]) -> str:
    inferred = [h for h in hypotheses if h.kind == "inferred"]
    measured = [h for h in hypotheses if h.kind == "measured" and h.direction != "same"][:NOTABLE]
    return "\n".join(["Hypotheses", *(f"  {h.facet:14} {h.text}" for h in [*inferred, *measured])])
