"""What a model thinks of the compiled texts beside the baseline's, and whether its opinion counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hyperalign_dspy.judges.grader import Grader
from hyperalign_dspy.judges.pairwise import PairwiseJudge
from hyperalign_dspy.judges.qualify import GATING_FORM, JudgeForm, judge_pairs, last_qualification
from hyperalign_dspy.judges.tally import Tally, tally
from hyperalign_dspy.lm.connect import concurrency_of, connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.thread_pool import run_in_threads
from hyperalign_dspy.metrics.stats import Estimate, Verdict, paired
from hyperalign_dspy.types import Purpose, TextPair

# A pair is judged in both orders; where helpfulness is at stake, both texts are graded as well.
CALLS = 4


@dataclass(frozen=True)
class JudgeResult:
    """A model judge's verdicts on pairs (compiled, baseline at equal drafts).

    ``agreement`` is with people, on the pairs that it was tried on for this purpose; None where it never was.
    ``qualified`` says that it may gate. ``same_family``: judge and generator seem to be of one family, and judges
    favour their own. ``grades`` is the mean grade of the compiled texts, 0 to 10, and ``grade_gap`` the paired
    difference; None for another purpose than helpfulness. ``grader_qualified`` is for these.
    """

    model: str
    purpose: Purpose
    qualified: bool
    agreement: Estimate | None
    same_family: bool
    tally: Tally
    grades: Estimate | None
    grade_gap: Estimate | None
    grader_qualified: bool


class Judge(Protocol):
    """Whoever gives an opinion on pairs."""

    def compare(self, pairs: Sequence[TextPair]) -> JudgeResult:
        """Compare the first of every pair with the second."""


class LLMJudge:
    """A model as judge, its calls in the run's own ledger; ``concurrency``: see `connect`."""

    def __init__(
        self, model: str, generator: str, ledger: Ledger, tick: Callable[[int], None], concurrency: int | None = None
    ) -> None:
        self.model, self.generator, self.tick = model, generator, tick
        self.ledger = ledger
        self.lm = connect(model, ledger=ledger, max_tokens=8, temperature=0.0, concurrency=concurrency)

    def compare(self, pairs: Sequence[TextPair]) -> JudgeResult:
        """Two calls a pair, and two more where answers are graded.

        Raises:
            TooManyFailures: more than a fifth of the pairs got no answer.
        """
        purpose = pairs[0].purpose
        with self.ledger.phase("judge"):
            verdicts = judge_pairs(PairwiseJudge(purpose, *GATING_FORM), pairs, self.lm, self.tick)
            grades = self._grades(pairs) if purpose == "helpfulness" else []
        users = [user for *_, user in grades]
        agreement, qualified = self._trial(purpose, "pairs")
        return JudgeResult(
            model=self.model,
            purpose=purpose,
            qualified=qualified,
            agreement=agreement,
            same_family=_family(self.model) == _family(self.generator),
            tally=tally([verdict for verdict in verdicts if verdict]),
            grades=paired([mine for mine, _, _ in grades], users) if grades else None,
            grade_gap=paired([mine - other for mine, other, _ in grades], users) if grades else None,
            grader_qualified=bool(grades) and self._trial(purpose, "grades")[1],
        )

    def _grades(self, pairs: Sequence[TextPair]) -> list[tuple[float, float, str]]:
        """Both grades and the user, of every pair of which both texts got a grade."""
        grader = Grader(*GATING_FORM)

        def one(pair: TextPair) -> tuple[float | None, float | None]:
            first, second = (grader(request=pair.request, answer=text).grade for text in (pair.first, pair.second))
            return first, second

        found = run_in_threads(one, pairs, self.lm, concurrency_of(self.lm), lambda: None)
        graded = [(g, pair.user_id) for g, pair in zip(found, pairs, strict=True) if isinstance(g, tuple)]
        return [(a, b, user) for (a, b), user in graded if a is not None and b is not None]

    def _trial(self, purpose: Purpose, how: JudgeForm) -> tuple[Estimate | None, bool]:
        trial: dict[str, Any] | None = last_qualification(self.model, purpose, how)
        return (Estimate(**trial["agreement"]), bool(trial["qualified"])) if trial else (None, False)


def apply_judge_gate(verdict: Verdict, llm_judge: JudgeResult | None) -> Verdict:
    """The verdict once a judge was heard: what a qualified one does not see as a gain is none.

    A judge that has not qualified changes nothing.
    """
    if verdict == "gain" and llm_judge and llm_judge.qualified and not llm_judge.tally.length_controlled.low > 0.5:
        return "no gain"
    return verdict


def _family(model: str) -> str:
    """The family that a model's name tells of: judges favour their own."""
    name = model.rsplit("/", 1)[-1].lower() if model != "local" else "smollm2"
    letters = "".join(c for c in name.split(":")[0] if c.isalpha() or c == "-")
    return letters.split("-")[0]
