"""Demo sets bootstrapped by score: the baseline's best answers to validation users, as demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from hyperalign_dspy.errors import ModelError
from hyperalign_dspy.lm.connect import concurrency_of
from hyperalign_dspy.lm.thread_pool import together
from hyperalign_dspy.optimize.proposers import Scene, goodness
from hyperalign_dspy.program.configuration import DEMOS
from hyperalign_dspy.tasks.outcomes import Outcome
from hyperalign_dspy.tasks.protocol import Arm

# Demonstrations in a set: they share a small model's context with the samples.
IN_A_SET = 2

Demo = dict[str, Any]


class Bootstrap:
    """Demo sets of what the predictor took and gave where the baseline's answer scored best, each from another user.

    No two sets share a demonstration. Where the baseline never calls the predictor there are none.
    """

    part, embeds, whole, asks = DEMOS, True, True, False

    def make(self, scene: Scene, count: int) -> Sequence[list[Demo]]:
        """The baseline on every validation instance; what it was already asked comes from the record."""
        demos = _demos(scene, _best(scene)[: count * IN_A_SET])
        # Dealt in turn, so that every set has one of the very best.
        return [demos[place::count] for place in range(count) if demos[place::count]]


def _best(scene: Scene) -> list[Outcome]:
    """Each user's best outcome, the best users first; nothing that failed or copies."""
    arm = Arm("bootstrap", scene.baseline)
    found = scene.evaluator.outcomes(arm, scene.bench.validation, sealed=False, phase=scene.phase)
    scored = sorted(
        (o for o in found if o.score and not o.score.copied),
        key=lambda o: (-goodness(o.score), o.instance.instance_id),
    )
    best: dict[str, Outcome] = {}
    for outcome in scored:
        best.setdefault(outcome.instance.user_id, outcome)
    return list(best.values())


def _demos(scene: Scene, outcomes: Sequence[Outcome]) -> list[Demo]:
    """One demonstration an outcome, read off the calls behind it, which are all in the record."""
    module = scene.bench.module(scene.baseline)
    held = dict(module.named_predictors())[scene.predictor]

    def one(outcome: Outcome) -> Demo:
        with dspy.context(trace=[]):
            scene.bench.answer(module, outcome.instance)
            trace = [(inputs, dict(said)) for by, inputs, said in dspy.settings.trace if by is held]
        # Of several drafts the one that was kept.
        kept = [t for t in trace if outcome.text in t[1].values()] or trace
        return _plain({**kept[0][0], **kept[0][1]}, held.signature) if kept else {}

    found = together(one, outcomes, scene.lm, concurrency_of(scene.lm), lambda: None)
    return [demo for demo in found if not isinstance(demo, ModelError) and demo]


def _plain(values: Demo, signature: Any) -> Demo:
    """What a program file can hold: texts, numbers and lists of them, by the signature's fields."""
    fields = {**signature.input_fields, **signature.output_fields}
    return {name: values[name] for name in fields if values.get(name) and _is_plain(values[name])}


def _is_plain(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, (str, int, float)) for item in items)
