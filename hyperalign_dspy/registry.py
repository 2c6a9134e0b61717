"""Names that stand for objects, resolved on use.

A strategy is chosen by a short name ("turns", "tpe") or, by anyone, as ``module:object``. Nothing is imported before
it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import UnknownName


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that nothing goes by, with the nearest known ones."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
    return UnknownName(f"There is no {kind} called {name!r}.", fix=fix)


def resolve(kind: str, name: str, known: Mapping[str, str]) -> Any:
    """Return the object that ``name`` stands for: one of ``known``, or any ``module:object``.

    For the latter the current folder counts as a place to import from, whatever command was started.

    Raises:
        UnknownName: no such short name, module or object.
    """
    path = known.get(name, name)
    if ":" not in path:
        raise unknown(kind, name, known)
    if name not in known and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise
        raise UnknownName(
            f"The {kind} {name!r} names the module {module_name!r}, which cannot be found.",
            fix="Run the command from the folder that holds it, or install it.",
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise unknown(kind, attribute, [n for n in vars(module) if not n.startswith("_")]) from error
