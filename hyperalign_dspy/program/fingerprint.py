"""What a module would send: its fields, and the messages that it renders for a fixed input. Calls no model."""

from __future__ import annotations

import json
from typing import Any

import dspy

from hyperalign_dspy.program.adapters import adapter


def signature_fields(module: Any) -> dict[str, list[list[str]]]:
    """predictor -> its fields in order, each as [role, name, type]."""
    return {name: _fields(predictor.signature) for name, predictor in module.named_predictors()}


def probe_messages(module: Any) -> dict[str, list[dict[str, Any]]]:
    """predictor -> the messages that it sends, with {{names}} where inputs go.

    A module that knows which of its predictors are called, and with what, says so by a method ``probe_inputs``; for
    others every predictor is shown with every input.
    """
    speaker = adapter(module.settings.value.adapter or "chat")
    predictors = dict(module.named_predictors())
    probe_inputs = (
        module.probe_inputs()
        if hasattr(module, "probe_inputs")
        else {name: _probe(predictor.signature) for name, predictor in predictors.items()}
    )
    return {
        name: _plain(speaker.format(predictors[name].signature, predictors[name].demos, inputs))
        for name, inputs in probe_inputs.items()
    }


def _fields(signature: Any) -> list[list[str]]:
    inputs = [["input", name, str(field.annotation)] for name, field in signature.input_fields.items()]
    return inputs + [["output", name, str(field.annotation)] for name, field in signature.output_fields.items()]


def _probe(signature: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in signature.input_fields.items():
        if field.annotation is dspy.History:
            values[name] = dspy.History(messages=[])
        elif str(field.annotation).startswith("list"):
            values[name] = [f"{{{{{name}}}}}"]
        else:
            values[name] = f"{{{{{name}}}}}"
    return values


def _plain(messages: Any) -> list[dict[str, Any]]:
    return list(json.loads(json.dumps(messages)))
