"""Which configurations the sealed users of a run have judged: users that are looked at again judge more strictly."""

from __future__ import annotations

from typing import Any

from hyperalign_dspy.search.record.runs import Run
from hyperalign_dspy.shelf.configure import OPTIMIZER, Configuration
from hyperalign_dspy.shelf.files import read_json, write_json
from hyperalign_dspy.shelf.specs import digest

LOOKS = "looks.json"


def look(run: Run, configuration: Configuration, module: Any = None) -> int:
    """Which look at the sealed users this is, from 1; set down before it is taken.

    A run that is given again, and confirms what it has confirmed before, takes no new look. One that went on under a
    higher cap and chose anew does, and so does a point of the Pareto set that is confirmed beside what the run chose.
    ``module`` is the program itself, which tells two of an optimiser's from each other: their settings are the same.
    """
    made = OPTIMIZER in configuration.as_dict()
    name = digest([configuration.digest, module.dump_state()])[:12] if made else configuration.digest
    path = run.path(LOOKS)
    looked = list(read_json(path)) if path.is_file() else []
    if name not in looked:
        looked.append(name)
        write_json(path, looked)
    return looked.index(name) + 1
