"""outputs.jsonl: every text of the confirmation, one line an arm and instance, for people to read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hyperalign_dspy.files import write_text
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.evaluate import Outcome
from hyperalign_dspy.tasks.protocol import TaskData

OUTPUTS = "outputs.jsonl"


def keeper(run: Run, task_data: TaskData) -> Callable[[Mapping[str, Sequence[Outcome]]], None]:
    """What writes the outcomes of every arm into a run's folder, in place of those of an earlier confirmation.

    Raises, when it is called:
        MissingFolder: the file cannot be written.
    """

    def keep(outcomes: Mapping[str, Sequence[Outcome]]) -> None:
        rows = [_output_row(task_data, arm, outcome) for arm, found in outcomes.items() for outcome in found]
        lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
        # A model may be cut in the middle of a character, and half a character is no text that a file could hold.
        write_text(run.path(OUTPUTS), lines.encode("utf-8", "replace").decode("utf-8"), private=True)

    return keep


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
