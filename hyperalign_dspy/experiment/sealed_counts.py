"""What sealed users have judged: in one run, where users that are looked at again judge more strictly; and in the whole
project, where a reader is told how worn they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from filelock import FileLock

from hyperalign_dspy.errors import DataError
from hyperalign_dspy.files import digest, read_json, write_json
from hyperalign_dspy.program.configuration import OPTIMIZER, Configuration
from hyperalign_dspy.runs import Run, folder_for

_TESTED = "tested.json"
# Every judging of sealed users by a run of this project, also of runs that were removed since.
_JUDGED = "judged.jsonl"


def sealed_key(configuration: Configuration, module: Any = None) -> str:
    """What is judged, by a digest; ``module`` tells two programs of an optimiser apart, whose settings are the same."""
    made = OPTIMIZER in configuration.as_dict()
    return digest([configuration.digest, module.dump_state()])[:12] if made else configuration.digest


def register_test(run: Run, name: str) -> int:
    """Which look at the sealed users this is in a run, from 1; set down before it is taken. ``name``: see `sealed_key`.

    A run that is given again, and confirms what it has confirmed before, takes no new look. One that went on under a
    higher cap and chose anew does, and so does a point of the Pareto set that is confirmed beside what the run chose.
    """
    path = run.path(_TESTED)
    looked = list(read_json(path)) if path.is_file() else []
    if name not in looked:
        looked.append(name)
        write_json(path, looked)
    return looked.index(name) + 1


def count_judgings(run: Run, corpus: str, users: Iterable[str], what: str) -> list[int]:
    """How often each of these sealed users of a corpus, by its digest, had been judged in this project before.

    That they are now, in this run for ``what`` (a configuration's digest, say), is set down first. The same again in
    the same run is no further judging.

    Raises:
        DataError: the file has a line that is none of ours.
    """
    users = list(dict.fromkeys(users))
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
