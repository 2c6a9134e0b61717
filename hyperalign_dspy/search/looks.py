"""Which configurations the sealed users of a run have judged: users that are looked at again judge more strictly."""

from __future__ import annotations

from hyperalign_dspy.search.runs import Run
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.shelf.files import read_json, write_json

LOOKS = "looks.json"


def look(run: Run, configuration: Configuration) -> int:
    """Which look at the sealed users this is, from 1; set down before it is taken.

    A run that is given again, and confirms what it has confirmed before, takes no new look. One that went on under a
    higher cap and chose anew does, and so does a point of the Pareto set that is confirmed beside what the run chose.
    """
    path = run.path(LOOKS)
    looked = list(read_json(path)) if path.is_file() else []
    if configuration.digest not in looked:
        looked.append(configuration.digest)
        write_json(path, looked)
    return looked.index(configuration.digest) + 1
