"""Proposers of candidates: they extend a program's library before the search, from validation users only.

A proposer is a class without arguments, named in a recipe by a short name of the registry or as ``module:Class``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import dspy

from hyperalign_dspy.errors import ModelError
from hyperalign_dspy.files import digest, read_json, write_json
from hyperalign_dspy.lm.connect import concurrency_of
from hyperalign_dspy.lm.thread_pool import run_in_threads
from hyperalign_dspy.program.configuration import DEMOS, INSTRUCTION, Configuration
from hyperalign_dspy.program.infer import cut, speaking
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.runs import Run, all_runs
from hyperalign_dspy.tasks.evaluate import Evaluator, Outcome
from hyperalign_dspy.tasks.protocol import Arm, TaskData, one_a_user

MADE = "candidates.json"
_HISTORY = "history.json"
# With another split, a validation user of an earlier run may be sealed in this one.
_SAME = ("program_digest", "model", "model_digest", "data_digest")
# What a proposing prompt shows: a small model has no room for more. In words, an excerpt.
_EXAMPLES, _FAILURES, _EARLIER, _EXCERPT = 3, 3, 5, 60
# Room for an instruction, in tokens: what does not fit is longer than an instruction may be.
_ROOM = 120
# Above the greedy temperature, since several proposals are wanted and not one.
_TEMPERATURE = 0.8
# Each proposal starts from another of these: the same prompt gives the same few ideas again.
_ADVICE = (
    "Write the new instruction. Make it short and plain.",
    "Write the new instruction. Say what to look at in the input, and what to do with it.",
    "Write the new instruction. Say what to keep and what to avoid.",
    "Write the new instruction. Speak to the model as to somebody who does this for a living.",
    "Write the new instruction. Name the two things that matter most.",
)
# Demonstrations in a set: they share a small model's context with the samples.
_IN_A_SET = 2
_Demo = dict[str, Any]


@dataclass(frozen=True)
class _PastCandidate:
    """An instruction in a configuration that an earlier run ranked, and that one's mean paired difference."""

    slot: str
    text: str
    gain: float
    users: int


def past_candidates(run: Run, program: ProgramSpec) -> list[_PastCandidate]:
    """What earlier runs of the same program, model, corpus and split tried; a run that goes on sees the same."""
    path = run.path(_HISTORY)
    if not path.is_file():
        mine = run.plan
        others = (r for r in all_runs() if r.run_id != run.run_id)
        alike = [other for other in others if all(other.plan.get(key) == mine.get(key) for key in _SAME)]
        best: dict[tuple[str, str], _PastCandidate] = {}
        for found in (t for other in alike for t in _tried(other, program)):
            key = (found.slot, found.text)
            if key not in best or found.gain > best[key].gain:
                best[key] = found
        write_json(path, [asdict(t) for t in sorted(best.values(), key=lambda t: (t.slot, -t.gain, t.text))])
    return [_PastCandidate(**row) for row in read_json(path)]


def _tried(run: Run, program: ProgramSpec) -> Iterator[_PastCandidate]:
    """The instructions that a run ranked, of the program's own and those that were made in that run."""
    path = run.path(MADE)
    made: Mapping[str, Any] = read_json(path)["candidates"] if path.is_file() else {}
    for standing in (run.result or {}).get("top", ()):
        for slot, choice in standing["changes"].items():
            predictor, _, part = slot.rpartition(".")
            candidate = made.get(slot, {}).get(choice, {})
            text = candidate.get("content") or program.instructions.get(predictor, {}).get(choice)
            if part == INSTRUCTION and text:
                yield _PastCandidate(
                    slot, text, round(standing["estimate"]["mean"], 4), standing["estimate"]["n_users"]
                )


class _ProposeInstruction(dspy.Signature):
    """You write instructions for a language model. Write a better instruction for one step of a program. It serves all
    users alike, so it names no person and no topic. At most three short sentences. Say the instruction only.
    """

    program: str = dspy.InputField(desc="what the program is for")
    step: str = dspy.InputField(desc="what goes into the step, and what comes out")
    instruction: str = dspy.InputField(desc="the instruction so far")
    asked: list[str] = dspy.InputField(desc="what a few users ask of the program")
    tried: list[str] = dspy.InputField(desc="instructions that were tried, and the gain over the one so far")
    advice: str = dspy.InputField(desc="how to go about it")
    proposal: str = dspy.OutputField(desc="the new instruction")


