"""A model that writes instructions: for one step of a program, from what it is for or from where it went wrong."""

from __future__ import annotations

from typing import Any

import dspy

from hyperalign_dspy.program.infer import speaking

# Room for an instruction, in tokens: what does not fit is longer than an instruction may be.
ROOM = 120
# Above the greedy temperature, since several proposals are wanted and not one.
TEMPERATURE = 0.8
# Each proposal starts from another of these: the same prompt gives the same few ideas again.
ADVICE = (
    "Write the new instruction. Make it short and plain.",
    "Write the new instruction. Say what to look at in the input, and what to do with it.",
    "Write the new instruction. Say what to keep and what to avoid.",
    "Write the new instruction. Speak to the model as to somebody who does this for a living.",
    "Write the new instruction. Name the two things that matter most.",
)


class Proposer(dspy.Module):
    """Writes one instruction. Returns a prediction with ``proposal``, as the model gave it. One call.

    ``signature`` has the output ``proposal`` and a last input ``advice``; the other inputs are given by name.
    """

    def __init__(self, signature: type[dspy.Signature], adapter: str = "turns") -> None:
        super().__init__()
        self.adapter = adapter
        self.propose = dspy.Predict(signature)

    def forward(self, number: int, seed: int, **inputs: Any) -> dspy.Prediction:
        """The number-th proposal; another number gives another."""
        config = {"temperature": TEMPERATURE, "max_tokens": ROOM, "seed": seed}
        with speaking(self.adapter, 1):
            said = self.propose(**inputs, advice=ADVICE[number % len(ADVICE)], config=config)
        return dspy.Prediction(proposal=str(said.proposal))
