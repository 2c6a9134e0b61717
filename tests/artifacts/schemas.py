"""JSON Schemas (draft 2020-12) of the files that people write or read: program.toml, recipes, manifest.json.

The schemas in ``hyperalign_dspy/schemas/`` are made from the typed specs by ``python -m tests.artifacts.schemas``; a
test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hyperalign_dspy.files import write_json
from hyperalign_dspy.program.specs import LEAST, MOST_MADE, SPEC_SCHEMA, ProgramSpec, RecipeSpec
from hyperalign_dspy.tasks.protocol import TASKS

FOLDER = Path(__file__).parents[2] / "hyperalign_dspy" / "schemas"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": ["number", "null"]}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_VALUE = {"type": ["string", "number", "boolean"]}
_MODULE = {"type": "string", "pattern": "^[A-Za-z_][\\w.]*:[A-Za-z_]\\w*$"}


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> schema."""
    return {
        "program.schema.json": _program(),
        "recipe.schema.json": _recipe(),
        "manifest.schema.json": _manifest(),
    }


def publish(folder: Path = FOLDER) -> None:
    """Write every schema. Raises: MissingFolder."""
    for name, schema in schemas().items():
        write_json(folder / name, schema)


def _spec(kind: Any, title: str) -> dict[str, Any]:
    """The schema of a typed spec as a TOML file, which says its own version first."""
    made = TypeAdapter(kind).json_schema()
    for part in made["properties"].values():
        part.pop("title", None)
        part.pop("default", None)
    return {
        "$schema": _DRAFT,
        "title": title,
        "description": " ".join(str(kind.__doc__).split()),
        "type": "object",
        "properties": {"schema": {"const": SPEC_SCHEMA}, **made["properties"]},
        "required": ["schema", *made["required"]],
        "additionalProperties": False,
    }


def _program() -> dict[str, Any]:
    made = _spec(ProgramSpec, "program.toml")
    properties = made["properties"]
    properties["task"] = {"anyOf": [{"enum": sorted(TASKS)}, _MODULE]}
    properties["module"] = _MODULE
    properties["metric"] = _MODULE
    return made


def _recipe() -> dict[str, Any]:
    made = _spec(RecipeSpec, "A recipe: optimizers/NAME.toml")
    properties = made["properties"]
    for name, least in LEAST.items():
        properties[name] = {"type": "integer", "minimum": least}
    properties["slots"] = _by_name({"type": "array", "items": _VALUE, "minItems": 1})
    properties["candidates"] = _by_name(_by_name({"type": "integer", "minimum": 1, "maximum": MOST_MADE}))
    return made


def _manifest() -> dict[str, Any]:
    field = {"type": "array", "prefixItems": [{"enum": ["input", "output"]}, _TEXT, _TEXT], "items": False}
    message = _object(role={"enum": ["system", "user", "assistant"]}, content={"type": ["string", "array"]})
    slots = {name: part for name, part in _recipe()["properties"].items() if name != "schema"}
    recipe = {"type": "object", "properties": slots, "additionalProperties": False}
    properties = {
        "schema": {"const": "hyperalign/frozen/2"},
        **dict.fromkeys(("program", "summary", "task"), _TEXT),
        "module": _MODULE,
        "inputs": {"type": "array", "items": _TEXT},
        "frozen": {"enum": ["baseline", "compiled"]},
        "model": {"type": "object", "properties": {"name": _TEXT}, "required": ["name"], "additionalProperties": _TEXT},
        "configuration": _by_name(_VALUE),
        "recipe": recipe,
        "identity": {"type": "object", "properties": {"seed": {"type": "integer"}}, "required": ["seed"]},
        "fields": _by_name({"type": "array", "items": field}),
        "program_sha256": _SHA256,
        "probe": _object(messages=_by_name({"type": "array", "items": message})),
        "versions": _by_name(_TEXT),
        "data": {"type": "object", "properties": {"corpus": _TEXT, "users": _by_name(_COUNT)}, "required": ["corpus"]},
        "measured": _measured(),
        "cost": _cost(),
        "candidates": _by_name({"type": "object", "required": ["id", "content"]}),
        "embedded_texts": _object(demonstrations=_COUNT, private={"type": "boolean"}),
        "lineage": {"type": ["object", "null"], "properties": {"run": _TEXT, "model": _TEXT}},
        "manifest_sha256": _SHA256,
    }
    return {
        "$schema": _DRAFT,
        "title": "manifest.json of a frozen program",
        "description": "What DSPy's own state does not hold: where a program comes from, and what was measured.",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in ("candidates", "lineage")],
        "additionalProperties": False,
    }


def _measured() -> dict[str, Any]:
    estimate = _object(mean=_NUMBER, low=_NUMBER, high=_NUMBER, n_users=_COUNT, n_instances=_COUNT)
    row = {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "note": _TEXT,
            "drafts": _COUNT,
            **dict.fromkeys(("value", "gap", "wins"), estimate),
            "copied": _NUMBER,
        },
        "required": ["name", "drafts", "value", "gap", "wins", "copied"],
    }
    rows = {"type": "array", "items": row, "minItems": 1}
    return {"type": "object", "properties": {"verdict": _TEXT, "rows": rows}, "required": ["verdict", "rows"]}


def _cost() -> dict[str, Any]:
    tokens = dict.fromkeys(("calls", "input_tokens", "output_tokens", "recorded_calls"), _COUNT)
    properties = {**tokens, "seconds": _NUMBER, "money": _NUMBER}
    return {"type": "object", "properties": properties, "required": ["calls", "input_tokens", "output_tokens"]}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _by_name(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": dict(value)}


if __name__ == "__main__":
    publish()
