"""Answers delicate requests: who asks and why, what would help and what would harm, and only then the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.program.infer import TOKENS_PER_SENTENCE, as_sample, cut, speaking
from hyperalign_dspy.program.settings import Bounded, SettingsParameter
from hyperalign_dspy.types import Sample

# What each listed sentence begins with, where the model can be held to it.
ASKER_OPENINGS = {
    "person": "This is a",
    "purpose": "They ask because",
    "help": "It would help to",
    "harm": "It would do harm to",
}
_UserContext = Literal["nothing", "attributes", "hypotheses", "both"]


class _SupposeAsker(dspy.Signature):
    """Read who asks and what. Say in one sentence each who this person is and why they most likely ask."""

    samples: list[str] = dspy.InputField(desc="texts that the person wrote")
    attributes: list[str] = dspy.InputField(desc="what is known of the person")
    request: str = dspy.InputField(desc="what they ask")
    person: list[str] = dspy.OutputField(desc="who asks")
    purpose: list[str] = dspy.OutputField(desc="why they ask")


class _WeighRequest(dspy.Signature):
    """Before answering, say in one sentence each what would help this person and what could do harm."""

    hypotheses: list[str] = dspy.InputField(desc="who asks and why")
    request: str = dspy.InputField(desc="what they ask")
    help: list[str] = dspy.OutputField(desc="what would help them")
    harm: list[str] = dspy.OutputField(desc="what could do harm")


class _AnswerRequest(dspy.Signature):
    """Answer the request."""

    hypotheses: list[str] = dspy.InputField(desc="who asks and why")
    deliberation: list[str] = dspy.InputField(desc="what would help and what could do harm")
    request: str = dspy.InputField(desc="what they ask")
    text: str = dspy.OutputField(desc="the answer")


@dataclass(frozen=True)
class DeliberateSettings(Bounded):
    """What the program does besides its instructions and demonstrations.

    user_context: what the answer is told of who asks. deliberate: whether what helps and harms is weighed first.
    sample_words: a longer sample is cut. temperature and max_tokens are of the answer; what comes before it is greedy.
    """

    adapter: str = "turns"
    user_context: _UserContext = "hypotheses"
    deliberate: bool = True
    sample_words: int = 60
    temperature: float = 0.0
    max_tokens: int = 80

    def __post_init__(self) -> None:
        self.within(self.temperature, sample_words=(1, 10_000), max_tokens=(1, 100_000))
        if self.user_context not in ("nothing", "attributes", "hypotheses", "both"):
            raise UsageError(f"user_context is {self.user_context!r}; it is nothing, attributes, hypotheses or both.")
        if type(self.deliberate) is not bool:
            raise UsageError(f"deliberate is {self.deliberate!r}; it is true or false.")


class Deliberate(dspy.Module):
    """Answers a request of a known user.

    Returns a prediction with ``text``, ``hypotheses`` (who asks and why) and ``deliberation`` (what would help, what
    could do harm), each a list of sentences, empty where the settings ask for none. Hypotheses that a person has
    edited can be given back in: then nothing is inferred.

    Example:
        program = Deliberate()
        with dspy.context(lm=connect("local")):
            text = program(request="How do I kill a process?", attributes={"occupation": "programmer"}).text
    """

    def __init__(self, settings: DeliberateSettings | None = None) -> None:
        super().__init__()
        self.settings = SettingsParameter(settings or DeliberateSettings())
        self.suppose = dspy.Predict(_SupposeAsker)
        self.weigh = dspy.Predict(_WeighRequest)
        self.answer = dspy.Predict(_AnswerRequest)

    def forward(
        self,
        request: str,
        attributes: Mapping[str, str] | None = None,
        samples: Sequence[Sample | str] = (),
        hypotheses: Sequence[str] | None = None,
        seed: int = 0,
    ) -> dspy.Prediction:
        """Answer on request; the same seed gives the same answer where the model honours seeds.

        Raises:
            UsageError: an empty request.
        """
        if not request.strip():
            raise UsageError("The request is empty.", fix="Say what is asked.")
        settings = self.settings.value
        known = [f"{name}: {value}" for name, value in (attributes or {}).items()]
        inferred = list(hypotheses) if hypotheses is not None else self._supposed(request, known, samples)
        told = asker_description(known, inferred, settings.user_context)
        weighed = self._asked(self.weigh, hypotheses=told, request=request) if settings.deliberate else []
        config = {"temperature": settings.temperature, "max_tokens": settings.max_tokens, "seed": seed}
        with speaking(settings.adapter, 1):
            answer = self.answer(hypotheses=told, deliberation=weighed, request=request, config=config)
        return dspy.Prediction(text=str(answer.text), hypotheses=inferred, deliberation=weighed)

    def probe_inputs(self) -> dict[str, dict[str, Any]]:
        """predictor -> what it is called with under these settings, by names; who is not called is left out."""
        settings = self.settings.value
        inferring = settings.user_context in ("hypotheses", "both")
        told = asker_description(["{{attributes}}"], ["{{person}}", "{{purpose}}"], settings.user_context)
        found: dict[str, dict[str, Any]] = {}
        if inferring:
            found["suppose"] = {"samples": [], "attributes": ["{{attributes}}"], "request": "{{request}}"}
        if settings.deliberate:
            found["weigh"] = {"hypotheses": told, "request": "{{request}}"}
        weighed = ["{{help}}", "{{harm}}"] if settings.deliberate else []
        found["answer"] = {"hypotheses": told, "deliberation": weighed, "request": "{{request}}"}
        return found

    def _supposed(self, request: str, known: Sequence[str], samples: Sequence[Sample | str]) -> list[str]:
        settings = self.settings.value
        if settings.user_context not in ("hypotheses", "both") or not (known or samples):
            return []
        shown = [cut(as_sample(sample).text, settings.sample_words) for sample in samples]
        return self._asked(self.suppose, samples=shown, attributes=list(known), request=request)

    def _asked(self, predictor: Any, **inputs: Any) -> list[str]:
        """One sentence for each list that a predictor answers with."""
        names = list(predictor.signature.output_fields)
        config = {"temperature": 0.0, "max_tokens": TOKENS_PER_SENTENCE * len(names)}
        with speaking(self.settings.value.adapter, 1, ASKER_OPENINGS):
            answer = predictor(**inputs, config=config)
        found = [answer.get(name) or [] for name in names]
        return [" ".join(str(said).split()) for listed in found for said in listed[:1]]


def asker_description(known: Sequence[str], inferred: Sequence[str], choice: str) -> list[str]:
    """What the answer is told of who asks."""
    return {
        "nothing": [],
        "attributes": list(known),
        "hypotheses": list(inferred),
        "both": [*known, *inferred],
    }[choice]
