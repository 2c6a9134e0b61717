"""Samples -> hypotheses: those that the model reads, and those that code measures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import dspy

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.metrics.features import Background, measured_hypotheses
from hyperalign_dspy.program.adapters import TurnsAdapter, adapter, sentences_of
from hyperalign_dspy.program.settings import Settings, SettingsParameter
from hyperalign_dspy.types import FACETS, Hypothesis, Sample

# Room for one listed sentence and its JSON, in tokens: the schema bounds a sentence to some 30 words.
TOKENS_PER_SENTENCE = 64
# What a hypothesis of each facet begins with, where the model can be held to it.
OPENINGS = {"style": "Writes in a", "personality": "Seems to be", "communication": "Speaks to the reader in a"}


class InferHypotheses(dspy.Signature):
    """Read the texts of one writer. Say in one sentence each how this person writes, what they are like, and how they
    speak to the reader. Say nothing about what the texts are about."""

    samples: list[str] = dspy.InputField(desc="texts that the person wrote")
    style: list[str] = dspy.OutputField(desc="how the person writes")
    personality: list[str] = dspy.OutputField(desc="what the person is like")
    communication: list[str] = dspy.OutputField(desc="how the person speaks to the reader")


class BackgroundParameter(SettingsParameter):
    """How others write, kept with the program; without a value it is the bundled corpus', measured on first use."""

    @property
    def value(self) -> Background:
        """The means and spreads."""
        return self._value or _bundled_background()

    @value.setter
    def value(self, value: Background | None) -> None:
        """Others in their place."""
        self._value = value

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the means and spreads from plain data."""
        self._value = Background.from_json(state)


class Infer(dspy.Module):
    """Infers hypotheses about a user from samples.

    Returns a prediction with ``hypotheses``, the inferred first, then every measured, the strongest first. The model
    is asked nothing where the settings want none inferred.
    """

    def __init__(
        self, settings: SettingsParameter | None = None, background: BackgroundParameter | None = None
    ) -> None:
        super().__init__()
        self.settings = settings or SettingsParameter(Settings())
        self.background = background or BackgroundParameter()
        self.read = dspy.Predict(InferHypotheses)

    def forward(self, samples: Sequence[Sample | str]) -> dspy.Prediction:
        """Infer from the first samples; a sample is a text, or a `Sample`. Raises: UsageError: no sample at all."""
        texts = [as_sample(sample).text for sample in samples]
        if not any(text.strip() for text in texts):
            raise UsageError("There are no samples to infer anything from.")
        settings = self.settings.value
        inferred = self._inferred(texts, settings) if settings.shown_hypotheses in ("inferred", "both") else []
        measured = measured_hypotheses(texts, self.background.value)
        return dspy.Prediction(hypotheses=[*inferred, *measured])

    def probe_inputs(self) -> dict[str, dict[str, Any]]:
        """predictor -> what it is called with, by names; empty where these settings call none."""
        settings = self.settings.value
        if settings.shown_hypotheses not in ("inferred", "both"):
            return {}
        return {"read": {"samples": [f"{{{{sample {n}}}}}" for n in range(1, settings.infer_samples + 1)]}}

    def inference_fingerprint(self) -> dict[str, Any]:
        """All that decides what is inferred besides the samples and the model, as plain data."""
        settings = self.settings.value
        measured = {"background": self.background.dump_state()}
        if settings.shown_hypotheses not in ("inferred", "both"):
            return measured
        asked = ("adapter", "hypotheses", "infer_samples", "sample_words")
        return {
            **measured,
            "settings": {name: getattr(settings, name) for name in asked},
            "instruction": self.read.signature.instructions,
            "demos": [dict(demo) for demo in self.read.demos],
        }

    def _inferred(self, texts: Sequence[str], settings: Settings) -> list[Hypothesis]:
        shown = [cut(text, settings.sample_words) for text in texts[: settings.infer_samples]]
        room = TOKENS_PER_SENTENCE * settings.hypotheses * len(FACETS)
        with speaking(settings.adapter, settings.hypotheses):
            answer = self.read(samples=shown, config={"temperature": 0.0, "max_tokens": room})
        claims = {
            claim: facet
            for facet in FACETS
            for claim in sentences_of(answer.get(facet))[: settings.hypotheses]
            if not claims_topic(claim, texts)
        }
        return [Hypothesis(claim, facet) for claim, facet in claims.items()]


def speaking(name: str, items: int, openings: Mapping[str, str] = OPENINGS) -> Any:
    """A DSPy context with the named adapter; an empty name leaves the one that is set.

    ``items`` is how many entries a listed answer has, ``openings`` what those of a field begin with.
    """
    return dspy.context(adapter=speaker(name, items, openings)) if name else dspy.context()


def speaker(name: str, items: int, openings: Mapping[str, str] = OPENINGS) -> Any:
    """The named adapter, told of items and openings where it can hold a model to them."""
    chosen = adapter(name)
    if isinstance(chosen, TurnsAdapter):
        chosen.items, chosen.begin = items, dict(openings)
    return chosen


def as_sample(sample: Sample | str) -> Sample:
    """A bare text as a `Sample`."""
    return sample if isinstance(sample, Sample) else Sample(sample)


def cut(text: str, words: int) -> str:
    """The first words of a text, its line breaks kept."""
    pieces = text.split(" ")
    return text if len(pieces) <= words else " ".join(pieces[:words])


@cache
def _bundled_background() -> Background:
    """How the bundled corpus' users write, all together."""
    # A frozen program is loaded without the corpus.
    from hyperalign_dspy.data.voices import bundled_corpus

    return Background.of(sample.text for user in bundled_corpus().users for sample in user.samples)


_CONTENT_WORD = re.compile(r"[a-z]{5,}")

# Words by which manners are described. They say how, even when the samples happen to hold them.
_MANNERS = frozenset(
    """about address addresses advice answers asking asks brief briefly brisk calm careful casual cheerful clear clearly
    clipped comma commas concise conversational detail details detailed direct directly drily emotion emotional emphasis
    engaging enthusiastic everyday exclamation express expresses expressive feeling feelings fragments frank friendly
    funny gentle honest humour humor humorous informal formal ironic irony keeps language letters lists little lively
    lower makes manner measured mixes modest often opinion opinions others paragraph paragraphs patient people person
    personal phrases plain playful polite precise punctuation question questions quick quiet reader readers relaxed
    repeats rhythm sarcasm sarcastic sentence sentences serious short simple sincere slang speaks spoken statement
    statements stories story strong style talks tells terse thinks thoughtful tends their there these thing things tone
    towards usually vivid voice warmth wordy words would write writer writes writing written polished descriptive
    narrative reflective confident sense making shows using explains describes gives likes takes with while which where
    every never rather still other first could should being having because""".split()
)


def claims_topic(claim: str, samples: Iterable[str]) -> bool:
    """Whether a claim speaks of what the samples are about: it shares a content word with them that names no manner."""
    spoken = set(_CONTENT_WORD.findall(claim.lower())) - _MANNERS
    return any(spoken & set(_CONTENT_WORD.findall(text.lower())) for text in samples)
