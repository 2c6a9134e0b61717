"""Frozen programs: written whole, read only after every hash agrees.

A folder holds program.json (DSPy's own state), manifest.json (what DSPy does not save, and what was measured) and
CARD.md. Loading imports no optimiser and no data set library.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import DataError, FrozenMismatch, UnknownName
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.shelf.card import card
from hyperalign_dspy.shelf.configure import INSTRUCTION, adjust, new_module, settings_of
from hyperalign_dspy.shelf.files import dump, fresh_folder, read_json, replace_folder, write_text, writing
from hyperalign_dspy.shelf.fingerprint import probe_messages, signature_fields
from hyperalign_dspy.shelf.locate import frozen_folders
from hyperalign_dspy.shelf.specs import ProgramSpec, RecipeSpec

SCHEMA = "hyperalign/frozen/1"


@dataclass(frozen=True)
class Provenance:
    """Where a frozen program comes from: what it was made of, by, and on, and what was measured. ``private``: it holds
    texts of the corpus' users, which are not public. ``candidates`` are those that a maker added to the library and
    that the configuration holds: slot -> id, maker, prompt model and content. ``lineage`` is the frozen program that it
    was ported from: its manifest's hash, its model and its run.
    """

    program: ProgramSpec
    recipe: RecipeSpec
    model: str
    model_facts: Mapping[str, str]
    configuration: Mapping[str, Any]
    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    confirmation: Mapping[str, Any]
    cost: Mapping[str, Any]
    frozen_is: str
    private: bool = False
    candidates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lineage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Frozen:
    """A verified frozen program: the live module and its manifest."""

    module: Any
    manifest: Mapping[str, Any]
    folder: Path


def freeze(module: Any, provenance: Provenance, folder: Path) -> Path:
    """Write a frozen program; an older one in that folder is replaced at once, never half.

    Raises:
        MissingFolder: the folder cannot be written.
    """
    state = dump(module.dump_state())
    manifest = _manifest(module, provenance, state)
    with writing(folder):
        fresh = fresh_folder(folder)
    fresh.chmod(0o755)
    write_text(fresh / "program.json", state)
    write_text(fresh / "manifest.json", dump(manifest))
    write_text(fresh / "CARD.md", card(json.loads(dump(manifest))))
    for path in fresh.iterdir():
        path.chmod(0o644)
    replace_folder(fresh, folder)
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """A manifest as it was written.

    Raises:
        FrozenMismatch: it cannot be read, has another schema, or was changed.
    """
    try:
        manifest = read_json(folder / "manifest.json")
    except DataError as error:
        raise _tampered(folder, "manifest.json") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise FrozenMismatch(f"{folder} has the schema {schema!r}; this version reads {SCHEMA}.")
    if _self_hash(manifest) != manifest.get("manifest_sha256"):
        raise _tampered(folder, "manifest.json")
    return dict(manifest)


def load_frozen(place: Path | str) -> Frozen:
    """Verify and load the frozen program in a folder.

    Raises:
        FrozenMismatch: a file or signature differs from the manifest, with what differs and what to do.
    """
    folder = Path(place)
    manifest = read_manifest(folder)
    try:
        state = (folder / "program.json").read_bytes()
    except OSError as error:
        raise FrozenMismatch(f"{folder} has no readable program.json: {error.strerror}.") from error
    if hashlib.sha256(state).hexdigest() != manifest["program_sha256"]:
        raise _tampered(folder, "program.json")
    module = new_module(manifest["module"])
    _check_fields(module, manifest, folder)
    adjust(module, settings_of(manifest["configuration"]))
    module.load_state(read_json(folder / "program.json"))
    _check_candidates(module, manifest, folder)
    if probe_messages(module) != manifest["probe"]["messages"]:
        raise FrozenMismatch(
            f"{folder} renders other messages than those that were measured.",
            fix=f"It was made with {manifest['versions']}; install these, or compile again.",
        )
    return Frozen(module, manifest, folder)


def find_frozen(program: str, slug: str) -> Path:
    """The folder of a frozen program.

    Raises:
        UnknownName: none for that model; the message lists those there are.
    """
    known = frozen_folders(program)
    if slug not in known:
        error: UnknownName = unknown(f"frozen program {program!r} for the model", slug, known)
        error.fix += f" Make one: hyperalign compile {program} --model MODEL"
        raise error
    return known[slug]


def _manifest(module: Any, provenance: Provenance, state: str) -> dict[str, Any]:
    program = provenance.program
    values = {
        "schema": SCHEMA,
        "program": program.name,
        "summary": program.summary,
        "task": program.task,
        "module": program.module,
        "inputs": list(program.inputs),
        "frozen": provenance.frozen_is,
        "model": {**provenance.model_facts, "name": public_name(provenance.model)},
        "configuration": dict(provenance.configuration),
        "recipe": asdict(provenance.recipe),
        # The source and a model's path tell of one machine; their digests say what they were.
        "identity": {k: v for k, v in provenance.identity.items() if k not in ("source", "model", "prompt_model")},
        "fields": signature_fields(module),
        "program_sha256": hashlib.sha256(state.encode()).hexdigest(),
        "probe": {"messages": probe_messages(module)},
        "versions": {name: importlib.metadata.version(name) for name in ("dspy", "hyperalign-dspy")},
        "data": dict(provenance.facts),
        "measured": dict(provenance.confirmation),
        "cost": dict(provenance.cost),
        "candidates": {slot: dict(made) for slot, made in provenance.candidates.items()},
        "embedded_texts": _embedded(module, provenance.private),
        "lineage": dict(provenance.lineage) if provenance.lineage else None,
    }
    return {**values, "manifest_sha256": _self_hash(values)}


def public_name(model: str) -> str:
    """A model's name without the path of anybody's machine."""
    return f"gguf:{Path(model).name}" if model.startswith("gguf:") else model


def _embedded(module: Any, private: bool) -> dict[str, Any]:
    """Whether a program holds anybody's text: demonstrations of a program.toml are written for it."""
    count = sum(len(predictor.demos) for predictor in module.predictors())
    return {"demonstrations": count, "private": private}


def _self_hash(manifest: Mapping[str, Any]) -> str:
    values = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(dump(values).encode()).hexdigest()


def _check_fields(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    found, wanted = signature_fields(module), manifest["fields"]
    if found != wanted:
        differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise FrozenMismatch(
            f"{folder} was made for other signatures; these predictors differ: {', '.join(differing)}.",
            fix="Compile the program again with this version of its module.",
        )


def _check_candidates(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    """The state holds what the makers made, and not just their ids."""
    predictors = dict(module.named_predictors())
    for slot, made in manifest.get("candidates", {}).items():
        predictor, _, part = slot.rpartition(".")
        held = content_of(predictors[predictor], part) if predictor in predictors else None
        if manifest["configuration"].get(slot) != made["id"] or held != made["content"]:
            raise FrozenMismatch(
                f"{folder} does not hold the candidate {made['id']!r} that its manifest names for {slot!r}.",
                fix="Compile the program again.",
            )


def content_of(predictor: Any, part: str) -> Any:
    """What a predictor holds, as a candidate is written."""
    return predictor.signature.instructions if part == INSTRUCTION else [dict(demo) for demo in predictor.demos]


def _tampered(folder: Path, name: str) -> FrozenMismatch:
    return FrozenMismatch(
        f"{folder / name} was changed after it was frozen.",
        fix="Restore it from version control, or freeze again: hyperalign freeze RUN",
    )
