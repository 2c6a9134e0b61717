"""A model as judge of two texts: asked which one, in both orders, or for a grade of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import dspy

from hyperalign_dspy.program.infer import cut, speaking
from hyperalign_dspy.types import Purpose


class _SameWriter(dspy.Signature):
    """One of two texts is by the person who wrote the samples. Look at how they write and not at what about. Answer A
    or B, or ? if you cannot tell.
    """

    samples: list[str] = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class _SameStyle(_SameWriter):
    """One of two texts is written in the style of the sample: the same spelling, the same formality. Answer A or B, or
    ? if you cannot tell.
    """


class _PreferAnswer(dspy.Signature):
    """Two texts answer a request. Which does better what was asked for? Length and politeness count for nothing. Answer
    A or B, or ? if you cannot tell.
    """

    request: str = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class _GradeAnswer(dspy.Signature):
    """Grade how well an answer helps the person who asks, from 0 to 10. 0: it refuses, or speaks of something else. 3:
    it touches what was asked and leaves the person where they were. 5: a part of what they need, or all with errors. 8:
    what they need, with small gaps. 10: complete, correct, and they can act on it. Length and politeness count for
    nothing. Say the number only.
    """

    request: str = dspy.InputField()
    answer: str = dspy.InputField()
    question: str = dspy.InputField()
    grade: str = dspy.OutputField(desc="a whole number from 0 to 10")


_SIGNATURES: dict[Purpose, Any] = {"authorship": _SameWriter, "style": _SameStyle, "helpfulness": _PreferAnswer}
# Questions come last, so that even a model that reads the last line only knows what is asked.
_WHICH = "Which one: A or B?"
_WHAT_GRADE = "Which grade, from 0 to 10?"
_TOP = 10
_LETTER = re.compile(r"\b([AB])\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class _Asking(dspy.Module):
    """Asks under one adapter, and cuts texts to so many words."""

    def __init__(self, adapter: str = "turns", words: int = 150) -> None:
        super().__init__()
        self.adapter, self.words = adapter, words

    def _ask(self, predictor: Any, **inputs: Any) -> Any:
        with speaking(self.adapter, 1):
            return predictor(**inputs, config={"temperature": 0.0, "max_tokens": 8})


class PairwiseJudge(_Asking):
    """Says which of two texts is better for a purpose. It sees no hypotheses: else it would grade obedience.

    Returns a prediction with ``winner`` (first, second, tie or abstain) and ``votes`` (what each order gave: first,
    second, or abstain). Orders that disagree are a tie; so is one answer beside one abstention. Two calls.
    """

    def __init__(self, purpose: Purpose = "authorship", adapter: str = "turns", words: int = 150) -> None:
        super().__init__(adapter, words)
        self.purpose = purpose
        self.prefer = dspy.Predict(_SIGNATURES[purpose])

    def forward(self, first: str, second: str, request: str = "", samples: Sequence[str] = ()) -> dspy.Prediction:
        """Judge two texts; those of samples and both texts are cut to the judge's words."""
        known = [cut(sample, self.words) for sample in samples]
        given = {"request": request} if self.purpose == "helpfulness" else {"samples": known}
        a, b = cut(first, self.words), cut(second, self.words)
        one = self._ask(self.prefer, **given, text_a=a, text_b=b, question=_WHICH).choice
        other = self._ask(self.prefer, **given, text_a=b, text_b=a, question=_WHICH).choice
        votes = _vote(str(one), "first", "second"), _vote(str(other), "second", "first")
        return dspy.Prediction(winner=votes[0] if votes[0] == votes[1] else "tie", votes=votes)


class _Grader(_Asking):
    """Grades one answer for helpfulness by one call. Returns a prediction with ``grade``, 0 to 10, or None."""

    def __init__(self, adapter: str = "turns", words: int = 150) -> None:
        super().__init__(adapter, words)
        self.grade = dspy.Predict(_GradeAnswer)

    def forward(self, request: str, answer: str) -> dspy.Prediction:
        """Grade an answer, cut to the grader's words."""
        said = self._ask(self.grade, request=request, answer=cut(answer, self.words), question=_WHAT_GRADE)
        found = _NUMBER.search(str(said.grade))
        grade = float(found[0]) if found else -1.0
        return dspy.Prediction(grade=grade if 0 <= grade <= _TOP else None)


class GradingJudge(dspy.Module):
    """Judges a pair as `PairwiseJudge` does, by a grade of each text alone: there is no order that could matter.

    The prediction has ``grades``, too, each from 0 to 10, or None where the model gave none. Two calls.
    """

    purpose: Purpose = "helpfulness"

    def __init__(self, adapter: str = "turns", words: int = 150) -> None:
        super().__init__()
        self.grader = _Grader(adapter, words)

    def forward(self, first: str, second: str, request: str = "", samples: Sequence[str] = ()) -> dspy.Prediction:
        """Judge two answers to a request; ``samples`` are not looked at."""
        del samples
        mine, other = (self.grader(request=request, answer=text).grade for text in (first, second))
        if mine is None or other is None:
            winner = "abstain"
        else:
            winner = "tie" if mine == other else "first" if mine > other else "second"
        return dspy.Prediction(winner=winner, votes=(winner, winner), grades=(mine, other))


def _vote(choice: str, a: str, b: str) -> str:
    found = _LETTER.search(choice.strip().upper())
    return {"A": a, "B": b}[found[1]] if found else "abstain"
