"""The one confirmation: every arm on the sealed users, paired differences, and the verdict in words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from hyperalign_dspy.files import write_text
from hyperalign_dspy.judges.llm_judge import JudgeResult, LLMJudge
from hyperalign_dspy.metrics.stats import LEVEL, Agreement, Estimate, agreement, paired, proportion, verdict
from hyperalign_dspy.optimize.objectives import exceeded
from hyperalign_dspy.program.configuration import OPTIMIZER, Configuration
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Evaluator, Outcome
from hyperalign_dspy.tasks.protocol import Arm, HasUser, Score, TaskData
from hyperalign_dspy.types import Cost

# Every text of the confirmation, one line an arm and instance, for people to read.
OUTPUTS = "outputs.jsonl"
BASELINE, EQUAL, COMPILED = "baseline", "baseline, equal drafts", "compiled"


@dataclass(frozen=True)
class ArmRow:
    """One arm on the sealed users.

    ``value`` is the mean score, ``gap`` the paired difference to the baseline at equal drafts and ``wins`` the win rate
    over it, on all instances that both answered; ``answered`` is the win rate over those where the rival's text is no
    refusal. ``others`` are the gaps by judges that decide nothing. ``harm`` is the mean of what should not be (None
    where the task has no such thing) and ``harm_rise`` its paired difference to the baseline's at equal drafts.
    ``copied`` is the share of texts that copy, ``longest`` the longest run of words taken from a sample, in words, and
    ``overlap`` the mean share of four-word phrases that stand in one.
    """

    name: str
    note: str
    drafts: int
    value: Estimate
    gap: Estimate
    wins: Estimate
    answered: Estimate
    others: Mapping[str, Estimate]
    harm: Estimate | None
    harm_rise: Estimate | None
    rank: float
    accuracy: float
    copied: float
    longest: int
    overlap: float
    missing: int
    cost: Cost

    @classmethod
    def of(cls, arm: Arm, outcomes: Sequence[Outcome], cost: Cost, rival: Sequence[Outcome]) -> ArmRow:
        """From an arm's outcomes and those of the arm that it is held against."""
        answered = [(o.score, o.instance.user_id) for o in outcomes if o.score]
        scores = [(score, user) for score, user in answered if not score.harm]
        harms = [(score.value, user) for score, user in answered if score.harm]
        return cls(
            name=arm.name,
            note=arm.note,
            drafts=_drafts(arm),
            value=paired([s.value for s, _ in scores], [user for _, user in scores]),
            gap=_gap(outcomes, rival),
            wins=_wins(outcomes, rival),
            answered=_wins(outcomes, _answered(rival)),
            others={name: _other_gap(outcomes, rival, name) for name in scores[0][0].others} if scores else {},
            harm=proportion([v for v, _ in harms], [user for _, user in harms]) if harms else None,
            harm_rise=_harm_rise(outcomes, rival),
            rank=fmean([1 / s.rank if s.rank else 0.0 for s, _ in scores]),
            accuracy=fmean([float(s.rank == 1) for s, _ in scores]),
            copied=fmean([float(s.copied) for s, _ in scores]),
            longest=max(s.longest for s, _ in scores),
            overlap=fmean([s.overlap for s, _ in scores]),
            missing=len(outcomes) - len(answered),
            cost=cost,
        )


@dataclass(frozen=True)
class Terms:
    """What a verdict asks for beside a gain: bounds (see `hyperalign_dspy.optimize.objectives`), and certainty for the
    ``test_count``-th configuration that the same users judge in one run. ``judged``: how often each of the users was
    judged before in this project, for a reader to know.

    The first is judged by intervals at 95%, the k-th by intervals at 1 - 0.05 / (k (k - 1)): all that come after the
    first are wrong together in at most 5%, however many they are, since the shares sum to that.
    """

    constraints: Mapping[str, float] = field(default_factory=dict)
    test_count: int = 1
    judged: Sequence[int] = ()

    @property
    def level(self) -> float:
        """The intervals' level."""
        return LEVEL if self.test_count == 1 else 1 - (1 - LEVEL) / (self.test_count * (self.test_count - 1))


