"""Is a frozen program what it claims to be? Every check by name, so that a reader sees what was looked at."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hyperalign_dspy.artifacts.card import card, names
from hyperalign_dspy.artifacts.frozen import Frozen, check_messages, module_of, read_manifest, read_state
from hyperalign_dspy.errors import HyperalignError

_State = Literal["ok", "differs", "refused", "skipped"]


@dataclass(frozen=True)
class Check:
    """One check. *differs* is worth knowing and no reason to refuse; *skipped* says why nothing could be looked at."""

    name: str
    state: _State
    about: str
    fix: str = ""


def verify(folder: Path) -> tuple[list[Check], Frozen | None]:
    """Every check, and the program where none refused it. After a refusal nothing further is looked at.

    In order: the manifest's own hash, program.json's, signatures, messages, the card, versions. Line ends count for
    nothing: a file that another system wrote with its own is the same file.
    """
    checks: list[Check] = []
    found: dict[str, Any] = {}
    for name, look in _STEPS.items():
        try:
            checks.append(Check(name, "ok", look(folder, found)))
        except HyperalignError as error:
            about = f"{error.message} {_told_by_card(folder)}".strip() if name == "manifest.json" else error.message
            return [*checks, Check(name, "refused", about, error.fix)], None
    manifest = found["manifest"]
    checks.append(_card(folder, manifest))
    if checks[-1].state == "refused":
        return checks, None
    checks += _versions(manifest)
    return checks, Frozen(found["module"], manifest, folder)


def _told_by_card(folder: Path) -> str:
    """Where a changed manifest says something else than its card: the first line that tells what was changed."""
    try:
        said = (folder / "CARD.md").read_text(encoding="utf-8")
        made = card(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""
    pairs = zip(said.splitlines(), made.splitlines(), strict=False)
    return next(
        (f"CARD.md says {one!r}, and of this it would say {other!r}." for one, other in pairs if one != other), ""
    )


def _manifest(folder: Path, found: dict[str, Any]) -> str:
    found["manifest"] = read_manifest(folder)
    return f"its own hash agrees, line ends aside ({found['manifest']['manifest_sha256'][:12]})"


def _program(folder: Path, found: dict[str, Any]) -> str:
    found["state"] = read_state(folder, found["manifest"])
    return f"its hash agrees, line ends aside ({found['manifest']['program_sha256'][:12]})"


def _signatures(folder: Path, found: dict[str, Any]) -> str:
    manifest = found["manifest"]
    found["module"] = module_of(folder, manifest, found["state"])
    count = sum(map(len, manifest["fields"].values()))
    return f"{len(manifest['fields'])} predictors, {count} fields: names, order and types agree"


def _messages(folder: Path, found: dict[str, Any]) -> str:
    check_messages(found["module"], found["manifest"], folder)
    rendered = found["manifest"]["probe"]["messages"]
    size = sum(len(str(message["content"]).encode()) for turns in rendered.values() for message in turns)
    return f"rendered anew, {sum(map(len, rendered.values()))} messages of {size} bytes agree"


_STEPS: Mapping[str, Callable[[Path, dict[str, Any]], str]] = {
    "manifest.json": _manifest,
    "program.json": _program,
    "signatures": _signatures,
    "messages": _messages,
}


def _card(folder: Path, manifest: Mapping[str, Any]) -> Check:
    """A card is made from the manifest and holds nothing of its own: another one is of another version, or changed."""
    try:
        text = (folder / "CARD.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return Check("CARD.md", "differs", "it is not there, or cannot be read", "The manifest holds all that it says.")
    if text == card(manifest):
        return Check("CARD.md", "ok", "it says what the manifest says")
    if _installed("hyperalign-dspy") != manifest["versions"].get("hyperalign-dspy"):
        return Check("CARD.md", "differs", "it is not what this version makes of the manifest", "Trust the manifest.")
    about = f"it was changed. {_told_by_card(folder)}".strip()
    fix = f"Write it again: hyperalign card {names(manifest)}   (off the shelf: delete it, it holds nothing of its own)"
    return Check("CARD.md", "refused", about, fix)


def _versions(manifest: Mapping[str, Any]) -> Iterator[Check]:
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
