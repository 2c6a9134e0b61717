"""Tune, prove and ship prompts that make a language model write as one person writes.

Public names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.modules import Generate, HyPerAlign, Infer, Settings
    from hyperalign_dspy.search.compiler import Compiler
    from hyperalign_dspy.shelf.frozen import find_frozen, load_frozen
    from hyperalign_dspy.types import Hypothesis, Sample, User

__version__ = version("hyperalign-dspy")
__all__ = [
    "Compiler",
    "Generate",
    "HyPerAlign",
    "Hypothesis",
    "Infer",
    "Sample",
    "Settings",
    "User",
    "__version__",
    "connect",
    "find_frozen",
    "load_frozen",
]
_HOMES = {
    "Compiler": "search.compiler",
    "Generate": "modules",
    "HyPerAlign": "modules",
    "Hypothesis": "types",
    "Infer": "modules",
    "Sample": "types",
    "Settings": "modules",
    "User": "types",
    "connect": "lm.connect",
    "find_frozen": "shelf.frozen",
    "load_frozen": "shelf.frozen",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
