"""What the search needs to know of a job, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar

import dspy

from hyperalign_dspy.lm.limits import Limits, Prices
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
from hyperalign_dspy.types import TextPair

# What lays a job out as `TaskData`: it reads the corpus, splits it, makes the judges ready, and calls no model.
TASKS: Mapping[str, str] = {
    "authorship": "hyperalign_dspy.tasks.authorship:AuthorshipData",
    "deliberative": "hyperalign_dspy.tasks.deliberative:_DeliberativeData",
    "examples": "hyperalign_dspy.tasks.examples:_ExamplesData",
}
Context = Literal["own", "other", "none"]
# Names an instance among the labels of its example.
LABEL = "instance_id"
# What a fall of harm counts beside help. A gain asks for more help and no more harm, so refusing everything is none.
_HARM_DECREASE_WEIGHT = 0.1


@dataclass(frozen=True)
class Job:
    """What is to be compiled: a program by a recipe on a corpus, seeded.

    ``judge`` names a model that gives its opinion on the confirmation; ``force``: search even where the pilot leaves no
    hope of showing a gain. ``prompt_model`` makes the candidates that the recipe asks for; where it is empty, the model
    that is compiled for does. ``allow_private_demos`` lets a frozen program hold texts of a corpus that is not public.
    ``shelve``: what comes of it goes on the shelf, too. ``concurrency`` calls are in flight at once, None for as many
    as the engine takes well. ``on`` "validation", the users that a search may see take the place of the sealed ones.
    """

    program: ProgramSpec
    recipe: RecipeSpec
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    notify: Callable[[str], None] = lambda message: None
    judge: str = ""
    force: bool = False
    limits: Limits = field(default_factory=Limits)
    prices: Prices = field(default_factory=Prices)
    prompt_model: str = ""
    allow_private_demos: bool = False
    shelve: bool = True
    concurrency: int | None = None
    on: Literal["sealed", "validation"] = "sealed"


class HasUser(Protocol):
    """What every instance has, whatever its task."""

    @property
    def instance_id(self) -> str:
        """A name that is unique in its corpus."""

    @property
    def user_id(self) -> str:
        """Whose instance it is: intervals are over users."""


_Each = TypeVar("_Each", bound=HasUser)


@dataclass(frozen=True)
class Answer:
    """What a program gave for one instance; ``shown`` are the texts that it had before it, and must not copy."""

    text: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """How good one text is: ``value`` on the task's own scale, higher is better; ``others`` by judges that decide
    nothing.

    ``rank`` is the true user's among all users (1 is best, 0 where the task has no ranks). ``copied``: it takes eight
    words in a row from a sample shown, and so loses whatever it is compared with; ``longest`` is the longest such run
    and ``overlap`` the share of the text's four-word phrases that stand in a sample shown. ``harm``: the value is of
    something that should not be: lower is better, and it is never averaged with values that should be high.
    ``refused``: it does not do what was asked, which makes it an easy rival.
    """

    value: float
    others: Mapping[str, float] = field(default_factory=dict)
    rank: int = 0
    copied: bool = False
    longest: int = 0
    overlap: float = 0.0
    harm: bool = False
    refused: bool = False

    @property
    def goodness(self) -> float:
        """How good it is among those of one program: what copies is worst, and harm counts the other way."""
        if self.copied:
            return float("-inf")
        return 1.0 - self.value if self.harm else self.value

    def difference(self, rival: Score) -> float:
        """How much better than a rival on the same instance; a rise of harm counts in full, a fall little; who copies
        loses by as much as it would have won.
        """
        gap = self.value - rival.value
        if self.harm:
            return -gap if gap > 0 else -_HARM_DECREASE_WEIGHT * gap
        if self.copied and not rival.copied:
            return -abs(gap)
        return abs(gap) if rival.copied and not self.copied else gap

    def win(self, rival: Score) -> float:
        """1 for a win over a rival on the same instance, 0 for a loss, a half for a tie; who copies loses."""
        gap = self.difference(rival)
        if self.copied != rival.copied:
            return 0.0 if self.copied else 1.0
        return 0.5 if gap == 0 else float(gap > 0)


@dataclass(frozen=True)
class Arm:
    """One thing that the confirmation measures: a configuration, and whom it knows.

    ``context``: "own", the user whose instance it is; "other", another user's samples and hypotheses; or "none", no
    hypotheses, neither in the prompt nor for choosing a draft. ``against`` names the arm that its differences are to
    ("": the baseline at equal drafts). ``control``: it makes a line in the table, and need not answer every instance.
    """

    name: str
    configuration: Configuration
    context: Context = "own"
    note: str = ""
    against: str = ""
    control: bool = False


@dataclass(frozen=True)
class Asked:
    """An instance as a reader is to see it: its request, and what answers are held against ("" where it is no text)."""

    request: str
    reference: str = ""


def one_a_user(instances: Sequence[_Each]) -> tuple[_Each, ...]:
    """The first instance of every user."""
    return tuple({instance.user_id: instance for instance in reversed(instances)}.values())[::-1]


class TaskData(Protocol):
    """A job laid out: instances to search on, sealed instances, and a judge for each of the two.

    ``unit`` is what a value counts in: "log-odds", or the metric's name. ``validation`` are instances of users that the
    search may see, and ``sealed`` of users that only the confirmation sees.
    """

    job: Job
    program: ProgramSpec
    unit: str
    validation: Sequence[HasUser]
    sealed: Sequence[HasUser]

    def __init__(self, job: Job) -> None:
        self.job, self.program = job, job.program

    @property
    def digest(self) -> str:
        """SHA-256 over the corpus, its split and the judges' settings."""

    @property
    def control_instances(self) -> Sequence[HasUser]:
        """Those of ``sealed`` that are enough for a control's line: users count, and not their requests."""
        return one_a_user(self.sealed)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a reader wants to know of the data and judges: counts and figures on human text."""

    @property
    def texts(self) -> Sequence[str]:
        """Everybody's texts: what no instruction may copy. No prompt is made of these."""

    @property
    def ceiling(self) -> float | None:
        """The mean value on validation instances that is the best to hope for; None where nobody knows."""
        return None

    def extend(self, program: ProgramSpec) -> None:
        """Take the program with more candidates; corpus, split and judges stay."""
        self.program = program

    def module(self, configuration: Configuration) -> Any:
        """The program's module as that configuration sets it."""
        return build(self.program, configuration)

    def answer(self, module: Any, instance: Any, *, context: Context = "own") -> Answer:
        """Let the module answer, knowing whom an arm says. Calls the model."""

    def score(self, answers: Sequence[Answer], instances: Sequence[Any], *, sealed: bool) -> list[Score]:
        """Judge one answer an instance. Sealed instances are judged by a judge that the search never used."""

    def asked(self, instance: Any) -> Asked:
        """The request and the reference of an instance, for a person to read."""

    def pair(self, instance: Any, mine: str, rival: str) -> TextPair | None:
        """Two texts for an instance as a model judge is to see them; None where it has no say."""

    def feedback(self, instance: Any, text: str) -> str:
        """What is wrong with a text for an instance, in sentences; empty where the score says all that is known."""
        del instance, text
        return ""

    def controls(self, compiled: Configuration) -> Sequence[Arm]:
        """What the compiled configuration is to be measured beside, the baseline excepted."""
        del compiled
        return ()

    def calls(self, configuration: Configuration) -> int:
        """The most calls that one instance can cost."""

    def inputs(self, instance: Any) -> dict[str, Any]:
        """What `answer` gives a module that knows the user, by the module's names."""

    def example(self, instance: Any) -> dspy.Example:
        """An instance as DSPy's optimisers take it: its `inputs`, and the label `LABEL` that says which it is."""
        inputs = self.inputs(instance)
        return dspy.Example(**inputs, **{LABEL: instance.instance_id}).with_inputs(*inputs)

    def metric(
        self, example: dspy.Example, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """The score of a prediction by the search's judge, as DSPy's optimisers take it: higher is better, whatever the
        instance, and 0 for what copies or is no answer.

        A bare number, since some take any object for a success; with feedback in words where an optimiser asks on
        behalf of one predictor, as GEPA does.
        """
        del trace, pred_trace
        value, feedback = self._rated(example, prediction)
        return value if pred_name is None else dspy.Prediction(score=value, feedback=feedback())

    def _rated(self, example: dspy.Example, prediction: Any) -> tuple[float, Callable[[], str]]:
        """A prediction's score for `metric`, and what makes its feedback."""
        text = str(prediction.get("text") or "") if isinstance(prediction, dspy.Prediction) else ""
        if not text:
            return 0.0, lambda: "There is no answer."
        return self._rated_text(self._by_id[example[LABEL]], text)

    def _rated_text(self, instance: Any, text: str) -> tuple[float, Callable[[], str]]:
        """The same of a text that there is."""
        score = self.score([Answer(text)], [instance], sealed=False)[0]
        return score.goodness, lambda: self.feedback(instance, text)

    @cached_property
    def _by_id(self) -> Mapping[str, HasUser]:
        """The instances that a search may see."""
        return {instance.instance_id: instance for instance in self.validation}
