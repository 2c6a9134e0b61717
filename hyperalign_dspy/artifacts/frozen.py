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
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import FrozenMismatch, UnknownName
from hyperalign_dspy.files import dump, fresh_folder, replace_folder, write_text, writing
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.program.configuration import INSTRUCTION, adjust, new_module, settings_of
from hyperalign_dspy.program.fingerprint import probe_messages, signature_fields
from hyperalign_dspy.program.locate import frozen_folders
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
from hyperalign_dspy.registry import unknown

SCHEMA = "hyperalign/frozen/1"
# What loading, showing and verifying read of a manifest.
NEEDED = (
    *("program", "summary", "task", "module", "inputs", "frozen", "model", "configuration", "recipe", "identity"),
    *("fields", "program_sha256", "probe", "versions", "data", "measured", "cost", "embedded_texts"),
)


@dataclass(frozen=True)
class Provenance:
    """Where a frozen program comes from: what it was made of, by, and on, and what was measured. ``private``: it holds
    texts of the corpus' users, which are not public. ``candidates`` are those that a proposer added to the library and
    that the configuration holds: slot -> id, proposer, prompt model and content. ``lineage`` is the frozen program that
    it was ported from: its manifest's hash, its model and its run.
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
    # Loading needs no card, and what a card needs takes longer to import than a program to load.
    from hyperalign_dspy.artifacts.card import card

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
        FrozenMismatch: it cannot be read, has another schema, lacks a part, or was changed in any character; line
            ends count for nothing.
    """
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        manifest = json.loads(text)
    except (OSError, ValueError) as error:
        raise _tampered(folder / "manifest.json", f"It cannot be read: {error}.") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise FrozenMismatch(
            f"{folder} has the schema {schema!r}; this version reads {SCHEMA}.",
            fix="Restore manifest.json, or install the version of hyperalign-dspy that wrote it.",
        )
    written, found = manifest.get("manifest_sha256"), _self_hash(manifest)
    if written != found:
        raise _tampered(folder / "manifest.json", f"Its hash is {found[:12]}, and it says {str(written)[:12]}.")
    # A number written otherwise, or a name given twice, leaves the values as they are.
    if text != dump(manifest):
        raise _tampered(folder / "manifest.json", f"Line {_first_difference(text, dump(manifest))} is not as written.")
    lacking = [name for name in NEEDED if name not in manifest]
    if lacking:
        raise FrozenMismatch(
            f"{folder / 'manifest.json'} lacks {', '.join(lacking)}.", fix="Compile the program again."
        )
    return dict(manifest)


def load_frozen(place: Path | str) -> Frozen:
    """Verify and load the frozen program in a folder.

    Raises:
        FrozenMismatch: a file or signature differs from the manifest, with what differs and what to do.
    """
    folder = Path(place)
    manifest = read_manifest(folder)
    module = module_of(folder, manifest, read_state(folder, manifest))
    check_messages(module, manifest, folder)
    return Frozen(module, manifest, folder)


def read_state(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """DSPy's state as it was written.

    Raises:
        FrozenMismatch: it cannot be read, or is not what the manifest was made with.
    """
    path = folder / "program.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _tampered(path, f"It cannot be read: {error}.") from error
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != manifest["program_sha256"]:
        raise _tampered(path, f"Its hash is {found[:12]}; the manifest says {str(manifest['program_sha256'])[:12]}.")
    return dict(json.loads(text))


def module_of(folder: Path, manifest: Mapping[str, Any], state: dict[str, Any]) -> Any:
    """The module with its settings, instructions and demonstrations.

    Raises:
        FrozenMismatch: its signatures are others now, or it lacks a candidate that the manifest names.
    """
    module = new_module(manifest["module"])
    _check_fields(module, manifest, folder)
    adjust(module, settings_of(manifest["configuration"]))
    module.load_state(state)
    _check_candidates(module, manifest, folder)
    return module


def check_messages(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    """Render the probe anew.

    Raises:
        FrozenMismatch: a byte differs from what was rendered when it was frozen.
    """
    found, wanted = probe_messages(module), manifest["probe"]["messages"]
    if found != wanted:
        differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise FrozenMismatch(
            f"{folder} renders other messages than those that were measured: {', '.join(differing)}.",
            fix=f"It was made with {_versions_of(manifest)}; install these, or compile again.",
        )


def _versions_of(manifest: Mapping[str, Any]) -> str:
    """The versions that a frozen program was made with, in words."""
    return ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())


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
        lines = [
            f"  {name}: was {_fields_in_words(wanted.get(name))}, is {_fields_in_words(found.get(name))}"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        raise FrozenMismatch(
            f"{folder} was made for other signatures; these predictors differ:\n" + "\n".join(lines),
            fix="Compile the program again with this version of its module.",
        )


def _fields_in_words(fields: Any) -> str:
    return ", ".join(f"{role} {name} ({kind})" for role, name, kind in fields) if fields else "not there"


def _check_candidates(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    """The state holds what the proposers made, and not just their ids."""
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


def _first_difference(text: str, canonical: str) -> int:
    """The number of the first line in which two texts differ, from 1."""
    pairs = zip_longest(text.splitlines(), canonical.splitlines())
    return next((number for number, (one, other) in enumerate(pairs, 1) if one != other), 0)


def _tampered(path: Path, why: str) -> FrozenMismatch:
    return FrozenMismatch(
        f"{path} was changed after it was frozen. {why}",
        fix="Restore it from version control, or freeze again: hyperalign freeze RUN",
    )
