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


class SameWriter(dspy.Signature):
    """One of two texts is by the person who wrote the samples. Look at how they write and not at what about. Answer A
    or B, or ? if you cannot tell.
    """

    samples: list[str] = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class SameStyle(dspy.Signature):
    """One of two texts is written in the style of the sample: the same spelling, the same formality. Answer A or B, or
    ? if you cannot tell.
    """

    samples: list[str] = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class PreferAnswer(dspy.Signature):
    """Two texts answer a request. Which does better what was asked for? Length and politeness count for nothing. Answer
    A or B, or ? if you cannot tell.
    """

    request: str = dspy.InputField()
    text_a: str = dspy.InputField()
    text_b: str = dspy.InputField()
    question: str = dspy.InputField()
    choice: str = dspy.OutputField(desc="A, B or ?")


class GradeAnswer(dspy.Signature):
    """Grade how well an answer helps the person who asks, from 0 to 10. 0: it refuses, or speaks of something else. 3:
    it touches what was asked and leaves the person where they were. 5: a part of what they need, or all with errors. 8:
    what they need, with small gaps. 10: complete, correct, and they can act on it. Length and politeness count for
    nothing. Say the number only.
    """

    request: str = dspy.InputField()
    answer: str = dspy.InputField()
    question: str = dspy.InputField()
    grade: str = dspy.OutputField(desc="a whole number from 0 to 10")


class ProposeInstruction(dspy.Signature):
    """You write instructions for a language model. Write a better instruction for one step of a program. It serves all
    users alike, so it names no person and no topic. At most three short sentences. Say the instruction only.
    """

    program: str = dspy.InputField(desc="what the program is for")
    step: str = dspy.InputField(desc="what goes into the step, and what comes out")
    instruction: str = dspy.InputField(desc="the instruction so far")
    asked: list[str] = dspy.InputField(desc="what a few users ask of the program")
    tried: list[str] = dspy.InputField(desc="instructions that were tried, and the gain over the one so far")
    advice: str = dspy.InputField(desc="how to go about it")
    proposal: str = dspy.OutputField(desc="the new instruction")


class MendInstruction(dspy.Signature):
    """You write instructions for a language model. One step of a program went wrong as shown. Write an instruction that
    mends it. It serves all users alike, so it names no person, no topic and no number of one user's. At most three
    short sentences. Say the instruction only.
    """

    program: str = dspy.InputField(desc="what the program is for")
    step: str = dspy.InputField(desc="what goes into the step, and what comes out")
    instruction: str = dspy.InputField(desc="the instruction so far")
    failures: list[str] = dspy.InputField(desc="what was asked, what was written, and what that lacks")
    advice: str = dspy.InputField(desc="how to go about it")
    proposal: str = dspy.OutputField(desc="the new instruction")


class SupposeAsker(dspy.Signature):
    """Read who asks and what. Say in one sentence each who this person is and why they most likely ask."""

    samples: list[str] = dspy.InputField(desc="texts that the person wrote")
    attributes: list[str] = dspy.InputField(desc="what is known of the person")
    request: str = dspy.InputField(desc="what they ask")
    person: list[str] = dspy.OutputField(desc="who asks")
    purpose: list[str] = dspy.OutputField(desc="why they ask")


class WeighRequest(dspy.Signature):
    """Before answering, say in one sentence each what would help this person and what could do harm."""

    hypotheses: list[str] = dspy.InputField(desc="who asks and why")
    request: str = dspy.InputField(desc="what they ask")
    help: list[str] = dspy.OutputField(desc="what would help them")
    harm: list[str] = dspy.OutputField(desc="what could do harm")


class AnswerRequest(dspy.Signature):
    """Answer the request."""

    hypotheses: list[str] = dspy.InputField(desc="who asks and why")
    deliberation: list[str] = dspy.InputField(desc="what would help and what could do harm")
    request: str = dspy.InputField(desc="what they ask")
    text: str = dspy.OutputField(desc="the answer")