class _MendInstruction(dspy.Signature):
    """You write instructions for a language model. One step of a program went wrong as shown. Write an instruction that
    mends it. It serves all users alike, so it names no person, no topic and no number of one user's. At most three
    short sentences. Say the instruction only.
    """

    program: str = dspy.InputField(desc="what the program is for")
    step: str = dspy.InputField(desc="what goes into the step, and what comes out")
    instruction: str = dspy.InputField(desc="the instruction so far")
    failures: list[str] = dspy.InputField(desc="what was asked, what was written, and what that lacks")
    advice: str = dspy.InputField(desc="how to go about it")
    proposal: str = dspy.OutputField(desc="the new instruction")


@dataclass(frozen=True)
class ProposalContext:
    """What a proposer goes by, for one predictor of the baseline; it looks at no sealed instance of ``task_data``.

    ``first`` are the baseline's outcomes on the first validation block. ``lm`` is compiled for, ``prompt_lm`` proposes.
    """

    program: ProgramSpec
    baseline: Configuration
    task_data: TaskData
    evaluator: Evaluator
    first: Sequence[Outcome]
    history: Sequence[_PastCandidate]
    lm: Any
    prompt_lm: Any
    seed: int
    predictor: str = ""
    phase: str = ""

    def held(self) -> Any:
        """The baseline's predictor."""
        return dict(self.task_data.module(self.baseline).named_predictors())[self.predictor]

    def step(self) -> dict[str, Any]:
        """What every proposing prompt says: the program, the step's fields and the instruction so far."""
        signature = self.held().signature
        sides = [
            ", ".join(f"{name} ({(field.json_schema_extra or {}).get('desc') or name})" for name, field in part.items())
            for part in (signature.input_fields, signature.output_fields)
        ]
        return {
            "program": self.program.summary,
            "step": f"{self.predictor}: from {sides[0]} to {sides[1]}",
            "instruction": " ".join(str(signature.instructions).split()),
        }


class Proposer(Protocol):
    """Makes candidates for one part of a predictor, "instruction" or "demos".

    ``embeds``: what it makes holds users' texts. ``whole``: it wants the baseline on every validation instance, not on
    one block. ``asks``: it calls the prompt model, once a candidate at most.
    """

    part: str
    embeds: bool
    whole: bool
    asks: bool

    def make(self, context: ProposalContext, count: int) -> Sequence[Any]:
        """Up to so many instructions or demo sets, as they come; a `ModelError` where a model failed."""


class _Grounded:
    """Instructions by a model that sees what the program is for, a few requests, and what was tried before."""

    part, embeds, whole, asks = INSTRUCTION, False, False, True

    def make(self, context: ProposalContext, count: int) -> Sequence[str | ModelError]:
        earlier = [t for t in context.history if t.slot == f"{context.predictor}.{self.part}"]
        best = sorted(earlier, key=lambda t: (-t.gain, t.text))[:_EARLIER]
        shown = []
        for instance in one_a_user([outcome.instance for outcome in context.first])[:_EXAMPLES]:
            asked = context.task_data.asked(instance)
            wanted = f"\nWanted: {cut(asked.reference, _EXCERPT)}" if asked.reference else ""
            shown.append(cut(asked.request, _EXCERPT) + wanted)
        tried = [f"{t.text} (gain {t.gain:+.2f} over {t.users} users)" for t in best]
        return _proposals(context, _ProposeInstruction, {**context.step(), "asked": shown, "tried": tried}, count)


class _Reflective:
    """Instructions by a model that sees where the baseline went wrong on the first block, and what its texts lack."""

    part, embeds, whole, asks = INSTRUCTION, False, False, True

    def make(self, context: ProposalContext, count: int) -> Sequence[str | ModelError]:
        worst = _one_a_user((outcome for outcome in context.first if outcome.score), 1)[:_FAILURES]
        failures = [_failure(context.task_data, outcome) for outcome in worst]
        return _proposals(context, _MendInstruction, {**context.step(), "failures": failures}, count)


