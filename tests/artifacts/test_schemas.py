"""The published schemas are those of the typed specs, and every shipped file meets its own."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from hyperalign_dspy.artifacts.frozen import freeze, read_manifest
from hyperalign_dspy.cli.programs import init_command
from hyperalign_dspy.errors import FrozenMismatch, UsageError
from hyperalign_dspy.files import dump, write_json
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.specs import LEAST, ProgramSpec, RecipeSpec, load_program, load_recipe
from tests.artifacts.schemas import FOLDER, publish, schemas
from tests.artifacts.test_frozen import provenance
from tests.artifacts.test_verify import forged

ROOT = Path(__file__).parents[2]
KINDS = {
    "program.schema.json": "programs/*/program.toml",
    "recipe.schema.json": "optimizers/*.toml",
    "manifest.schema.json": "programs/*/frozen/*/manifest.json",
}


def published(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def errors(name: str, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(published(name)).iter_errors(value)]


def read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_published_is_what_the_specs_say(name: str, tmp_path: Path) -> None:
    Draft202012Validator.check_schema(published(name))
    publish(tmp_path)
    fresh = (tmp_path / name).read_text(encoding="utf-8")
    how = "python -m tests.artifacts.schemas"
    assert (FOLDER / name).read_text(encoding="utf-8") == fresh, f"out of date: {how}"
    assert sorted(path.name for path in FOLDER.glob("*.json")) == sorted(schemas())


@pytest.mark.parametrize("name", KINDS)
def test_every_shipped_file_meets_its_schema(name: str) -> None:
    paths = sorted(ROOT.glob(KINDS[name]))
    assert paths
    for path in paths:
        assert errors(name, read(path)) == [], path


@pytest.mark.parametrize(("name", "kind"), [("program.schema.json", ProgramSpec), ("recipe.schema.json", RecipeSpec)])
def test_a_schema_has_the_fields_of_its_spec_and_no_others(name: str, kind: Any) -> None:
    assert set(published(name)["properties"]) == {"schema", *(field.name for field in fields(kind))}


def test_what_init_writes_meets_its_schemas(tmp_path: Path) -> None:
    assert CliRunner().invoke(init_command, ["moods"], catch_exceptions=False).exit_code == 0
    (program,), (recipe,) = tmp_path.glob("programs/*/program.toml"), tmp_path.glob("optimizers/*.toml")
    assert errors("program.schema.json", read(program)) == []
    assert errors("recipe.schema.json", read(recipe)) == []


def test_what_is_frozen_meets_its_schema_and_so_with_a_lineage(tmp_path: Path) -> None:
    values = dict(load_program("authorship").baseline)
    folder = freeze(build(load_program("authorship"), Configuration.of(values)), provenance(values), tmp_path / "f")
    manifest = read(folder / "manifest.json")
    assert errors("manifest.schema.json", manifest) == []
    assert errors("manifest.schema.json", {**manifest, "lineage": None}) == []
    assert errors("manifest.schema.json", {**manifest, "lineage": {"run": "r", "model": "m"}}) == []
    for name in published("manifest.schema.json")["required"]:
        assert errors("manifest.schema.json", {k: v for k, v in manifest.items() if k != name})
        if name not in ("schema", "manifest_sha256"):
            forged(folder, **{name: None})
            with pytest.raises(FrozenMismatch, match=f"lacks {name}"):
                read_manifest(folder)
            write_json(folder / "manifest.json", manifest)
    assert errors("manifest.schema.json", {**manifest, "verdikt": "gain"})


@pytest.mark.parametrize(
    "change",
    [
        *({name: least - 1} for name, least in LEAST.items()),
        {"visits": "many"},
        {"visist": 3},
        {"slots": {"shown_hypotheses": []}},
        {"candidates": {"generate.write": {"grounded": 0}}},
        {"schema": 3},
    ],
    ids=str,
)
def test_a_schema_refuses_what_the_reader_refuses(change: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**read(ROOT / "optimizers" / "authorship-quick.toml"), **change}
    assert errors("recipe.schema.json", recipe)
    path = tmp_path / "changed.toml"
    path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in recipe.items()), encoding="utf-8")
    with pytest.raises(UsageError):
        load_recipe(str(path), "authorship")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dump(k).strip()} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return dump(value).strip()
