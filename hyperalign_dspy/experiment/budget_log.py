"""What a search was granted, set down once it has ended: walked again under the same caps, it is granted the same.

By then the confirmation has used of what was kept for it and the clock has gone on, so that a call which failed, and is
asked for once more, would be refused by what is left; and a wait that ended the search may be over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from hyperalign_dspy.files import read_json, write_json
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.runs import Run

GRANTS = "grants.json"


def granted(run: Run, limits: Limits) -> list[str] | None:
    """What the search was answered under these caps (see `hyperalign_dspy.experiment.budget.Budget`); None where it has
    not ended under them.
    """
    path = run.path(GRANTS)
    found = read_json(path) if path.is_file() else {}
    return [str(each) for each in found["answers"]] if found.get("limits") == asdict(limits) else None


def grant(run: Run, limits: Limits, answers: Sequence[str]) -> None:
    """Set down what a search was answered under these caps; without any there is nothing to say."""
    if limits != Limits():
        write_json(run.path(GRANTS), {"limits": asdict(limits), "answers": list(answers)})
