"""One file out of a function of this package and all that it needs of it: definitions by name, nothing else.

What is taken is the text that runs here, so a script that is made of it does what was measured.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache

from hyperalign_dspy.errors import UsageError

_PACKAGE = "hyperalign_dspy"


def flatten(module: str, *names: str) -> str:
    """The imports and definitions that some names of a module need, as one module's text.

    Raises:
        UsageError: a name is not defined there, or two modules define different things by one name.
    """
    lacking = [name for name in names if name not in _source(module).defined]
    if lacking:
        raise UsageError(f"{module} defines no {lacking[0]}.")
    imports: set[str] = set()
    needed = _needed([(module, name) for name in names], imports)
    owners: dict[str, str] = {}
    for owner, name in needed:
        if owners.setdefault(name, owner) != owner:
            raise UsageError(f"{owner} and {owners[name]} both define {name}; one file cannot hold both.")
    modules = list(dict.fromkeys(owner for owner, _ in needed))
    texts = [text for owner in reversed(modules) for text in _in_order(owner, {n for o, n in needed if o == owner})]
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), line))
    return "\n".join(ordered) + "\n\n\n" + "\n\n\n".join(texts) + "\n"


def _needed(wanted: list[tuple[str, str]], imports: set[str]) -> list[tuple[str, str]]:
    """Every (module, name) that is reached; a module's own users come before it. Fills ``imports``."""
    found: list[tuple[str, str]] = []
    while wanted:
        owner, name = wanted.pop(0)
        source = _source(owner)
        if name in source.imported:
            other, line = source.imported[name]
            if other:
                wanted.append((other, name))
            else:
                imports.add(line)
        elif name in source.defined:
            # A module that is reached again is put further back: its text has to stand before all that use it.
            again = (owner, name) in found
            if again:
                found.remove((owner, name))
            found.append((owner, name))
            if not again:
                wanted += [(owner, used) for used in _used(source, source.defined[name]) if used != name]
    return found


class _Source:
    """A module's top-level definitions and imports. ``imported``: name -> (module of this package or "", line)."""

    def __init__(self, module: str) -> None:
        self.text = inspect.getsource(importlib.import_module(module))
        self.defined: dict[str, ast.stmt] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in ast.parse(self.text).body:
            self._take(node)

    def is_light(self, name: str) -> bool:
        """Whether a name is an import from elsewhere, or an alias: what an annotation may bring in."""
        if name in self.imported:
            owner = self.imported[name][0]
            return not owner or _source(owner).is_light(name)
        return isinstance(self.defined.get(name), ast.Assign | ast.AnnAssign)

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in ast.walk(node):
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                    self.defined[target.id] = node
        elif isinstance(node, ast.ImportFrom | ast.Import):
            source = str(node.module) if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                line = f"from {source} import {alias.name}" if source else ast.unparse(ast.Import([alias]))
                self.imported[alias.asname or alias.name] = (source if source.startswith(_PACKAGE) else "", line)


_source = cache(_Source)


def _used(source: _Source, node: ast.AST, annotation: bool = False) -> Iterator[str]:
    """The names that a definition reads. Annotations are not run: of theirs, imports and aliases are enough."""
    for field, value in ast.iter_fields(node):
        told = annotation or field in ("annotation", "returns")
        for child in value if isinstance(value, list) else [value]:
            read = isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load)
            if read and (not told or source.is_light(child.id)):
                yield child.id
            if isinstance(child, ast.AST):
                yield from _used(source, child, told)


def _in_order(module: str, names: set[str]) -> Iterator[str]:
    """The text of a module's definitions in the order in which they stand, with the comments right above them."""
    source = _source(module)
    lines = source.text.split("\n")
    nodes = {id(source.defined[name]): source.defined[name] for name in names}.values()
    for node in sorted(nodes, key=lambda n: n.lineno):
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
        while first and lines[first - 1].startswith("#"):
            first -= 1
        yield "\n".join(lines[first : node.end_lineno])
