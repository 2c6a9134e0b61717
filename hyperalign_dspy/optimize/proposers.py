"""Proposers of candidates: they extend a program's library before the search, from validation users only.

A proposer is a class without arguments, named in a recipe by a short name of the registry or as ``module:Class``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dspy

from hyperalign_dspy.errors import ModelError
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.connect import concurrency_of
from hyperalign_dspy.lm.thread_pool import run_in_threads
from hyperalign_dspy.optimize.history import PastCandidate
from hyperalign_dspy.program.configuration import DEMOS, INSTRUCTION, Configuration
from hyperalign_dspy.program.infer import cut, speaking
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.outcomes import Outcome
from hyperalign_dspy.tasks.protocol import Arm, HasUser, Score, TaskData

# What a proposing prompt shows: a small model has no room for more.
EXAMPLES, FAILURES, EARLIER, EXCERPT = 3, 3, 5, 60


class ProposeInstruction(dspy.Signature):
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


class MendInstruction(dspy.Signature):
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
    """What a proposer goes by, for one predictor of the baseline.

    ``first`` are the baseline's outcomes on the first validation block and ``history`` the instructions of earlier
    runs. ``lm`` is the model that is compiled for, ``prompt_lm`` the one that proposes. ``phase`` is what the ledger
    calls this proposer's calls. A proposer looks at no sealed instance of ``task_data``.
    """

    program: ProgramSpec
    baseline: Configuration
    task_data: TaskData
    evaluator: Evaluator
    first: Sequence[Outcome]
    history: Sequence[PastCandidate]
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
    """Makes candidates for one part of a predictor.

    ``part`` is "instruction" or "demos". ``embeds``: what it makes holds users' texts. ``whole``: it wants the baseline
    on every validation instance, and not on the first block only. ``asks``: it calls the prompt model, once a
    candidate at most.
    """

    part: str
    embeds: bool
    whole: bool
    asks: bool

    def make(self, context: ProposalContext, count: int) -> Sequence[Any]:
        """Up to so many instructions or demo sets, as they come: they are cleaned afterwards. Where a model failed,
        there is its `ModelError`.
        """


class Grounded:
    """Instructions by a model that sees what the program is for, a few requests, and what was tried before."""

    part, embeds, whole, asks = INSTRUCTION, False, False, True

    def make(self, context: ProposalContext, count: int) -> Sequence[str | ModelError]:
        """One call an instruction."""
        instances = _one_a_user([outcome.instance for outcome in context.first])[:EXAMPLES]
        earlier = [t for t in context.history if t.slot == f"{context.predictor}.{self.part}"]
        best = sorted(earlier, key=lambda t: (-t.gain, t.text))[:EARLIER]
        given = {
            **context.step(),
            "asked": [_asked(context.task_data, instance) for instance in instances],
            "tried": [f"{t.text} (gain {t.gain:+.2f} over {t.users} users)" for t in best],
        }
        return _proposals(context, _ProposeText(ProposeInstruction), given, count)


class Reflective:
    """Instructions by a model that sees where the baseline went wrong on the first block, and what its texts lack."""

    part, embeds, whole, asks = INSTRUCTION, False, False, True

    def make(self, context: ProposalContext, count: int) -> Sequence[str | ModelError]:
        """One call an instruction."""
        scored = [outcome for outcome in context.first if outcome.score]
        worst = sorted(scored, key=lambda o: (goodness(o.score), o.instance.instance_id))
        users = {o.instance.user_id: o for o in reversed(worst)}
        shown = [o for o in worst if users[o.instance.user_id] is o][:FAILURES]
        given = {**context.step(), "failures": [_failure(context.task_data, outcome) for outcome in shown]}
        return _proposals(context, _ProposeText(MendInstruction), given, count)


def goodness(score: Score | None) -> float:
    """How good an outcome is among those of one program: what copies is worst, and harm counts the other way."""
    if score is None or score.copied:
        return float("-inf")
    return 1.0 - score.value if score.harm else score.value


def _failure(task_data: TaskData, outcome: Outcome) -> str:
    score = outcome.score
    assert score
    feedback = task_data.feedback(outcome.instance, outcome.text)
    parts = [
        f"Asked: {cut(task_data.asked(outcome.instance).request, EXCERPT)}",
        f"Written: {cut(outcome.text, EXCERPT)}",
        "It copies a text of the user's." if score.copied else "",
        feedback,
        f"Score: {score.value:.2f} ({task_data.unit}{', lower is better' if score.harm else ''})",
    ]
    return "\n".join(part for part in parts if part)


def _asked(task_data: TaskData, instance: HasUser) -> str:
    """A request with what its answers are held against: for authorship, what the user wrote."""
    asked = task_data.asked(instance)
    wanted = f"\nWanted: {cut(asked.reference, EXCERPT)}" if asked.reference else ""
    return cut(asked.request, EXCERPT) + wanted


def _one_a_user(instances: Sequence[HasUser]) -> list[HasUser]:
    return list({instance.user_id: instance for instance in reversed(instances)}.values())[::-1]


def _proposals(
    context: ProposalContext, proposer: _ProposeText, given: dict[str, Any], count: int
) -> list[str | ModelError]:
    """One call each, in flight together."""

    def one(number: int) -> str:
        seed = int(digest([context.seed, context.predictor, number])[:7], 16)
        return str(proposer(number=number, seed=seed, **given).proposal)

    def tick() -> None:
        context.evaluator.tick("propose")

    return run_in_threads(one, range(count), context.prompt_lm, concurrency_of(context.prompt_lm), tick)


# Demonstrations in a set: they share a small model's context with the samples.
_IN_A_SET = 2

_Demo = dict[str, Any]


class Bootstrap:
    """Demo sets of what the predictor took and gave where the baseline's answer scored best, each from another user.

    No two sets share a demonstration. Where the baseline never calls the predictor there are none.
    """

    part, embeds, whole, asks = DEMOS, True, True, False

    def make(self, context: ProposalContext, count: int) -> Sequence[list[_Demo]]:
        """The baseline on every validation instance; what it was already asked comes from the record."""
        demos = _demos(context, _best(context)[: count * _IN_A_SET])
        # Dealt in turn, so that every set has one of the very best.
        return [demos[place::count] for place in range(count) if demos[place::count]]


def _best(context: ProposalContext) -> list[Outcome]:
    """Each user's best outcome, the best users first; nothing that failed or copies."""
    arm = Arm("bootstrap", context.baseline)
    found = context.evaluator.outcomes(arm, context.task_data.validation, sealed=False, phase=context.phase)
    scored = sorted(
        (o for o in found if o.score and not o.score.copied),
        key=lambda o: (-goodness(o.score), o.instance.instance_id),
    )
    best: dict[str, Outcome] = {}
    for outcome in scored:
        best.setdefault(outcome.instance.user_id, outcome)
    return list(best.values())


