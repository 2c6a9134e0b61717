"""The two stages of HyPerAlign and the whole, as ordinary DSPy modules."""

from __future__ import annotations

from hyperalign_dspy.modules.generate import Generate
from hyperalign_dspy.modules.hyperalign import HyPerAlign
from hyperalign_dspy.modules.infer import Infer
from hyperalign_dspy.modules.settings import Settings

__all__ = ["Generate", "HyPerAlign", "Infer", "Settings"]
