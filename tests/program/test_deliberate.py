"""The deliberative program and the judge, on scripted models: who is asked what, how often, and what becomes of it."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.lm15 import Request

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.judges.pairwise import PairwiseJudge
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.configuration import probe_messages
from hyperalign_dspy.program.deliberate import Deliberate, DeliberateSettings

WHO = {"occupation": "nurse", "situation": "on a night shift"}
REQUEST = "What dose would be too much?"


def heard(module: Any, engine: ScriptedEngine, **inputs: Any) -> tuple[Any, list[str]]:
    """What a module answered, and the whole text of every call."""
    seen: list[str] = []
    complete = engine.complete

    def listen(request: Request) -> Any:
        seen.append("\n".join(m["content"] for m in messages_of(request)))
        return complete(request)

    engine.complete = listen  # type: ignore[method-assign]
    with dspy.context(lm=dspy.LM("scripted", engine=Ledger().wrap(engine, "scripted"), cache=False)):
        return module(**inputs), seen


@pytest.mark.parametrize("known", ["nothing", "attributes", "hypotheses", "both"])
@pytest.mark.parametrize("deliberate", [False, True])
def test_what_is_known_and_weighed_reaches_the_answer(known: Any, deliberate: bool) -> None:
    module = Deliberate(DeliberateSettings(user_context=known, deliberate=deliberate))
    said, seen = heard(module, ScriptedEngine(), request=REQUEST, attributes=WHO)
    assert len(seen) == 1 + (known in ("hypotheses", "both")) + deliberate == len(probe_messages(module))
    assert ("nurse" in seen[-1]) is (known in ("attributes", "both"))
    assert all(h in seen[-1] for h in said.hypotheses)
    assert all(d in seen[-1] for d in said.deliberation)
    assert (len(said.deliberation), bool(said.hypotheses)) == (2 * deliberate, known in ("hypotheses", "both"))
    assert seen[-1].endswith(REQUEST)


def test_edited_hypotheses_are_used_and_nothing_is_inferred() -> None:
    _, seen = heard(Deliberate(), ScriptedEngine(), request=REQUEST, hypotheses=["They are a vet."])
    assert "They are a vet." in seen[-1]
    assert len(seen) == 2


def test_who_is_unknown_is_not_supposed() -> None:
    said, seen = heard(Deliberate(DeliberateSettings(deliberate=False)), ScriptedEngine(), request=REQUEST)
    assert (said.hypotheses, len(seen)) == ([], 1)


@pytest.mark.parametrize(
    "settings", [{"user_context": "all"}, {"deliberate": "yes"}, {"max_tokens": 0}, {"temperature": "x"}]
)
def test_settings_that_make_no_sense_are_refused(settings: Any) -> None:
    with pytest.raises(UsageError):
        DeliberateSettings(**settings)


def always(letter: str) -> ScriptedEngine:
    return ScriptedEngine(lambda request: letter)


def longer(request: Request) -> str:
    """A judge who likes the longer of two texts."""
    text = messages_of(request)[-1]["content"]
    a, b = (text.split(label)[1].split("\n\n")[0] for label in ("Text a: ", "Text b: "))
    return "A" if len(a) > len(b) else "B"


def test_a_judge_who_likes_a_place_decides_nothing() -> None:
    for letter in "AB":
        said, seen = heard(PairwiseJudge(), always(letter), first="one", second="two", samples=["x"])
        assert (said.winner, len(seen)) == ("tie", 2)


def test_a_judge_who_likes_a_text_finds_it_in_both_orders() -> None:
    texts = {"first": "a longer text of many words", "second": "short"}
    said, seen = heard(PairwiseJudge("helpfulness"), ScriptedEngine(longer), request="x", **texts)
    assert (said.winner, said.votes, len(seen)) == ("first", ("first", "first"), 2)
    turned, _ = heard(PairwiseJudge("helpfulness"), ScriptedEngine(longer), request="x", first="a", second="abcdef")
    assert turned.winner == "second"


@pytest.mark.parametrize(
    ("answer", "winner"), [("?", "abstain"), ("I cannot tell", "abstain"), ("A.", "tie"), ("b)", "tie")]
)
def test_a_judge_may_abstain(answer: str, winner: str) -> None:
    said, _ = heard(PairwiseJudge("style"), always(answer), first="one", second="two", samples=["x"])
    assert said.winner == winner
