"""Tune, prove and ship prompts that make a language model write as one person writes.

Public names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperalign_dspy.artifacts.frozen import find_frozen, load_frozen
    from hyperalign_dspy.artifacts.profiles import Profile
    from hyperalign_dspy.data.voices import bundled_corpus
    from hyperalign_dspy.experiment.bench.compare import compare
    from hyperalign_dspy.experiment.bench.tables import read_table
    from hyperalign_dspy.experiment.compile import Compiler
    from hyperalign_dspy.experiment.prepare import prepare
    from hyperalign_dspy.lm.connect import connect
    from hyperalign_dspy.lm.limits import Limits
    from hyperalign_dspy.optimize.samplers import KnowledgeSampler
    from hyperalign_dspy.program.generate import Generate
    from hyperalign_dspy.program.hyperalign import HyPerAlign
    from hyperalign_dspy.program.infer import Infer
    from hyperalign_dspy.program.settings import Settings
    from hyperalign_dspy.report.bench import describe_comparison, draw_comparison
    from hyperalign_dspy.report.habits import draw_habits
    from hyperalign_dspy.report.page import draw_result, draw_search
    from hyperalign_dspy.report.plan import describe_plan
    from hyperalign_dspy.report.table import describe_result
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
    "Compiler": "experiment.compile",
    "Generate": "program.generate",
    "HyPerAlign": "program.hyperalign",
    "Hypothesis": "types",
    "Infer": "program.infer",
    "KnowledgeSampler": "optimize.samplers",
    "Profile": "artifacts.profiles",
    "Limits": "lm.limits",
    "Sample": "types",
    "Settings": "program.settings",
    "User": "types",
    "bundled_corpus": "data.voices",
    "compare": "experiment.bench.compare",
    "connect": "lm.connect",
    "describe_comparison": "report.bench",
    "describe_plan": "report.plan",
    "describe_result": "report.table",
    "draw_comparison": "report.bench",
    "draw_habits": "report.habits",
    "draw_result": "report.page",
    "draw_search": "report.page",
    "find_frozen": "artifacts.frozen",
    "load_frozen": "artifacts.frozen",
    "prepare": "experiment.prepare",
    "read_table": "experiment.bench.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
