"""The code that a program of one's own is made of. What is installed goes by its version, and is none of it."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from hyperalign_dspy import registry
from hyperalign_dspy.shelf.specs import ProgramSpec

_INSTALLED = {"site-packages", "dist-packages"}
# Packages that are nobody's own, wherever they lie.
_KNOWN = {*sys.stdlib_module_names, __name__.partition(".")[0]}


def code_of(program: ProgramSpec) -> dict[str, str]:
    """File -> SHA-256, for the files of a program's own module and metric, and for those that they import of the same
    project folder; empty for a program that brings no code.

    Raises:
        UnknownName: no such module or metric.
    """
    found: dict[str, str] = {}
    for kind, path in (("module", program.module), ("metric", program.metric)):
        name = path.partition(":")[0]
        if not name or name.partition(".")[0] in _KNOWN:
            continue
        registry.resolve(kind, path, {})
        file = getattr(sys.modules[name], "__file__", None)
        if file and not _INSTALLED & set(Path(file).parts):
            depth = name.count(".") + (Path(file).name == "__init__.py")
            _collect(name, Path(file).parents[depth], found)
    return found


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
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
