"""Frozen programs: written whole, read only after every hash agrees, and verified check by check.

A folder holds program.json (DSPy's own state), manifest.json (what DSPy does not save, and what was measured) and
CARD.md. Loading imports no optimiser and no data set library, and no card: what a card needs takes longer to import
than a program to load.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from hyperalign_dspy.errors import FrozenMismatch, HyperalignError, UnknownName
from hyperalign_dspy.files import dump, write_folder
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.program.configuration import (
    INSTRUCTION,
    adjust,
    new_module,
    probe_messages,
    settings_of,
    signature_fields,
)
from hyperalign_dspy.program.locate import frozen_folders
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
from hyperalign_dspy.registry import unknown

_SCHEMA = "hyperalign/frozen/2"
# What loading, showing and verifying read of a manifest.
_NEEDED = (
    *("program", "summary", "task", "module", "inputs", "frozen", "model", "configuration", "recipe", "identity"),
    *("fields", "program_sha256", "probe", "versions", "data", "measured", "cost", "embedded_texts"),
)


@dataclass(frozen=True)
class Provenance:
    """What a frozen program was made of, by, and on, and what was measured. ``private``: it holds texts of the corpus'
    users, which are not public. ``candidates`` are those of its configuration that a proposer made: slot -> id,
    proposer, prompt model and content. ``lineage`` is what it was ported from: manifest's hash, model and run.
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
    from hyperalign_dspy.artifacts.card import card

    state = dump(module.dump_state())
    manifest = _manifest(module, provenance, state)
    written = dump(manifest)
    write_folder(folder, {"program.json": state, "manifest.json": written, "CARD.md": card(json.loads(written))})
    for path in folder.iterdir():
        path.chmod(0o644)
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
    if schema != _SCHEMA:
        raise FrozenMismatch(
            f"{folder} has the schema {schema!r}; this version reads {_SCHEMA}.",
            fix="Make it anew: hyperalign compile PROGRAM --model MODEL; or install the version that wrote it.",
        )
    written, found = manifest.get("manifest_sha256"), _self_hash(manifest)
    if written != found:
        raise _tampered(folder / "manifest.json", f"Its hash is {found[:12]}, and it says {str(written)[:12]}.")
    # A number written otherwise, or a name given twice, leaves the values as they are.
    if text != dump(manifest):
        pairs = enumerate(zip_longest(text.splitlines(), dump(manifest).splitlines()), 1)
        line = next((number for number, (one, other) in pairs if one != other), 0)
        raise _tampered(folder / "manifest.json", f"Line {line} is not as written.")
    lacking = [name for name in _NEEDED if name not in manifest]
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
    module = _module_of(folder, manifest, _read_state(folder, manifest))
    _check_messages(module, manifest, folder)
    return Frozen(module, manifest, folder)


