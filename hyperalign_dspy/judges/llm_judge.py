"""A model as judge of pairs of texts: what it thinks of the compiled ones beside the baseline's, and whether its
opinion counts, which pairs say of which people know the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.files import digest, write_guard
from hyperalign_dspy.judges.pairwise import GradingJudge, PairwiseJudge
from hyperalign_dspy.judges.tally import JudgedPair, Tally
from hyperalign_dspy.lm.connect import concurrency_of, connect, describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.thread_pool import MOST_MISSING, run_in_threads
from hyperalign_dspy.metrics.stats import Estimate, Verdict, paired, proportion, widened
from hyperalign_dspy.runs import home
from hyperalign_dspy.types import Purpose, TextPair

# A judge may gate a verdict where the interval of its agreement with people lies above this.
_QUALIFIED = 0.65
_LEAST_TRIED = 20
# A pair is judged in both orders; where helpfulness is at stake, both texts are graded as well.
CALLS = 4
JudgeForm = Literal["pairs", "grades"]
# The adapter, and the words to which texts are cut: a trial in another form tells nothing of this one.
_GATING_FORM = ("turns", 150)


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


def qualify(
    judge: PairwiseJudge | GradingJudge, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]
) -> _Qualification:
    """Let a judge decide pairs of which the answer is known, by two calls each. Raises: TooManyFailures."""
    verdicts = judge_pairs(judge, pairs, lm, tick)
    known = [(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if verdict]
    right = [verdict.win if pair.first_is_right else 1 - verdict.win for pair, verdict in known]
    users = [pair.user_id for pair, _ in known]
    sure = [(r, user) for r, user in zip(right, users, strict=True) if r != 0.5]
    return _Qualification(
        purpose=judge.purpose,
        agreement=proportion(right, users),
        decided=proportion([r for r, _ in sure], [user for _, user in sure]),
        tally=Tally.of([verdict for _, verdict in known]),
        missing=len(pairs) - len(known),
    )


def judge_pairs(
    judge: PairwiseJudge | GradingJudge, pairs: Sequence[TextPair], lm: Any, tick: Callable[[int], None]
) -> list[JudgedPair | None]:
    """A verdict for each pair, in their order; None where the model failed."""
    done = count(1)

    def one(pair: TextPair) -> JudgedPair:
        said = judge(first=pair.first, second=pair.second, request=pair.request, samples=pair.samples)
        return JudgedPair(pair.user_id, said.winner, said.votes, len(pair.first.split()) - len(pair.second.split()))

    found = run_in_threads(one, pairs, lm, concurrency_of(lm), lambda: tick(next(done)))
    verdicts = [verdict if isinstance(verdict, JudgedPair) else None for verdict in found]
    missing = sum(verdict is None for verdict in verdicts)
    if missing > MOST_MISSING * len(pairs):
        raise TooManyFailures(
            f"The judge gave no answer for {missing} of {len(pairs)} pairs.",
            fix="Try the model with `hyperalign doctor --model MODEL`.",
        )
    return verdicts


@dataclass(frozen=True)
class JudgeResult:
    """A model judge's verdicts on pairs (compiled, baseline at equal drafts).

    ``agreement`` is with people, on the pairs that it was tried on for this purpose; None where it never was.
    ``qualified`` says that it may gate. ``same_family``: judge and generator seem to be of one. ``grades`` is the mean
    grade of the compiled texts, 0 to 10, and ``grade_gap`` the paired difference; None but for helpfulness.
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

    def gate(self, verdict: Verdict) -> Verdict:
        """The verdict once this judge was heard: a gain that a qualified one does not see is none."""
        seen = self.tally.length_controlled.low > 0.5
        return "no gain" if verdict == "gain" and self.qualified and not seen else verdict


class LLMJudge:
    """A model as judge, its calls in the run's own ledger; ``concurrency``: see `connect`."""

    def __init__(
        self, model: str, generator: str, ledger: Ledger, tick: Callable[[int], None], concurrency: int | None = None
    ) -> None:
        self.model, self.generator, self.tick = model, generator, tick
        self.ledger = ledger
        self.lm = connect(model, ledger=ledger, max_tokens=8, temperature=0.0, concurrency=concurrency)

    def compare(self, pairs: Sequence[TextPair]) -> JudgeResult:
        """Two calls a pair, and two more where answers are graded. Raises: TooManyFailures."""
        purpose = pairs[0].purpose
        with self.ledger.phase("judge"):
            verdicts = judge_pairs(PairwiseJudge(purpose, *_GATING_FORM), pairs, self.lm, self.tick)
            grades = self._grades(pairs) if purpose == "helpfulness" else []
        users = [user for *_, user in grades]
        agreement, qualified = self._trial(purpose, "pairs")
        return JudgeResult(
            model=self.model,
            purpose=purpose,
            qualified=qualified,
            agreement=agreement,
            same_family=_family(self.model) == _family(self.generator),
            tally=Tally.of([verdict for verdict in verdicts if verdict]),
            grades=paired([mine for mine, _, _ in grades], users) if grades else None,
            grade_gap=paired([mine - other for mine, other, _ in grades], users) if grades else None,
            grader_qualified=bool(grades) and self._trial(purpose, "grades")[1],
        )

    def _grades(self, pairs: Sequence[TextPair]) -> list[tuple[float, float, str]]:
        """Both grades and the user, of every pair of which both texts got a grade."""
        judge = GradingJudge(*_GATING_FORM)

        def one(pair: TextPair) -> tuple[float | None, float | None]:
            grades: tuple[float | None, float | None] = judge(
                first=pair.first, second=pair.second, request=pair.request
            ).grades
            return grades

        found = run_in_threads(one, pairs, self.lm, concurrency_of(self.lm), lambda: None)
        graded = [(g, pair.user_id) for g, pair in zip(found, pairs, strict=True) if isinstance(g, tuple)]
        return [(a, b, user) for (a, b), user in graded if a is not None and b is not None]

    def _trial(self, purpose: Purpose, how: JudgeForm) -> tuple[Estimate | None, bool]:
        trial: dict[str, Any] | None = last_qualification(self.model, purpose, how)
        return (Estimate(**trial["agreement"]), bool(trial["qualified"])) if trial else (None, False)


def _family(model: str) -> str:
    """The family that a model's name tells of: judges favour their own."""
    name = model.rsplit("/", 1)[-1].lower() if model != "local" else "smollm2"
    letters = "".join(c for c in name.split(":")[0] if c.isalpha() or c == "-")
    return letters.split("-")[0]


def judge_folder() -> Path:
    """Where judges' verdicts and trials are recorded; ignored by git. Raises: MissingFolder."""
    place = home().parent / "judge"
    with write_guard(place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place / ".gitignore").write_text("*\n", encoding="utf-8")
    return place


def record_qualification(found: Mapping[str, Any], how: JudgeForm) -> None:
    """Add one trial, a result of `hyperalign judge qualify`, to the record."""
    row = {**found, "how": how, "model_digest": digest(describe_model(str(found["judge"])))}
    with (judge_folder() / "qualifications.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def last_qualification(judge: str, purpose: Purpose, how: JudgeForm = "pairs") -> dict[str, Any] | None:
    """The latest trial of a judge for a purpose, None where it was never tried with these weights or this server."""
    path = home().parent / "judge" / "qualifications.jsonl"
    if not path.is_file():
        return None
    wanted = (digest(describe_model(judge)), judge, purpose, how, *_GATING_FORM)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    names = ("model_digest", "judge", "purpose", "how", "adapter", "words")
    own = [row for row in rows if tuple(row.get(name) for name in names) == wanted]
    return dict(own[-1]) if own else None
