"""Hypotheses, samples and a request -> a text that the user might have written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.engine import n_completions
from hyperalign_dspy.metrics.features import reward
from hyperalign_dspy.program.infer import as_sample, cut, speaking
from hyperalign_dspy.program.settings import Settings, SettingsParameter
from hyperalign_dspy.types import FACETS, Hypothesis, Sample

# What a sample is shown as the answer to when nobody knows what it answers.
UNKNOWN_REQUEST = "Write something."
# A measured hypothesis is told to the model only when the user differs from others by this many standard deviations.
_NOTABLE = 0.5


class WriteAs(dspy.Signature):
    """Write as this person writes."""

    hypotheses: list[str] = dspy.InputField(desc="what is known of the writer")
    samples: dspy.History = dspy.InputField(desc="earlier texts of the writer, each after its request")
    request: str = dspy.InputField(desc="what to write")
    text: str = dspy.OutputField(desc="the text, in the writer's own way")


class Generate(dspy.Module):
    """Writes as the user would.

    Returns a prediction with ``text``, the draft that best meets the measured hypotheses, and all ``drafts`` in order.
    """

    def __init__(self, settings: SettingsParameter | None = None) -> None:
        super().__init__()
        self.settings = settings or SettingsParameter(Settings())
        self.write = dspy.Predict(WriteAs)

    def forward(
        self,
        request: str,
        hypotheses: Sequence[Hypothesis] = (),
        samples: Sequence[Sample | str] = (),
        seed: int = 0,
    ) -> dspy.Prediction:
        """Write on request; the same seed gives the same drafts where the model honours seeds.

        Raises:
            UsageError: an empty request.
        """
        if not request.strip():
            raise UsageError("The request is empty.", fix='Say what is to be written: --request "...".')
        settings = self.settings.value
        known = chosen_hypotheses(hypotheses, settings.shown_hypotheses, 3 * settings.hypotheses)
        earlier = _shown(samples, settings)
        config = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        # Greedy drafts would all be the same text.
        count = settings.drafts if settings.temperature > 0 else 1
        drafts: list[str] = []
        for place in range(count):
            # Where the first ones are known from a record, no more are made than are still wanted.
            with speaking(settings.adapter, 1), n_completions(count - place):
                kept = {**config, "seed": seed + place}
                said = self.write(hypotheses=known, samples=earlier, request=request, config=kept)
            drafts.append(str(said.text))
        best = max(drafts, key=lambda draft: reward(draft, hypotheses))
        return dspy.Prediction(text=best, drafts=drafts)

    def probe_inputs(self) -> dict[str, dict[str, Any]]:
        """predictor -> what it is called with, by names."""
        settings = self.settings.value
        inferred = [Hypothesis(f"{{{{{facet} hypothesis}}}}", facet) for facet in FACETS] * settings.hypotheses
        measured = Hypothesis("{{measured hypothesis}}", "style", "measured", value=_NOTABLE)
        samples = [Sample(f"{{{{sample {n}}}}}", f"{{{{request {n}}}}}") for n in range(1, settings.samples + 1)]
        known = chosen_hypotheses(
            [*inferred, *[measured] * len(inferred)], settings.shown_hypotheses, 3 * settings.hypotheses
        )
        return {"write": {"hypotheses": known, "samples": _shown(samples, settings), "request": "{{request}}"}}


def chosen_hypotheses(hypotheses: Sequence[Hypothesis], choice: str, most: int) -> list[str]:
    """What the prompt holds, as sentences: the inferred, ``most`` of the most notable measured, both or none."""
    inferred = [h.text for h in hypotheses if h.kind == "inferred"]
    measured = [h.text for h in hypotheses if h.kind == "measured" and h.strength >= _NOTABLE][:most]
    return {"inferred": inferred, "measured": measured, "both": inferred + measured, "none": []}[choice]


def _shown(samples: Sequence[Sample | str], settings: Settings) -> dspy.History:
    """The first samples as earlier turns, each after the request that it answers; a blank one is no turn."""
    chosen = [sample for sample in map(as_sample, samples) if sample.text.strip()][: settings.samples]
    return dspy.History(
        messages=[
            {"request": sample.request or UNKNOWN_REQUEST, "text": cut(sample.text, settings.sample_words)}
            for sample in chosen
        ]
    )
