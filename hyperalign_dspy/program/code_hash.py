"""The code that is one's own, and this package's. Whatever else is installed is neither."""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hyperalign_dspy import registry
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
from hyperalign_dspy.runs import CODE

_INSTALLED = {"site-packages", "dist-packages"}
# Packages that are nobody's own, wherever they lie.
_KNOWN = {*sys.stdlib_module_names, __name__.partition(".")[0]}
# What a text is rendered, read and scored by, beside this package.
_RELIED_ON = ("dspy", "numpy", "scipy", "scikit-learn")
_OURS = f"{__name__.partition('.')[0]}."


def _code_of(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """File -> SHA-256, for the files that hold these objects (each a kind, such as "metric", and its name, which is
    ``module:object`` for whatever is one's own), and for those that they import of the same project folder.

    Raises:
        UnknownName: there is no such object.
    """
    found: dict[str, str] = {}
    for kind, path in named:
        name, _, attribute = path.partition(":")
        if not attribute or name.partition(".")[0] in _KNOWN:
            continue
        registry.resolve(kind, path, {})
        file = getattr(sys.modules[name], "__file__", None)
        if file and not _INSTALLED & set(Path(file).parts):
            depth = name.count(".") + (Path(file).name == "__init__.py")
            _collect(name, Path(file).parents[depth], found)
    return found


def own_code(program: ProgramSpec, recipe: RecipeSpec | None = None, optimizer: str = "") -> dict[str, dict[str, str]]:
    """What a run's plan says of code of one's own: the program's, a recipe's or an optimiser's; empty without any."""
    adapters = {program.baseline.get("adapter", ""), *(recipe.slots.get("adapter", ()) if recipe else ())}
    named = [("task", program.task), ("module", program.module), ("metric", program.metric), ("optimizer", optimizer)]
    named += [("adapter", name) for name in sorted(map(str, adapters))]
    if recipe:
        proposers = {proposer for made in recipe.candidates.values() for proposer in made}
        named += [("sampler", recipe.sampler), *(("proposer", name) for name in sorted(proposers))]
    code = _code_of(named)
    return {CODE: code} if code else {}


def is_ours(name: str) -> bool:
    """Whether a name stands for an object of this package: a short name, or ``module:object`` of its own."""
    return ":" not in name or name.startswith(_OURS)


@cache
def package_digest() -> str:
    """SHA-256 over the files of this package, and the versions of what it renders, reads and scores texts by."""
    versions = [platform.python_version(), *map(version, _RELIED_ON)]
    return hashlib.sha256("".join([*versions, _files_digest(Path(__file__).parents[1])]).encode()).hexdigest()


def _files_digest(root: Path) -> str:
    """SHA-256 over the names and contents of the Python files in a folder."""
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        for part in (path.relative_to(root).as_posix().encode(), path.read_bytes()):
            hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.hexdigest()


def _collect(name: str, root: Path, found: dict[str, str]) -> None:
    """Add a module's file, those of the packages that it lies in, and those of all that these import."""
    parts = name.split(".")
    if parts[0] in _KNOWN:
        return
    for length in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:length])
        for path, package in ((place.with_suffix(".py"), parts[: length - 1]), (place / "__init__.py", parts[:length])):
            known = path.relative_to(root).as_posix()
            if known in found or not path.is_file():
                continue
            source = path.read_bytes()
            found[known] = hashlib.sha256(source).hexdigest()
            for imported in _imports(source, package):
                _collect(imported, root, found)


def _imports(source: bytes, package: list[str]) -> Iterator[str]:
    """The modules that a file of a package may import, and whatever it takes from them: that may be a module too."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Whoever imports it sees to that; nothing more can be told of it.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
