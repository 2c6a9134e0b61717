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
from hyperalign_dspy.program.configuration import Configuration, new_module
from hyperalign_dspy.tasks.protocol import LABEL, Answer, Asked, Context, Job, Score, TaskData
from hyperalign_dspy.types import TextPair

# Fewer would leave no interval worth printing on the sealed half.
_LEAST_USERS = 12


@dataclass(frozen=True)
class _ExampleInstance:
    """One row. Rows of one ``user_id`` fall on the same side of the split; without such a column each is its own."""

    instance_id: str
    user_id: str
    row: Mapping[str, Any]


class _ExamplesData(TaskData):
    """The task of programs that bring their own module and metric; the option ``columns`` may name the user column.

    There is no user to be wrong about, so no control; a metric of one's own may end anywhere.

    Raises:
        UsageError: a program.toml without metric or inputs. DataError: a row without an input field.
        NotEnoughData: fewer than twelve users or rows.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        if not job.program.metric or not job.program.inputs:
            raise UsageError(
                f"The program {job.program.name!r} names no metric or no inputs.",
                fix='Add `metric = "module:function"` and `inputs = [...]` to its program.toml.',
            )
        self._metric: Callable[[dspy.Example, dspy.Prediction], float] = registry.resolve(
            "metric", job.program.metric, {}
        )
        self.unit = job.program.metric.partition(":")[2]
        self._rows = [dict(row) for row in read_rows(Path(job.source))]
        instances = _instances(self._rows, job.program.inputs, job.options.get("columns", Columns()).user)
        users = sorted({i.user_id for i in instances}, key=lambda user: digest([job.seed, user]))
        if len(users) < _LEAST_USERS:
            raise NotEnoughData(f"{job.source} has {len(users)} users or rows; {_LEAST_USERS} are needed.")
        half = len(users) // 2
        searched = users[:half][: job.recipe.search_users or None]
        self.validation = _capped(instances, searched, job.recipe.search_requests)
        measured = users[:half] if job.on == "validation" else users[half:]
        self.sealed = _capped(instances, measured[: job.recipe.confirm_users], job.recipe.confirm_requests)

    @property
    def digest(self) -> str:
        return digest([self._rows, self.job.seed])

    @property
    def facts(self) -> Mapping[str, Any]:
        return {
            "corpus": Path(self.job.source).name,
            "corpus_digest": digest(self._rows),
            "users": {"validation": len(self.validation), "sealed": len(self.sealed)},
            "public": False,
            "split_digest": self.digest,
        }

    @property
    def texts(self) -> Sequence[str]:
        return [value for row in self._rows for value in row.values() if isinstance(value, str)]

    def inputs(self, instance: _ExampleInstance) -> dict[str, Any]:
        return {name: instance.row[name] for name in self.job.program.inputs}

    def answer(self, module: Any, instance: _ExampleInstance, *, context: Context = "own") -> Answer:
        """All output fields as one JSON text."""
        del context
        return Answer(_json(module(**self.inputs(instance)).toDict()))

    def score(self, answers: Sequence[Answer], instances: Sequence[_ExampleInstance], *, sealed: bool) -> list[Score]:
        del sealed
        pairs = zip(answers, instances, strict=True)
        return [Score(self._value(self.example(i), dspy.Prediction(**json.loads(a.text)))) for a, i in pairs]

    def example(self, instance: _ExampleInstance) -> dspy.Example:
        """The row; all but the inputs are labels."""
        return dspy.Example(**{LABEL: instance.instance_id, **instance.row}).with_inputs(*self.job.program.inputs)

    def _rated(self, example: dspy.Example, prediction: Any) -> tuple[float, Callable[[], str]]:
        """What the program's own metric says, as it says it: on which scale is its author's choice."""
        if not isinstance(prediction, dspy.Prediction) or not prediction.keys():
            return 0.0, lambda: "There is no answer."
        value = self._value(example, prediction)
        return value, lambda: f"{self.unit} is {value:.3g} for this answer."

    def _value(self, example: dspy.Example, prediction: dspy.Prediction) -> float:
        return float(self._metric(example, prediction))

    def asked(self, instance: _ExampleInstance) -> Asked:
        """The inputs, and the row's other columns, each as one JSON text."""
        others = {name: value for name, value in instance.row.items() if name not in self.job.program.inputs}
        return Asked(_json(self.inputs(instance)), _json(others) if others else "")

    def pair(self, instance: _ExampleInstance, mine: str, rival: str) -> TextPair:
        return TextPair("helpfulness", instance.user_id, mine, rival, None, self.asked(instance).request)

    def calls(self, configuration: Configuration) -> int:
        """One call a predictor."""
        del configuration
        return len(new_module(self.job.program.module).predictors())


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _instances(rows: Sequence[Mapping[str, Any]], inputs: Sequence[str], user_column: str) -> list[_ExampleInstance]:
    found = []
    for place, row in enumerate(rows):
        for name in (*inputs, user_column):
            if name and name not in row:
                raise DataError(f"Row {place + 1} has no field {name!r}; it has {', '.join(row)}.")
        name = f"row-{place}"
        found.append(_ExampleInstance(name, str(row[user_column]) if user_column else name, row))
    return found


def _capped(instances: Sequence[_ExampleInstance], users: Sequence[str], most: int) -> tuple[_ExampleInstance, ...]:
    return tuple(i for user in users for i in [i for i in instances if i.user_id == user][:most])
