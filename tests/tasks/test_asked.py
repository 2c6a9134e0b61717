"""What a person is shown of an instance, by task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.tasks.protocol import TASKS, Asked, Job


def prepared(job: Job) -> Any:
    return registry.resolve("task", job.program.task, TASKS)(job)


def test_a_delicate_request_comes_with_what_its_answer_needs() -> None:
    task_data = prepared(Job(load_program("deliberative"), load_recipe("quick", "deliberative"), "bundled"))
    plea = next(plea for plea in task_data.sealed if plea.request.needs)
    assert task_data.asked(plea) == Asked(plea.request.request, "; ".join(plea.request.needs))


def test_a_row_is_shown_as_its_inputs_and_the_rest(tmp_path: Path) -> None:
    rows = [{"question": f"How much is {n} + 1?", "answer": n + 1} for n in range(12)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    program = replace(load_program("authorship"), task="examples", metric="operator:eq", inputs=("question",))
    recipe = load_recipe("quick", "authorship")
    task_data = prepared(Job(program, recipe, str(file)))
    asked = task_data.asked(task_data.sealed[0])
    question, answer = json.loads(asked.request)["question"], json.loads(asked.reference)["answer"]
    assert question == f"How much is {answer - 1} + 1?"
    alone = prepared(Job(replace(program, inputs=("question", "answer")), recipe, str(file)))
    assert alone.asked(alone.sealed[0]).reference == ""
