"""What sealed users have judged: in one run, where users that are looked at again judge more strictly; and in the whole
project, where a reader is told how worn they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from filelock import FileLock

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.experiment.confirm import Terms
from hyperalign_dspy.files import digest, read_json, write_json
from hyperalign_dspy.program.configuration import OPTIMIZER, Configuration
from hyperalign_dspy.runs import Run, folder_for
from hyperalign_dspy.tasks.protocol import TaskData

_TESTED = "tested.json"
# Every judging of sealed users by a run of this project, also of runs that were removed since.
_JUDGED = "judged.jsonl"


def terms_of(
    run: Run, task_data: TaskData, chosen: Configuration, module: Any, constraints: Mapping[str, float]
) -> Terms:
    """What a verdict on a configuration asks for, once it is set down that its sealed users are to judge it;
    ``module`` tells two programs of an optimiser apart, whose settings are the same.

    A run that is given again, and confirms what it has confirmed before, takes no new look at them. One that went on
    under a higher cap and chose anew does, and so does a point of the Pareto set that is confirmed beside what the run
    chose.
    """
    made = OPTIMIZER in chosen.as_dict()
    name = digest([chosen.digest, module.dump_state()])[:12] if made else chosen.digest
    judged = count_judgings(run, task_data, name)
    path = run.path(_TESTED)
    looked = list(read_json(path)) if path.is_file() else []
    if name not in looked:
        looked.append(name)
        write_json(path, looked)
    return Terms(constraints, looked.index(name) + 1, judged)


def count_judgings(run: Run, task_data: TaskData, what: str) -> list[int]:
    """How often each sealed user of a corpus had been judged in this project before.

    That they are now, in this run for ``what`` (a configuration's digest, say), is set down first. The same again in
    the same run is no further judging.

    Raises:
        DataError: the file has a line that is none of ours.
    """
    corpus = task_data.facts["corpus_digest"]
    users = list(dict.fromkeys(instance.user_id for instance in task_data.sealed))
    path = folder_for("") / _JUDGED
    with FileLock(path.with_suffix(".lock")):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        try:
            rows = [json.loads(line) for line in lines]
            earlier = [row for row in rows if row["corpus"] == corpus]
            place = next((n for n, r in enumerate(earlier) if (r["run"], r["what"]) == (run.run_id, what)), None)
            counts = [sum(user in row["users"] for row in earlier[:place]) for user in users]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be read: {error}.", fix="Mend that line. It counts how often sealed users were judged."
            ) from error
        if place is None:
            row = {"corpus": corpus, "run": run.run_id, "what": what, "users": users}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
    return counts
