"""Tune, prove and ship prompts that make a language model write as one person writes.

Public names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperalign_dspy.data.voices import bundled_corpus
    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.limits import Limits
    from hyperalign_dspy.modules import Generate, HyPerAlign, Infer, Settings
    from hyperalign_dspy.report.view import (
        describe_comparison,
        describe_plan,
        describe_result,
        draw_comparison,
        draw_habits,
        draw_result,
        draw_search,
    )
    from hyperalign_dspy.search.bench.compare import compare
    from hyperalign_dspy.search.bench.tables import read_table
    from hyperalign_dspy.search.compiler import Compiler
    from hyperalign_dspy.search.prepare import prepare
    from hyperalign_dspy.search.sampling.samplers import KnowledgeSampler
    from hyperalign_dspy.shelf.frozen import find_frozen, load_frozen
    from hyperalign_dspy.shelf.profiles import Profile
    from hyperalign_dspy.types import Hypothesis, Sample, User

__version__ = version("hyperalign-dspy")
__all__ = [
    "Compiler",
    "Generate",
    "HyPerAlign",
    "Hypothesis",
    "Infer",
    "KnowledgeSampler",
    "Limits",
    "Profile",
    "Sample",
    "Settings",
    "User",
    "__version__",
    "bundled_corpus",
    "compare",
    "connect",
    "describe_comparison",
    "describe_plan",
    "describe_result",
    "draw_comparison",
    "draw_habits",
    "draw_result",
    "draw_search",
    "find_frozen",
    "load_frozen",
    "prepare",
    "read_table",
]
_HOMES = {
    "Compiler": "search.compiler",
    "Generate": "modules",
    "HyPerAlign": "modules",
    "Hypothesis": "types",
    "Infer": "modules",
    "KnowledgeSampler": "search.sampling.samplers",
    "Profile": "shelf.profiles",
    "Limits": "lm.limits",
    "Sample": "types",
    "Settings": "modules",
    "User": "types",
    "bundled_corpus": "data.voices",
    "compare": "search.bench.compare",
    "connect": "lm.connect",
    "describe_comparison": "report.view",
    "describe_plan": "report.view",
    "describe_result": "report.view",
    "draw_comparison": "report.view",
    "draw_habits": "report.view",
    "draw_result": "report.view",
    "draw_search": "report.view",
    "find_frozen": "shelf.frozen",
    "load_frozen": "shelf.frozen",
    "prepare": "search.prepare",
    "read_table": "search.bench.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
