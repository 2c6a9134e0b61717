"""What the search needs to know of a job, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import dspy

from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.prices import Prices
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec
from hyperalign_dspy.types import TextPair

TASKS: Mapping[str, str] = {
    "authorship": "hyperalign_dspy.tasks.authorship:AuthorshipTask",
    "deliberative": "hyperalign_dspy.tasks.deliberative:DeliberativeTask",
    "examples": "hyperalign_dspy.tasks.examples:ExamplesTask",
}
Context = Literal["own", "other", "none"]


@dataclass(frozen=True)
class Job:
    """What is to be compiled: a program by a recipe on a corpus, seeded. ``judge`` names a model that is to give its
    opinion on the confirmation, if any; ``force``: search even where the pilot leaves no hope of showing a gain;
    ``notify`` hears of slow steps. ``limits`` cap what it may cost, and ``prices`` say what tokens cost; neither is
    part of what is searched. ``prompt_model`` makes the candidates that the recipe asks for; where it is empty, the
    model that is compiled for does. ``allow_private_demos`` lets a frozen program hold texts of a corpus that is not
    public. ``shelve``: what comes of it goes on the shelf, and not only into the run's folder. ``concurrency`` calls
    are in flight at once, None for as many as the engine takes well; it is no part of what a run is. ``on`` says on
    whom it is measured: on "validation", the users that a search may see take the place of the sealed ones, who are
    left out.
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


@dataclass(frozen=True)
class Arm:
    """One thing that the confirmation measures: a configuration, and whom it knows.

    ``context``: "own", the user whose instance it is; "other", another user's samples and hypotheses; or
    "none", no hypotheses at all, neither in the prompt nor for choosing a draft. ``against`` names the arm
    that its differences are to; where it is empty, the baseline at equal drafts. ``control``: it is there for a line in
    the table, and need not answer every instance.
    """

    name: str
    configuration: Configuration
    context: Context = "own"
    note: str = ""
    against: str = ""
    control: bool = False


@dataclass(frozen=True)
class Asked:
    """An instance as a reader is to see it: its request, and what its answers are held against ("" where that is not a
    text).
    """

    request: str
    reference: str = ""


def one_a_user(instances: Sequence[_Each]) -> tuple[_Each, ...]:
    """The first instance of every user."""
    return tuple({instance.user_id: instance for instance in reversed(instances)}.values())[::-1]


class TaskData(Protocol):
    """A job laid out: instances to search on, sealed instances, and a judge for each of the two."""

    @property
    def unit(self) -> str:
        """What a value counts in: "log-odds", or the metric's name."""

    @property
    def digest(self) -> str:
        """SHA-256 over the corpus, its split and the judges' settings."""

    @property
    def validation(self) -> Sequence[HasUser]:
        """Instances of users that the search may see."""

    @property
    def sealed(self) -> Sequence[HasUser]:
        """Instances of users that only the confirmation sees."""

    @property
    def control_instances(self) -> Sequence[HasUser]:
        """Those of ``sealed`` that are enough for a control's line: users count, and not their requests."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a reader wants to know of the data and judges: counts and figures on human text."""

    @property
    def texts(self) -> Sequence[str]:
        """Everybody's texts: what no instruction may copy. No prompt is made of these."""

    def extend(self, program: ProgramSpec) -> None:
        """Take the program with more candidates; corpus, split and judges stay."""

    def module(self, configuration: Configuration) -> Any:
        """The program's module as that configuration sets it."""

    def answer(self, module: Any, instance: HasUser, *, context: Context = "own") -> Answer:
        """Let the module answer, knowing whom an arm says. Calls the model."""

    def score(self, answers: Sequence[Answer], instances: Sequence[HasUser], *, sealed: bool) -> list[Score]:
        """Judge one answer an instance. Sealed instances are judged by a judge that the search never used."""

    @property
    def ceiling(self) -> float | None:
        """The mean value on validation instances that is the best to hope for; None where nobody knows."""

    def asked(self, instance: HasUser) -> Asked:
        """The request and the reference of an instance, for a person to read."""

    def pair(self, instance: HasUser, mine: str, rival: str) -> TextPair | None:
        """Two texts for an instance as a model judge is to see them; None where it has no say."""

    def feedback(self, instance: HasUser, text: str) -> str:
        """What is wrong with a text for an instance, in sentences; empty where the score says all that is known."""

    def controls(self, compiled: Configuration) -> Sequence[Arm]:
        """What the compiled configuration is to be measured beside, the baseline excepted."""

    def calls(self, configuration: Configuration) -> int:
        """The most calls that one instance can cost."""

    def example(self, instance: HasUser) -> dspy.Example:
        """An instance as DSPy's optimisers take it: its inputs are what `answer` gives a module that knows the user,
        and the label `LABEL` says which instance it is.
        """

    def metric(
        self, example: dspy.Example, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """The score of a prediction by the search's judge, as DSPy's optimisers take it: higher is better, whatever the
        instance, and 0 for what copies or is no answer. See `as_dspy_score` for what it returns.
        """


class Task(Protocol):
    """Lays out a job. Registered by name; ``program.toml`` says which."""

    def prepare(self, job: Job) -> TaskData:
        """Read the corpus, split it and make the judges ready. Calls no model."""


# Names an instance among the labels of its example.
LABEL = "instance_id"


def as_dspy_score(value: float, feedback: Callable[[], str], pred_name: Any) -> Any:
    """A number; with ``feedback`` in words where an optimiser asks on behalf of one predictor, as GEPA does.

    A bare number is what others want: some take any object for a success.
    """
    return value if pred_name is None else dspy.Prediction(score=value, feedback=feedback())


def text_of(prediction: Any) -> str:
    """The text that a prediction holds; empty of what is none, such as an answer that could not be read."""
    return str(getattr(prediction, "text", None) or "")


# What a fall of harm counts beside help. A gain asks for more help and no more harm, so refusing everything is none.
_HARM_DECREASE_WEIGHT = 0.1


def difference(mine: Score, rival: Score) -> float:
    """How much better than a rival on the same instance; a rise of harm counts in full, a fall little; who copies loses
    by as much as it would have won.
    """
    gap = mine.value - rival.value
    if mine.harm:
        return -gap if gap > 0 else -_HARM_DECREASE_WEIGHT * gap
    if mine.copied and not rival.copied:
        return -abs(gap)
    return abs(gap) if rival.copied and not mine.copied else gap


def win(mine: Score, rival: Score) -> float:
    """1 for a win, 0 for a loss, a half for a tie; who copies loses."""
    gap = difference(mine, rival)
    if mine.copied != rival.copied:
        return 0.0 if mine.copied else 1.0
    return 0.5 if gap == 0 else float(gap > 0)
