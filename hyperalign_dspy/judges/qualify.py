"""Puts pairs of texts before a judge; pairs of which people know the answer say whether it may judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.files import digest, writing
from hyperalign_dspy.judges.tally import JudgedPair, Tally, tally
from hyperalign_dspy.lm.connect import concurrency_of, describe
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, run_in_threads
from hyperalign_dspy.metrics.stats import Estimate, proportion, widened
from hyperalign_dspy.runs import home
from hyperalign_dspy.types import Purpose, TextPair

# A judge may gate a verdict where the interval of its agreement with people lies above this.
_QUALIFIED = 0.65
_LEAST_TRIED = 20


class _Decider(Protocol):
    """A module that says which of two texts is better: by comparing them, or by grading each."""

    purpose: Purpose

    def __call__(self, *, first: str, second: str, request: str, samples: Sequence[str]) -> Any:
        """A prediction with ``winner`` and ``votes``."""


@dataclass(frozen=True)
class _Qualification:
    """How well a judge agrees with people for one purpose; a tie or abstention agrees by half.

    ``decided`` is the agreement on the pairs that it decided. ``tally`` is over the pairs as they were shown.
    """

    purpose: Purpose
    agreement: Estimate
    decided: Estimate
    tally: Tally
    missing: int

    @property
    def qualified(self) -> bool:
        """Whether it may gate: tried on twenty users or items, and the lower end of its agreement is at least .65."""
        return self.agreement.n_users >= _LEAST_TRIED and widened(self.agreement).low >= _QUALIFIED


def qualify(judge: _Decider, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]) -> _Qualification:
    """Let a judge decide pairs of which the answer is known. Two calls a pair.

    Raises:
        TooManyFailures: more than a fifth of the pairs got no answer.
    """
    verdicts = judge_pairs(judge, pairs, lm, tick)
    known = [(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict]
    right = [verdict.win if pair.first_is_right else 1 - verdict.win for pair, verdict in known]
    users = [pair.user_id for pair, _ in known]
    sure = [(r, user) for r, user in zip(right, users, strict=True) if r != 0.5]
    return _Qualification(
        purpose=judge.purpose,
        agreement=proportion(right, users),
        decided=proportion([r for r, _ in sure], [user for _, user in sure]),
        tally=tally([verdict for _, verdict in known]),
        missing=len(pairs) - len(known),
    )


def judge_pairs(
    judge: _Decider, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]
) -> list[JudgedPair | None]:
    """A verdict for each pair, in their order; None where the model failed."""
    done: list[None] = []

    def heard() -> None:
        done.append(None)
        tick(len(done))

    def one(pair: TextPair) -> JudgedPair:
        said = judge(first=pair.first, second=pair.second, request=pair.request, samples=pair.samples)
        return JudgedPair(pair.user_id, said.winner, said.votes, len(pair.first.split()) - len(pair.second.split()))

    found = run_in_threads(one, pairs, lm, concurrency_of(lm), heard)
    verdicts = [verdict if isinstance(verdict, JudgedPair) else None for verdict in found]
    missing = sum(verdict is None for verdict in verdicts)
    if missing > MOST_MISSING * len(pairs):
        raise TooManyFailures(
            f"The judge gave no answer for {missing} of {len(pairs)} pairs.",
            fix="Try the model with `hyperalign models check --model MODEL`.",
        )
    return verdicts


JudgeForm = Literal["pairs", "grades"]
# The adapter and the words to which texts are cut, as a judge is asked for its opinion: a trial in another form tells
# nothing of this one.
GATING_FORM = ("turns", 150)


def judge_folder() -> Path:
    """Where judges' verdicts and trials are recorded; ignored by git. Raises: MissingFolder."""
    place = home().parent / "judge"
    with writing(place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / ".gitignore").write_text("*\n", encoding="utf-8")
    return place


def record_qualification(found: Mapping[str, Any], how: JudgeForm) -> None:
    """Add one trial, a result of `hyperalign judge qualify`, to the record."""
    row = {**found, "how": how, "model_digest": _model_digest(str(found["judge"]))}
    with (judge_folder() / "qualifications.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def last_qualification(judge: str, purpose: Purpose, how: JudgeForm = "pairs") -> dict[str, Any] | None:
    """The latest trial of a judge for a purpose, None where it was never tried with these weights or this server."""
    path = home().parent / "judge" / "qualifications.jsonl"
    if not path.is_file():
        return None
    wanted = (_model_digest(judge), judge, purpose, how, *GATING_FORM)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = ("model_digest", "judge", "purpose", "how", "adapter", "words")
    own = [row for row in rows if tuple(row.get(name) for name in names) == wanted]
    return dict(own[-1]) if own else None


def _model_digest(model: str) -> str:
    return digest(describe(model))
