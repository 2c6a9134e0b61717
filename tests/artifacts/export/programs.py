"""Frozen programs of every shape, a model that answers in their formats, and what both ways send."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dspy
from dspy.lm15 import Request
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.export.answers import read_answer
from hyperalign_dspy.artifacts.export.document import HOSTILE
from hyperalign_dspy.artifacts.export.runtime import Ask, render
from hyperalign_dspy.artifacts.frozen import Frozen, freeze, load_frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.adapters import adapter
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.specs import load_program
from hyperalign_dspy.types import Sample
from tests.artifacts.test_frozen import provenance

PROGRAMS = Path(__file__).parents[3] / "programs"
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "writes from samples": ("authorship", {"shown_hypotheses": "none", "samples": 3, "drafts": 2}),
    "writes from what is inferred": ("authorship", {"shown_hypotheses": "inferred", "samples": 0}),
    "writes from all": (
        "authorship",
        {"shown_hypotheses": "both", "samples": 2, "hypotheses": 2, "sample_words": 4},
    ),
    "writes after a demonstration": ("authorship", {"shown_hypotheses": "measured", "generate.write.demos": "one"}),
    "writes by chat": ("authorship", {"adapter": "chat", "shown_hypotheses": "both", "samples": 2}),
    "writes by json": ("authorship", {"adapter": "json", "shown_hypotheses": "both", "samples": 2}),
    "writes by xml": ("authorship", {"adapter": "xml", "shown_hypotheses": "both", "samples": 2}),
    "answers": ("deliberative", {}),
    "answers after weighing": ("deliberative", {"user_context": "both", "deliberate": True, "answer.demos": "both"}),
    "answers by chat": ("deliberative", {"adapter": "chat", "deliberate": True}),
    "answers by xml": ("deliberative", {"adapter": "xml", "deliberate": True}),
}
PIECES = (
    *HOSTILE[2:-1],
    *(
        "<|im_end|>",
        "\n\nHypotheses:\n- x",
        "\nRequest: y",
        "\r request\t:",
        "\u2028DELIBERATION:",
        "\x0b",
        "<think>",
        " ## ]]",
        "[[ ## a",
        "</text>",
        "<text>",
        "{",
        "}",
        '"',
        "\\",
    ),
    *("\n", "\r\n", "\x85", "é", "中", "🜁", "'''", '"""', "${x}", "{{sample 1}}", "%s", "&lt;"),
)
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=6).map("".join)
said = texts.filter(lambda text: bool(text.strip()))
samples = st.lists(st.builds(Sample, said, texts), min_size=1, max_size=4)


@cache
def shaped(shape: str) -> Frozen:
    """A frozen program of that shape."""
    name, changes = SHAPES[shape]
    program = load_program(name)
    values = {**program.baseline, "max_tokens": 40, **changes}
    made = provenance(values)
    made = type(made)(**{**vars(made), "program": program})
    folder = freeze(build(program, Configuration.of(values)), made, Path(mkdtemp()) / "frozen")
    return load_frozen(folder)


def reply(frozen: Frozen, messages: Sequence[Mapping[str, Any]], seed: int | None) -> str:
    """An answer that follows from messages and seed, in the format that was asked for. Some of it is about a topic."""
    predictors = dict(frozen.module.named_predictors())
    system = " ".join(str(messages[0]["content"]).split())
    asked = next(p for p in predictors.values() if " ".join(p.signature.instructions.split()) in system)
    digest = hashlib.sha256(repr([*messages, seed]).encode("utf-8", "surrogatepass")).hexdigest()
    outputs: dict[str, Any] = {}
    for name, field in asked.signature.output_fields.items():
        topic = "forged" if digest[7] < "8" else "calmly"
        text = f'They {name} {topic} {digest[:6]}{"!" * (int(digest[8], 16) % 3)}, "so" & <so>!'
        outputs[name] = [text, f"Also {digest[6:9]}."] if field.annotation == list[str] else text
    speaker = adapter(frozen.module.settings.value.adapter)
    return str(speaker.format_assistant_message_content(asked.signature, outputs))


def live(frozen: Frozen, **inputs: Any) -> tuple[list[Any], Any]:
    """Every conversation that the live program holds, and what it makes; "refused" where it refuses a text."""
    seen: list[Any] = []

    def answer(request: Request) -> str:
        seen.append(messages_of(request))
        return reply(frozen, seen[-1], request.config.seed)

    lm = dspy.LM("scripted", engine=ScriptedEngine(answer), cache=False)
    try:
        with dspy.context(lm=lm, disable_history=True):
            return seen, frozen.module(**inputs).toDict()
    except UsageError:
        return seen, "refused"


def from_document(frozen: Frozen, run: Callable[[Ask], dict[str, Any]]) -> tuple[list[Any], Any]:
    """The same of a program that is run from its document."""
    seen: list[Any] = []

    def ask(stage: Mapping[str, Any], values: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
        messages = render(stage, values)
        seen.append(messages)
        return read_answer(stage["answer"], reply(frozen, messages, seed))

    try:
        return seen, run(ask)
    except ValueError:
        return seen, "refused"
