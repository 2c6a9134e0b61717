"""The whole: a user's samples and a request -> a text in that user's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from hyperalign_dspy.metrics.features import Background
from hyperalign_dspy.program.generate import Generate
from hyperalign_dspy.program.infer import BackgroundParameter, Infer
from hyperalign_dspy.program.settings import Settings, SettingsParameter
from hyperalign_dspy.types import Hypothesis, Sample


class HyPerAlign(dspy.Module):
    """Infers hypotheses about a user, then writes under them (the method of arXiv 2505.00038).

    Returns a prediction with ``text``, ``drafts`` and ``hypotheses``. Hypotheses that a person has edited can be
    given back in: then nothing is inferred.

    Example:
        program = HyPerAlign()
        with dspy.context(lm=connect("local")):
            text = program(samples=texts, request="Write a note to a neighbour.").text
    """

    def __init__(self, settings: Settings | None = None, background: Background | None = None) -> None:
        super().__init__()
        self.settings = SettingsParameter(settings or Settings())
        self.background = BackgroundParameter(background)
        self.infer = Infer(self.settings, self.background)
        self.generate = Generate(self.settings)

    def forward(
        self,
        samples: Sequence[Sample | str],
        request: str,
        hypotheses: Sequence[Hypothesis] | None = None,
        seed: int = 0,
    ) -> dspy.Prediction:
        """Write as the author of the samples would. Raises: UsageError: no samples, or an empty request."""
        known = self.infer(samples=samples).hypotheses if hypotheses is None else list(hypotheses)
        written = self.generate(request=request, hypotheses=known, samples=samples, seed=seed)
        return dspy.Prediction(text=written.text, drafts=written.drafts, hypotheses=known)

    def probe_inputs(self) -> dict[str, dict[str, Any]]:
        """predictor -> what it is called with under these settings, by names; who is not called is left out."""
        parts = {"infer": self.infer.probe_inputs(), "generate": self.generate.probe_inputs()}
        return {f"{stage}.{name}": inputs for stage, found in parts.items() for name, inputs in found.items()}
