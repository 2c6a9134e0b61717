"""What a configuration's texts may not exceed, whatever they gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.optimize.objectives import check_names, known
from hyperalign_dspy.tasks.outcomes import Outcome


def check(constraints: Mapping[str, float]) -> None:
    """Refuse names that mean nothing and bounds that are no numbers.

    Raises:
        UnknownName, UsageError.
    """
    check_names("constraint", list(constraints))
    for name, bound in constraints.items():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound < math.inf:
            raise UsageError(f"The constraint {name} is {bound!r}; it has to be a number from 0 up.")


def exceeded(outcomes: Sequence[Outcome], constraints: Mapping[str, float]) -> dict[str, float]:
    """The constraints that these texts do not meet, each with what was measured.

    Raises:
        UsageError: texts were scored, and say nothing of a constraint.
    """
    found = {name: known(name, outcomes) for name in constraints} if any(o.score for o in outcomes) else {}
    return {name: value for name, value in found.items() if value > constraints[name]}
