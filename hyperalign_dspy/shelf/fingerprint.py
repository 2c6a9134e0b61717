"""What a module would send: its fields, and the messages that it renders for a fixed input. Calls no model."""

from __future__ import annotations

import json
from typing import Any

import dspy
from dspy.adapters.types import History

from hyperalign_dspy.adapters import adapter


def signature_fields(module: Any) -> dict[str, list[list[str]]]:
    """predictor -> its fields in order, each as [role, name, type]."""
    return {name: _fields(predictor.signature) for name, predictor in module.named_predictors()}


def probe_messages(module: Any) -> dict[str, list[dict[str, Any]]]:
    """predictor -> the messages for a probe whose every input field holds its own name."""
    settings = getattr(getattr(module, "settings", None), "value", None)
    speaker = adapter(getattr(settings, "adapter", "") or "turns")
    return {
        name: _plain(speaker.format(predictor.signature, predictor.demos, _probe(predictor.signature)))
        for name, predictor in module.named_predictors()
    }


def _fields(signature: Any) -> list[list[str]]:
    inputs = [["input", name, str(field.annotation)] for name, field in signature.input_fields.items()]
    return inputs + [["output", name, str(field.annotation)] for name, field in signature.output_fields.items()]


def _probe(signature: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in signature.input_fields.items():
        if field.annotation is History:
            values[name] = dspy.History(messages=[{"request": "{{request}}", "text": "{{text}}"}])
        elif str(field.annotation).startswith("list"):
            values[name] = [f"{{{{{name}}}}}"]
        else:
            values[name] = f"{{{{{name}}}}}"
    return values


def _plain(messages: Any) -> list[dict[str, Any]]:
    return list(json.loads(json.dumps(messages)))