def _read_state(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
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


def _module_of(folder: Path, manifest: Mapping[str, Any], state: dict[str, Any]) -> Any:
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


def _check_messages(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    """Render the probe anew.

    Raises:
        FrozenMismatch: a byte differs from what was rendered when it was frozen.
    """
    found, wanted = probe_messages(module), manifest["probe"]["messages"]
    if found != wanted:
        versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
        raise FrozenMismatch(
            f"{folder} renders other messages than those that were measured: {', '.join(_differing(found, wanted))}.",
            fix=f"It was made with {versions}; install these, or compile again.",
        )


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
        "schema": _SCHEMA,
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
        # Whether it holds anybody's text: demonstrations of a program.toml are written for it.
        "embedded_texts": {
            "demonstrations": sum(len(predictor.demos) for predictor in module.predictors()),
            "private": provenance.private,
        },
        "lineage": dict(provenance.lineage) if provenance.lineage else None,
    }
    return {**values, "manifest_sha256": _self_hash(values)}


def _self_hash(manifest: Mapping[str, Any]) -> str:
    values = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(dump(values).encode()).hexdigest()


def _check_fields(module: Any, manifest: Mapping[str, Any], folder: Path) -> None:
    found, wanted = signature_fields(module), manifest["fields"]
    if found != wanted:
        lines = [
            f"  {name}: was {_fields_in_words(wanted.get(name))}, is {_fields_in_words(found.get(name))}"
            for name in _differing(found, wanted)
        ]
        raise FrozenMismatch(
            f"{folder} was made for other signatures; these predictors differ:\n" + "\n".join(lines),
            fix="Compile the program again with this version of its module.",
        )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


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


def _tampered(path: Path, why: str) -> FrozenMismatch:
    return FrozenMismatch(
        f"{path} was changed after it was frozen. {why}",
        fix="Restore it from version control, or freeze again: hyperalign runs freeze RUN",
    )


@dataclass(frozen=True)
class Check:
    """One check. *differs* is worth knowing and no reason to refuse; *skipped* says why nothing could be looked at."""

    name: str
    state: Literal["ok", "differs", "refused", "skipped"]
    about: str
    fix: str = ""


def verify(folder: Path) -> tuple[list[Check], Frozen | None]:
    """Every check, and the program where none refused it. After a refusal nothing further is looked at.

    In order: the manifest's own hash, program.json's, signatures, messages, the card, versions. Line ends count for
    nothing: a file that another system wrote with its own is the same file.
    """
    checks: list[Check] = []
    try:
        manifest = read_manifest(folder)
        digest = manifest["manifest_sha256"][:12]
        checks.append(Check("manifest.json", "ok", f"its own hash agrees, line ends aside ({digest})"))
        state = _read_state(folder, manifest)
        digest = manifest["program_sha256"][:12]
        checks.append(Check("program.json", "ok", f"its hash agrees, line ends aside ({digest})"))
        module = _module_of(folder, manifest, state)
        count = sum(map(len, manifest["fields"].values()))
        about = f"{len(manifest['fields'])} predictors, {count} fields: names, order and types agree"
        checks.append(Check("signatures", "ok", about))
        _check_messages(module, manifest, folder)
        checks.append(Check("messages", "ok", _rendered(manifest["probe"]["messages"])))
    except HyperalignError as error:
        name = ("manifest.json", "program.json", "signatures", "messages")[len(checks)]
        about = error.message if checks else f"{error.message} {_told_by_card(folder)}".strip()
        return [*checks, Check(name, "refused", about, error.fix)], None
    checks.append(_check_card(folder, manifest))
    if checks[-1].state == "refused":
        return checks, None
    return [*checks, *_check_versions(manifest)], Frozen(module, manifest, folder)


def _rendered(messages: Mapping[str, Any]) -> str:
    size = sum(len(str(message["content"]).encode()) for turns in messages.values() for message in turns)
    return f"rendered anew, {sum(map(len, messages.values()))} messages of {size} bytes agree"


def _told_by_card(folder: Path) -> str:
    """Where a changed manifest says something else than its card: the first line that tells what was changed."""
    from jinja2 import TemplateError

    from hyperalign_dspy.artifacts.card import card

    try:
        said = (folder / "CARD.md").read_text(encoding="utf-8")
        made = card(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, TemplateError):
        return ""
    pairs = zip(said.splitlines(), made.splitlines(), strict=False)
    return next(
        (f"CARD.md says {one!r}, and of this it would say {other!r}." for one, other in pairs if one != other), ""
    )


def _check_card(folder: Path, manifest: Mapping[str, Any]) -> Check:
    """A card is made from the manifest and holds nothing of its own: another one is of another version, or changed."""
    from hyperalign_dspy.artifacts.card import card, names

    try:
        text = (folder / "CARD.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return Check("CARD.md", "differs", "it is not there, or cannot be read", "The manifest holds all that it says.")
    if text == card(manifest):
        return Check("CARD.md", "ok", "it says what the manifest says")
    if _installed("hyperalign-dspy") != manifest["versions"].get("hyperalign-dspy"):
        return Check("CARD.md", "differs", "it is not what this version makes of the manifest", "Trust the manifest.")
    about = f"it was changed. {_told_by_card(folder)}".strip()
    fix = f"Delete it, it holds nothing of its own; what the manifest says: hyperalign show {names(manifest)}"
    return Check("CARD.md", "refused", about, fix)


def _check_versions(manifest: Mapping[str, Any]) -> Iterator[Check]:
    """What is installed, beside what the program was measured with."""
    measured = dict(manifest["versions"])
    runtime, _, version = str(manifest["model"].get("runtime", "")).partition(" ")
    if version:
        measured[runtime] = version
    for name, was in measured.items():
        installed = _installed(name)
        if installed == was:
            yield Check(name, "ok", was)
        else:
            about = f"measured with {was}, here is {installed or 'none'}"
            yield Check(name, "differs", about, f"The messages agree all the same; for the same texts: {name}=={was}")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
