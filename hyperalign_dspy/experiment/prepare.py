"""A compile in one line of Python, by the same rules as the command."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import fields, replace
from typing import Any

from hyperalign_dspy.data.load import Columns, described
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.lm.models import check_name
from hyperalign_dspy.program.specs import RecipeSpec, load_program, load_recipe
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.tasks.protocol import Job
from hyperalign_dspy.types import Cost

# What a caller may say of a job beside its recipe.
_JOB = ("seed", "judge", "force", "limits", "prices", "prompt_model", "allow_private_demos", "concurrency")


def prepare(
    program: str = "authorship",
    model: str = "local",
    recipe: str = "quick",
    *,
    data: str = "",
    say: Callable[[str], None] = lambda text: None,
    executor: Executor | None = None,
    **changes: Any,
) -> Compiler:
    """Lay out a compile; nothing is called before its ``run()``, and its ``plan()`` says what that will do.

    ``program``, ``model``, ``recipe`` and ``data`` (a corpus; "" for the program's own) are what they are in
    `hyperalign compile`. ``say`` hears one line an event, such as ``print``. ``executor`` makes the model's calls, if
    not this process's threads: it is given `hyperalign_dspy.lm.connect.answer` with what can be pickled. ``changes``
    are parts of the recipe by the names that they have in its file (``visits=3``, ``slots={"samples": (0, 3)}``), and
    of the job: ``seed``, ``force``, ``judge``, ``limits`` (a `Limits`: caps of the run), ``prices``, ``prompt_model``,
    ``allow_private_demos``, ``concurrency`` (calls in flight at once).

    Runs lie in ``.hyperalign/`` of the current folder, and the same call again goes on with one that was cut off. What
    is frozen goes to the current folder's ``programs/`` where there is one, else to the user's data folder.

    Raises:
        UsageError: a name that nothing goes by, or a corpus that is too small. Missing: a model's key or weights, or a
        price that a cap on money goes by; with what to type.

    Example:
        compiled = prepare("authorship", "local", visits=3, limits=Limits(max_calls=300), say=print).run()
    """
    check_name(model)
    spec, chosen = load_program(program), load_recipe(recipe, program)
    parts = [field.name for field in fields(RecipeSpec)]
    for name in changes:
        if name not in (*_JOB, *parts):
            raise unknown("part of a recipe or a job", name, [*_JOB, *parts])
    chosen = replace(chosen, **{name: value for name, value in changes.items() if name in parts})
    given = {name: value for name, value in changes.items() if name in _JOB}
    source, columns = described(data or spec.data, Columns())
    options = {"columns": columns, "words": chosen.max_tokens * 3 // 4}
    job = Job(spec, chosen, source, options, notify=say, **given)
    if job.limits.max_cost:
        job.prices.demand(model)
    # No command gives these changes again, so the run names none.
    return Compiler(job, model, _Listener(say), executor=executor)


class _Listener:
    """Passes events on; what goes by in between is nobody's news here."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def say(self, text: str) -> None:
        """One line."""
        self._say(text)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """Nothing."""
