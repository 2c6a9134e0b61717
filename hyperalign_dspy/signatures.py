"""Every DSPy signature of the package. The docstrings are the seed instructions, short for small models."""

from __future__ import annotations

import dspy


class InferHypotheses(dspy.Signature):
    """Read the texts of one writer. Say in one sentence each how this person writes, what they are like, and how they
    speak to the reader. Say nothing about what the texts are about."""

    samples: list[str] = dspy.InputField(desc="texts that the person wrote")
    style: list[str] = dspy.OutputField(desc="how the person writes")
    personality: list[str] = dspy.OutputField(desc="what the person is like")
    communication: list[str] = dspy.OutputField(desc="how the person speaks to the reader")


class WriteAs(dspy.Signature):
    """Write as this person writes."""

    hypotheses: list[str] = dspy.InputField(desc="what is known of the writer")
    samples: dspy.History = dspy.InputField(desc="earlier texts of the writer, each after its request")
    request: str = dspy.InputField(desc="what to write")
    text: str = dspy.OutputField(desc="the text, in the writer's own way")
