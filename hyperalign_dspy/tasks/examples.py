"""Any DSPy program with a metric: rows of a file are instances, and a Python function scores them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from hyperalign_dspy import registry
from hyperalign_dspy.data.load import Columns, read_rows
from hyperalign_dspy.errors import DataError, NotEnoughData, UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.program.configuration import Configuration, build, new_module
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.tasks.protocol import LABEL, Answer, Arm, Asked, Context, Job, Score, as_dspy_score, one_a_user
from hyperalign_dspy.types import TextPair

# Fewer would leave no interval worth printing on the sealed half.
_LEAST_USERS = 12


@dataclass(frozen=True)
class _ExampleInstance:
    """One row. Rows of one ``user_id`` fall on the same side of the split; without such a column each is its own."""

    instance_id: str
    user_id: str
    row: Mapping[str, Any]


class ExamplesTask:
    """The task of programs that bring their own module and metric; the option ``columns`` may name the user column."""

    def prepare(self, job: Job) -> _ExamplesData:
        """Read and split the rows.

        Raises:
            UsageError: a program.toml without metric or inputs. DataError: a row without an input field.
            TooLittleData: fewer than twelve users or rows.
        """
        if not job.program.metric or not job.program.inputs:
            raise UsageError(
                f"The program {job.program.name!r} names no metric or no inputs.",
                fix='Add `metric = "module:function"` and `inputs = [...]` to its program.toml.',
            )
        rows = list(read_rows(Path(job.source)))
        instances = _instances(rows, job.program.inputs, job.options.get("columns", Columns()).user)
        return _ExamplesData(job, instances)


class _ExamplesData:
    """See `hyperalign_dspy.tasks.protocol.TaskData`."""

    # A metric of one's own may end anywhere.
    ceiling = None

    def __init__(self, job: Job, instances: Sequence[_ExampleInstance]) -> None:
        self.job, self.program = job, job.program
        self._metric: Callable[[dspy.Example, dspy.Prediction], float] = registry.resolve(
            "metric", job.program.metric, {}
        )
        self.unit = job.program.metric.partition(":")[2]
        self._rows = [dict(instance.row) for instance in instances]
        users = sorted({i.user_id for i in instances}, key=lambda user: digest([job.seed, user]))
        if len(users) < _LEAST_USERS:
            raise NotEnoughData(f"{job.source} has {len(users)} users or rows; {_LEAST_USERS} are needed.")
        half = len(users) // 2
        searched = users[:half][: job.recipe.search_users or None]
        self.validation = _capped(instances, searched, job.recipe.search_requests)
        measured = users[:half] if job.on == "validation" else users[half:]
        self.sealed = _capped(instances, measured[: job.recipe.confirm_users], job.recipe.confirm_requests)
        self.control_instances = one_a_user(self.sealed)

    @property
    def digest(self) -> str:
        """SHA-256 over rows and seed."""
        return digest([self._rows, self.job.seed])

    @property
    def facts(self) -> Mapping[str, Any]:
        """Counts."""
        count = {"validation": len(self.validation), "sealed": len(self.sealed)}
        return {
            "corpus": Path(self.job.source).name,
            "corpus_digest": digest(self._rows),
            "users": count,
            "public": False,
            "split_digest": self.digest,
        }

    @property
    def texts(self) -> Sequence[str]:
        """Every text in a row."""
        return [value for row in self._rows for value in row.values() if isinstance(value, str)]

    def extend(self, program: ProgramSpec) -> None:
        """Take the program with more candidates."""
        self.program = program

    def module(self, configuration: Configuration) -> Any:
        """The program's module."""
        return build(self.program, configuration)

    def answer(self, module: Any, instance: _ExampleInstance, *, context: Context = "own") -> Answer:
        """All output fields as one JSON text."""
        del context
        inputs = {name: instance.row[name] for name in self.job.program.inputs}
        return Answer(json.dumps(module(**inputs).toDict(), ensure_ascii=False, default=str))

    def score(self, answers: Sequence[Answer], instances: Sequence[_ExampleInstance], *, sealed: bool) -> list[Score]:
        """The metric of each prediction against its row."""
        del sealed
        return [self._one(answer.text, instance) for answer, instance in zip(answers, instances, strict=True)]

    def _one(self, text: str, instance: _ExampleInstance) -> Score:
        return Score(float(self._metric(self.example(instance), dspy.Prediction(**json.loads(text)))))

    def example(self, instance: _ExampleInstance) -> dspy.Example:
        """The row; all but the inputs are labels."""
        return dspy.Example(**{LABEL: instance.instance_id, **instance.row}).with_inputs(*self.job.program.inputs)

    def metric(
        self, example: dspy.Example, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """What the program's own metric says, as it says it: on which scale is its author's choice."""
        del trace, pred_trace
        if not isinstance(prediction, dspy.Prediction) or not prediction.keys():
            return as_dspy_score(0.0, lambda: "There is no answer.", pred_name)
        value = float(self._metric(example, prediction))
        return as_dspy_score(value, lambda: f"{self.unit} is {value:.3g} for this answer.", pred_name)

    def asked(self, instance: _ExampleInstance) -> Asked:
        """The inputs, and the row's other columns, each as one JSON text."""
        others = [name for name in instance.row if name not in self.job.program.inputs]
        return Asked(
            self._columns(instance, self.job.program.inputs), self._columns(instance, others) if others else ""
        )

    def pair(self, instance: _ExampleInstance, mine: str, rival: str) -> TextPair:
        """Which output does better what the inputs ask for."""
        return TextPair("helpfulness", instance.user_id, mine, rival, None, self.asked(instance).request)

    def feedback(self, instance: _ExampleInstance, text: str) -> str:
        """Nothing that the metric does not say."""
        del instance, text
        return ""

    def _columns(self, instance: _ExampleInstance, names: Sequence[str]) -> str:
        return json.dumps({name: instance.row[name] for name in names}, ensure_ascii=False, default=str)

    def controls(self, compiled: Configuration) -> Sequence[Arm]:
        """None: there is no user to be wrong about."""
        del compiled
        return ()

    def calls(self, configuration: Configuration) -> int:
        """One call a predictor."""
        del configuration
        return len(new_module(self.job.program.module).predictors())


def _instances(rows: Sequence[Mapping[str, Any]], inputs: Sequence[str], user_column: str) -> list[_ExampleInstance]:
    for place, row in enumerate(rows, 1):
        absent = [name for name in (*inputs, *([user_column] if user_column else [])) if name not in row]
        if absent:
            raise DataError(f"Row {place} has no field {absent[0]!r}; it has {', '.join(row)}.")
    return [
        _ExampleInstance(f"row-{place}", str(row[user_column]) if user_column else f"row-{place}", row)
        for place, row in enumerate(rows)
    ]


def _capped(instances: Sequence[_ExampleInstance], users: Sequence[str], most: int) -> tuple[_ExampleInstance, ...]:
    return tuple(i for user in users for i in [i for i in instances if i.user_id == user][:most])