def _demos(context: ProposalContext, outcomes: Sequence[Outcome]) -> list[_Demo]:
    """One demonstration an outcome, read off the calls behind it, which are all in the record."""
    module = context.task_data.module(context.baseline)
    held = dict(module.named_predictors())[context.predictor]

    def one(outcome: Outcome) -> _Demo:
        with dspy.context(trace=[]):
            context.task_data.answer(module, outcome.instance)
            trace = [(inputs, dict(said)) for by, inputs, said in dspy.settings.trace if by is held]
        # Of several drafts the one that was kept.
        kept = [t for t in trace if outcome.text in t[1].values()] or trace
        return _plain({**kept[0][0], **kept[0][1]}, held.signature) if kept else {}

    found = run_in_threads(one, outcomes, context.lm, concurrency_of(context.lm), lambda: None)
    return [demo for demo in found if not isinstance(demo, ModelError) and demo]


def _plain(values: _Demo, signature: Any) -> _Demo:
    """What a program file can hold: texts, numbers and lists of them, by the signature's fields."""
    fields = {**signature.input_fields, **signature.output_fields}
    return {name: values[name] for name in fields if values.get(name) and _is_plain(values[name])}


def _is_plain(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, (str, int, float)) for item in items)


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


class _ProposeText(dspy.Module):
    """Writes one instruction. Returns a prediction with ``proposal``, as the model gave it. One call.

    ``signature`` has the output ``proposal`` and a last input ``advice``; the other inputs are given by name.
    """

    def __init__(self, signature: type[dspy.Signature], adapter: str = "turns") -> None:
        super().__init__()
        self.adapter = adapter
        self.propose = dspy.Predict(signature)

    def forward(self, number: int, seed: int, **inputs: Any) -> dspy.Prediction:
        """The number-th proposal; another number gives another."""
        config = {"temperature": _TEMPERATURE, "max_tokens": _ROOM, "seed": seed}
        with speaking(self.adapter, 1):
            said = self.propose(**inputs, advice=_ADVICE[number % len(_ADVICE)], config=config)
        return dspy.Prediction(proposal=str(said.proposal))