def _failure(task_data: TaskData, outcome: Outcome) -> str:
    score = outcome.score
    assert score
    parts = [
        f"Asked: {cut(task_data.asked(outcome.instance).request, _EXCERPT)}",
        f"Written: {cut(outcome.text, _EXCERPT)}",
        "It copies a text of the user's." if score.copied else "",
        task_data.feedback(outcome.instance, outcome.text),
        f"Score: {score.value:.2f} ({task_data.unit}{', lower is better' if score.harm else ''})",
    ]
    return "\n".join(part for part in parts if part)


def _one_a_user(outcomes: Iterable[Outcome], sign: int) -> list[Outcome]:
    """Each user's worst outcome, the worst users first; with sign -1 the best, the best first."""

    def rank(outcome: Outcome) -> tuple[float, str]:
        return sign * outcome.score.goodness if outcome.score else 0.0, outcome.instance.instance_id

    found: dict[str, Outcome] = {}
    for outcome in sorted(outcomes, key=rank):
        found.setdefault(outcome.instance.user_id, outcome)
    return list(found.values())


def _proposals(
    context: ProposalContext, signature: type[dspy.Signature], given: Mapping[str, Any], count: int
) -> list[str | ModelError]:
    """Instructions as a model gives them, one call each; the signature has ``proposal`` and the input ``advice``."""
    propose = dspy.Predict(signature)

    def one(number: int) -> str:
        seed = int(digest([context.seed, context.predictor, number])[:7], 16)
        config = {"temperature": _TEMPERATURE, "max_tokens": _ROOM, "seed": seed}
        with speaking("turns", 1):
            said = propose(**given, advice=_ADVICE[number % len(_ADVICE)], config=config)
        return str(said.proposal)

    lm = context.prompt_lm
    return run_in_threads(one, range(count), lm, concurrency_of(lm), lambda: context.evaluator.tick("propose"))


class _Bootstrap:
    """Demo sets of what the predictor took and gave where the baseline scored best, no two from one user."""

    part, embeds, whole, asks = DEMOS, True, True, False

    def make(self, context: ProposalContext, count: int) -> Sequence[list[_Demo]]:
        """The baseline on every validation instance; what it was already asked comes from the record."""
        arm = Arm("bootstrap", context.baseline)
        found = context.evaluator.outcomes(arm, context.task_data.validation, sealed=False, phase=context.phase)
        # Nothing that failed or copies.
        best = _one_a_user((o for o in found if o.score and not o.score.copied), -1)
        demos = _demos(context, best[: count * _IN_A_SET])
        # Dealt in turn, so that every set has one of the very best.
        return [demos[place::count] for place in range(count) if demos[place::count]]


def _demos(context: ProposalContext, outcomes: Sequence[Outcome]) -> list[_Demo]:
    """One demonstration an outcome, read off the calls behind it, which are all in the record."""
    module = context.task_data.module(context.baseline)
    held = dict(module.named_predictors())[context.predictor]
    fields = [*held.signature.input_fields, *held.signature.output_fields]

    def one(outcome: Outcome) -> _Demo:
        with dspy.context(trace=[]):
            context.task_data.answer(module, outcome.instance)
            trace = [(inputs, dict(said)) for by, inputs, said in dspy.settings.trace if by is held]
        # Of several drafts the one that was kept.
        kept = [t for t in trace if outcome.text in t[1].values()] or trace
        values = {**kept[0][0], **kept[0][1]} if kept else {}
        return {name: values[name] for name in fields if values.get(name) and _is_plain(values[name])}

    found = run_in_threads(one, outcomes, context.lm, concurrency_of(context.lm), lambda: None)
    return [demo for demo in found if not isinstance(demo, ModelError) and demo]


def _is_plain(value: Any) -> bool:
    """Whether a program file can hold it: a text, a number or a list of them."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, (str, int, float)) for item in items)
