"""The modules as a DSPy user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request

from hyperalign_dspy import Generate, HyPerAlign, Hypothesis, Infer, Settings
from hyperalign_dspy.data.voices import bundled_corpus
from hyperalign_dspy.errors import UnknownName, UsageError
from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.adapters import TurnsAdapter, adapter
from hyperalign_dspy.program.generate import WriteAs
from hyperalign_dspy.program.infer import InferHypotheses, claims_topic
from hyperalign_dspy.program.settings import SettingsParameter

SAMPLES = list(bundled_corpus().users[0].samples[:4])
REQUEST = "Write about the weather this week."


def scripted(answer: Any = None) -> tuple[Any, list[Request]]:
    """A model that keeps the requests it got."""
    seen: list[Request] = []

    def reply(request: Request) -> str:
        seen.append(request)
        return str(answer(request) if answer else "Plain words.")

    return dspy.LM("scripted", engine=Ledger().wrap(ScriptedEngine(reply), "scripted"), cache=False), seen


def test_three_lines_in_a_notebook(weights: Path) -> None:
    program = HyPerAlign(Settings(samples=1, max_tokens=24))
    with dspy.context(lm=connect("local"), disable_history=True):
        written = program(samples=SAMPLES, request=REQUEST)
    assert written.text
    assert {h.kind for h in written.hypotheses} >= {"measured"}


def test_the_best_draft_is_kept_and_the_first_is_known() -> None:
    lm, seen = scripted(lambda request: {0: "Fine.", 1: "Oh! Yes! Wow!", 2: "Well."}[request.config.seed])
    shouting = ["Oh! Yes! What a day! Really! Good!", "Wow! So good! Yes! Come! Now!"]
    program = HyPerAlign(Settings(shown_hypotheses="none", drafts=3))
    with dspy.context(lm=lm):
        written = program(samples=shouting, request=REQUEST)
    assert written.drafts == ["Fine.", "Oh! Yes! Wow!", "Well."]
    assert written.text == "Oh! Yes! Wow!"
    assert [request.config.seed for request in seen] == [0, 1, 2]


def test_greedy_drafts_are_asked_for_once() -> None:
    lm, seen = scripted()
    with dspy.context(lm=lm):
        Generate(SettingsParameter(Settings(drafts=4, temperature=0.0)))(request=REQUEST)
    assert len(seen) == 1


def test_edited_hypotheses_are_used_and_nothing_is_inferred() -> None:
    lm, seen = scripted()
    with dspy.context(lm=lm):
        HyPerAlign()(samples=SAMPLES, request=REQUEST, hypotheses=[Hypothesis("Writes in rhyme.", "style")])
    assert len(seen) == 1
    assert "Writes in rhyme." in messages_of(seen[0])[-1]["content"]


def test_samples_become_earlier_turns() -> None:
    lm, seen = scripted()
    with dspy.context(lm=lm):
        HyPerAlign(Settings(shown_hypotheses="none", samples=2))(samples=SAMPLES, request=REQUEST)
    roles = [message["role"] for message in messages_of(seen[0])]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages_of(seen[0])[1]["content"] == SAMPLES[0].request
    assert messages_of(seen[0])[-1]["content"] == REQUEST


def test_a_program_is_saved_and_loaded_by_plain_dspy(tmp_path: Path) -> None:
    program = HyPerAlign(Settings(drafts=3, samples=2, shown_hypotheses="both"))
    program.generate.write.signature = program.generate.write.signature.with_instructions("Write so.")
    program.save(tmp_path / "program.json")
    loaded = HyPerAlign()
    loaded.load(tmp_path / "program.json")
    assert loaded.settings.value == program.settings.value
    assert loaded.infer.settings is loaded.settings
    assert loaded.generate.write.signature.instructions == "Write so."
    assert loaded.background.value == program.background.value


def test_a_dspy_optimiser_can_take_it() -> None:
    lm, _ = scripted()
    train = [dspy.Example(samples=[s.text for s in SAMPLES], request=REQUEST).with_inputs("samples", "request")]
    optimiser = dspy.BootstrapFewShot(metric=lambda example, prediction, trace=None: True, max_labeled_demos=0)
    with dspy.context(lm=lm):
        compiled = optimiser.compile(HyPerAlign(Settings(shown_hypotheses="none")), trainset=train)
    assert compiled.generate.write.demos


@pytest.mark.parametrize("bad", [[], ["  "]])
def test_no_samples_are_refused(bad: list[str]) -> None:
    with pytest.raises(UsageError, match="no samples"):
        Infer()(samples=bad)


def test_an_empty_request_is_refused() -> None:
    with pytest.raises(UsageError, match="request is empty"):
        Generate()(request=" ")


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="drafts is 9"):
        Settings(drafts=9)
    with pytest.raises(UsageError, match="no setting called 'colour'"):
        Settings().changed(colour="red")


@pytest.mark.parametrize("name", ["turns", "chat", "json", "xml"])
def test_every_adapter_carries_the_request(name: str) -> None:
    inputs = {
        "hypotheses": ["Writes short."],
        "samples": dspy.History(messages=[]),
        "request": REQUEST,
    }
    rendered = adapter(name).format(WriteAs, [], inputs)
    assert REQUEST in rendered[-1]["content"]
    assert rendered[0]["role"] == "system"


def test_an_unknown_adapter_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="turn") as caught:
        adapter("turn")
    assert "turns" in caught.value.fix


def test_turns_read_json_lines_and_refuse_what_was_cut() -> None:
    turns_adapter = TurnsAdapter()
    whole = json.dumps({"style": ["Writes short."], "personality": ["Is calm."], "communication": ["Speaks plainly."]})
    lines = "Style: Writes short.\nPersonality:\n- Is calm.\nCommunication: Speaks plainly."
    for text in (whole, lines):
        assert turns_adapter.parse(InferHypotheses, text)["personality"] == ["Is calm."]
    for text in (whole[:-30], "", "{}"):
        with pytest.raises(dspy.utils.exceptions.AdapterParseError):
            turns_adapter.parse(InferHypotheses, text)


def test_a_claim_about_the_topic_is_told_from_one_about_the_manner() -> None:
    samples = ["The lighthouse keeper wrote short letters about storms."]
    assert claims_topic("Writes about the lighthouse often.", samples)
    assert not claims_topic("Writes short sentences in a calm tone.", samples)


@pytest.mark.evidence
def test_200_calls_of_both_modules_all_yield_an_answer(weights: Path) -> None:
    """100 inferences and 100 texts by the embedded model through turns."""
    ledger = Ledger()
    program = HyPerAlign(Settings(max_tokens=40))
    users = bundled_corpus().users
    with dspy.context(lm=connect("local", ledger=ledger), disable_history=True):
        for number in range(100):
            user = users[number % len(users)]
            start = 4 * (number // len(users))
            written = program(samples=list(user.samples[start : start + 4]), request=REQUEST, seed=number * 8)
            assert written.text.strip()
    assert ledger.cost().calls >= 190
    assert ledger.failures == 0
