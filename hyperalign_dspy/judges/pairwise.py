"""A model as judge of two texts, asked in both orders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import dspy

from hyperalign_dspy.program.infer import cut, speaking
from hyperalign_dspy.types import Purpose


class SameWriter(dspy.Signature):
    """One of two texts is by the person who wrote the samples. Look at how they write and not at what about. Answer A
    or B, or ? if you cannot tell.
    """

    samples: list[str] = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class SameStyle(SameWriter):
    """One of two texts is written in the style of the sample: the same spelling, the same formality. Answer A or B, or
    ? if you cannot tell.
    """


class PreferAnswer(dspy.Signature):
    """Two texts answer a request. Which does better what was asked for? Length and politeness count for nothing. Answer
    A or B, or ? if you cannot tell.
    """

    request: str = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


_Winner = Literal["first", "second", "tie", "abstain"]
_SIGNATURES: dict[Purpose, Any] = {"authorship": SameWriter, "style": SameStyle, "helpfulness": PreferAnswer}
# Comes last, so that even a model that reads the last line only knows what is asked.
_QUESTION = "Which one: A or B?"
_LETTER = re.compile(r"\b([AB])\b")


class PairwiseJudge(dspy.Module):
    """Says which of two texts is better for a purpose. It sees no hypotheses: else it would grade obedience.

    Returns a prediction with ``winner`` (first, second, tie or abstain) and ``votes`` (what each order gave: first,
    second, or abstain). Orders that disagree are a tie; so is one answer beside one abstention. An ordinary DSPy
    module: its instruction and demonstrations can be optimised like any other's. Two calls, never more.
    """

    def __init__(self, purpose: Purpose = "authorship", adapter: str = "turns", words: int = 150) -> None:
        super().__init__()
        self.purpose, self.adapter, self.words = purpose, adapter, words
        self.prefer = dspy.Predict(_SIGNATURES[purpose])

    def forward(self, first: str, second: str, request: str = "", samples: Sequence[str] = ()) -> dspy.Prediction:
        """Judge two texts; those of samples and both texts are cut to the judge's words."""
        known = [cut(sample, self.words) for sample in samples]
        texts = cut(first, self.words), cut(second, self.words)
        votes = (
            _vote(self._choice(request, known, *texts), "first", "second"),
            _vote(self._choice(request, known, *texts[::-1]), "second", "first"),
        )
        return dspy.Prediction(winner=_settle(*votes), votes=votes)

    def _choice(self, request: str, samples: Sequence[str], a: str, b: str) -> str:
        given = {"request": request} if self.purpose == "helpfulness" else {"samples": list(samples)}
        with speaking(self.adapter, 1):
            answer = self.prefer(
                **given, text_a=a, text_b=b, question=_QUESTION, config={"temperature": 0.0, "max_tokens": 8}
            )
        return str(answer.choice)


def _settle(one: str, other: str) -> _Winner:
    """The verdict of two orders."""
    if one == other:
        return one  # type: ignore[return-value]
    return "tie"


def _vote(choice: str, a: str, b: str) -> str:
    found = _LETTER.search(choice.strip().upper())
    return {"A": a, "B": b}[found[1]] if found else "abstain"