@dataclass(frozen=True)
class Confirmation:
    """All rows, the verdict (see `hyperalign_dspy.metrics.stats.verdict`) and the margins of the compiled program
    over each control: the paired difference, the win rate, and the win rate where the control's text is no refusal.

    ``agreement`` says how other judges see the compiled program's texts beside the baseline's at equal drafts, and
    ``llm_judge`` what a model thinks of them, where one was asked. ``exceeded`` are the constraints that the compiled
    texts do not meet, each with what was measured. ``test_count`` is how many configurations these sealed users have
    judged in this run, this one included: the more, the more certainty a verdict asks for. ``judged``: see `Terms`.
    """

    rows: tuple[ArmRow, ...]
    verdict: str
    margins: dict[str, tuple[Estimate, Estimate, Estimate]]
    agreement: dict[str, Agreement]
    llm_judge: JudgeResult | None = None
    exceeded: Mapping[str, float] = field(default_factory=dict)
    test_count: int = 1
    judged: Sequence[int] = ()

    def row(self, name: str) -> ArmRow:
        """The row of one arm."""
        return next(row for row in self.rows if row.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for files."""
        return asdict(self)


def arms_of(task_data: TaskData, baseline: Configuration, compiled: Configuration) -> list[Arm]:
    """What is measured: controls, the baseline, the baseline at the compiled drafts and temperature, the compiled.

    Where an optimiser made the compiled program its settings are the baseline's, and so are those of the controls; but
    for the wrong user, whom the compiled program itself is given.
    """
    controls = task_data.controls(compiled)
    if OPTIMIZER in compiled.as_dict():
        controls = [
            replace(a, configuration=compiled) if a.context == "other" else a for a in task_data.controls(baseline)
        ]
    return [*(replace(arm, control=True) for arm in controls), *verdict_arms(baseline, compiled)]


def instances_of(task_data: TaskData, arm: Arm, arms: Sequence[Arm]) -> Sequence[HasUser]:
    """The sealed instances that one of the arms answers.

    All of them for what is no control, and for a control that is the same as such an arm, since that costs nothing;
    other controls answer as many as their line needs.
    """
    whole = [other for other in arms if not other.control]
    same = any((other.configuration, other.context) == (arm.configuration, arm.context) for other in whole)
    return task_data.sealed if same else task_data.control_instances


def verdict_arms(baseline: Configuration, compiled: Configuration) -> list[Arm]:
    """What the verdict is told from, and the baseline as it is."""
    return [
        Arm(BASELINE, baseline, note="as published, 1 draft", control=True),
        Arm(EQUAL, equal_to(compiled, baseline), note="what the verdict is against"),
        Arm(COMPILED, compiled),
    ]


def equal_to(other: Configuration, baseline: Configuration) -> Configuration:
    """The baseline with as many drafts as another configuration, at its temperature and length."""
    theirs = other.as_dict()
    return baseline.changed(**{s: theirs[s] for s in ("drafts", "temperature", "max_tokens") if s in theirs})


def confirm(
    task_data: TaskData,
    evaluator: Evaluator,
    arms: Sequence[Arm],
    judge: LLMJudge | None = None,
    terms: Terms | None = None,
    outputs: Run | None = None,
) -> Confirmation:
    """Measure all arms once on the sealed users; their texts go to the folder of ``outputs``, where one is given.

    A judge that has qualified has to see a gain too, and texts that do not meet the terms are none.
    """
    terms = terms or Terms()
    measured = _measured(task_data, evaluator, arms)
    if outputs:
        write_outputs(outputs, task_data, {arm.name: measured[arm.name][0] for arm in arms})
    rival = measured[EQUAL][0]
    rows = tuple(ArmRow.of(arm, *measured[arm.name], measured[arm.against or EQUAL][0]) for arm in arms)
    compiled = measured[COMPILED][0]
    controls = {arm.name: measured[arm.name][0] for arm in arms if arm.name not in (BASELINE, EQUAL, COMPILED)}
    margins = {
        name: (_gap(compiled, control), _wins(compiled, control), _wins(compiled, _answered(control)))
        for name, control in controls.items()
    }
    if len({arm.configuration for arm in arms if arm.name in (COMPILED, EQUAL)}) == 1:
        return Confirmation(rows, "no gain", margins, {}, judged=terms.judged)
    llm_judge = _opinion(task_data, judge, compiled, rival) if judge else None
    level = terms.level
    words = verdict(_gap(compiled, rival, level), _harm_rise(compiled, rival, level), level)
    words = llm_judge.gate(words) if llm_judge else words
    over = exceeded(compiled, terms.constraints)
    if over and words == "gain":
        words = "constraint not met"
    return Confirmation(
        rows, words, margins, _agreement(compiled, rival), llm_judge, over, terms.test_count, terms.judged
    )


def write_outputs(run: Run, task_data: TaskData, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """Write the outcomes of every arm into a run's folder, in place of those of an earlier confirmation.

    Raises:
        MissingFolder: the file cannot be written.
    """
    rows = [_output_row(task_data, arm, outcome) for arm, found in outcomes.items() for outcome in found]
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    # A model may be cut in the middle of a character, and half a character is no text that a file could hold.
    write_text(run.path(OUTPUTS), lines.encode("utf-8", "replace").decode("utf-8"), private=True)


def _output_row(task_data: TaskData, arm: str, outcome: Outcome) -> dict[str, Any]:
    """One text as plain data; without an answer the text is empty and all that is said of it null."""
    asked, score = task_data.asked(outcome.instance), outcome.score
    return {
        "arm": arm,
        "instance": outcome.instance.instance_id,
        "user": outcome.instance.user_id,
        "request": asked.request,
        "reference": asked.reference,
        "text": outcome.text,
        "value": score.value if score and math.isfinite(score.value) else None,
        "copied": score.copied if score else None,
        "harm": score.harm if score else None,
    }


def _measured(task_data: TaskData, evaluator: Evaluator, arms: Sequence[Arm]) -> dict[str, tuple[list[Outcome], Cost]]:
    """Each arm's outcomes, and what they cost. All are in the air together: none waits for another's slowest answers.

    Only an arm with fewer drafts of the same configuration comes after those with more: its texts are on record then,
    and an engine that makes drafts together reads no prompt twice.
    """

    def start(arm: Arm) -> Callable[[], list[Outcome]]:
        return evaluator.start(arm, instances_of(task_data, arm, arms), sealed=True, phase=_phase(arm))

    ordered = sorted(arms, key=_drafts, reverse=True)
    batches = {arm.name: start(arm) for arm in ordered if not any(_holds(other, arm) for other in arms)}
    measured = {}
    for arm in ordered:
        found = (batches.get(arm.name) or start(arm))()
        measured[arm.name] = (found, evaluator.ledger.cost(_phase(arm)))
    return measured


def _holds(arm: Arm, other: Arm) -> bool:
    """Whether another arm's drafts are the first of this one's."""
    one, two = (each.configuration.changed(drafts=0) for each in (arm, other))
    return one == two and _drafts(arm) > _drafts(other)


def _phase(arm: Arm) -> str:
    return f"confirm:{arm.name}"


def _opinion(
    task_data: TaskData, judge: LLMJudge, mine: Sequence[Outcome], rival: Sequence[Outcome]
) -> JudgeResult | None:
    both = [(m, r) for m, r in zip(mine, rival, strict=True) if m.score and r.score]
    pairs = [task_data.pair(m.instance, m.text, r.text) for m, r in both]
    asked = [pair for pair in pairs if pair]
    return judge.compare(asked) if asked else None


def _drafts(arm: Arm) -> int:
    return int(arm.configuration.as_dict().get("drafts", 1))


def _pairs(mine: Sequence[Outcome], rival: Sequence[Outcome], *, harm: bool = False) -> list[tuple[Score, Score, str]]:
    """Scores of both on the instances that both answered: of what should be high, or of harm, never mixed."""
    theirs = {o.instance.instance_id: o.score for o in rival}
    both = [(m.score, theirs.get(m.instance.instance_id), m.instance.user_id) for m in mine]
    return [(m, r, user) for m, r, user in both if m and r and m.harm is harm]


def _answered(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that do what was asked."""
    return [o for o in outcomes if o.score and not o.score.refused]


def _harm_rise(mine: Sequence[Outcome], rival: Sequence[Outcome], level: float = LEVEL) -> Estimate | None:
    pairs = _pairs(mine, rival, harm=True)
    return paired([m.value - r.value for m, r, _ in pairs], [user for *_, user in pairs], level) if pairs else None


def _gap(mine: Sequence[Outcome], rival: Sequence[Outcome], level: float = LEVEL) -> Estimate:
    pairs = _pairs(mine, rival)
    return paired([m.difference(r) for m, r, _ in pairs], [user for *_, user in pairs], level)


def _wins(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> Estimate:
    pairs = _pairs(mine, rival)
    return proportion([m.win(r) for m, r, _ in pairs], [user for *_, user in pairs])


def _other_gap(mine: Sequence[Outcome], rival: Sequence[Outcome], judge: str) -> Estimate:
    pairs = _pairs(mine, rival)
    return paired([m.others[judge] - r.others[judge] for m, r, _ in pairs], [user for *_, user in pairs])


def _agreement(mine: Sequence[Outcome], rival: Sequence[Outcome]) -> dict[str, Agreement]:
    """How far each other judge goes with the primary one, on the same generated texts."""
    pairs = _pairs(mine, rival)
    primary = [m.value - r.value for m, r, _ in pairs]
    found = {}
    for judge in pairs[0][0].others if pairs else ():
        theirs = [m.others[judge] - r.others[judge] for m, r, _ in pairs]
        found[judge] = agreement(primary, theirs, [user for *_, user in pairs])
    return found
