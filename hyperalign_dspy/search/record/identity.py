"""What a run is: two commands with one identity go on with one run, and any other begins another."""

from __future__ import annotations

from typing import Any

from hyperalign_dspy.lm.connect import describe
from hyperalign_dspy.search.record.runs import CODE
from hyperalign_dspy.shelf.sources import code_of
from hyperalign_dspy.shelf.specs import ProgramSpec, RecipeSpec, digest, recipe_digest
from hyperalign_dspy.tasks.protocol import Job

_OURS = f"{__name__.partition('.')[0]}."


def identity_of(job: Job, data_digest: str, model: str) -> dict[str, Any]:
    """Program, recipe, corpus, model and seed of a compile, by name and by digest."""
    return {
        "program": job.program.name,
        "program_digest": digest(job.program),
        "recipe": job.recipe.name,
        "recipe_digest": recipe_digest(job.recipe),
        "data_digest": data_digest,
        "source": job.source,
        "model": model,
        "model_digest": digest(describe(model)),
        "seed": job.seed,
        "judge": job.judge,
        **own_code(job.program, job.recipe),
        **_prompt_model(job),
    }


def own_code(program: ProgramSpec, recipe: RecipeSpec | None = None, optimizer: str = "") -> dict[str, dict[str, str]]:
    """Part of what a run is only where it is made with code of one's own: the program's, and where they have a part in
    the run, that of a recipe or of an optimiser.
    """
    adapters = {program.baseline.get("adapter", ""), *(recipe.slots.get("adapter", ()) if recipe else ())}
    named = [("task", program.task), ("module", program.module), ("metric", program.metric), ("optimizer", optimizer)]
    named += [("adapter", name) for name in sorted(map(str, adapters))]
    if recipe:
        makers = {maker for made in recipe.candidates.values() for maker in made}
        named += [("sampler", recipe.sampler), *(("maker of candidates", name) for name in sorted(makers))]
    code = code_of(named)
    return {CODE: code} if code else {}


def is_ours(name: str) -> bool:
    """Whether a name stands for an object of this package: a short name, or ``module:object`` of its own."""
    return ":" not in name or name.startswith(_OURS)


def _prompt_model(job: Job) -> dict[str, str]:
    """Part of what a run is only where one is given: without it the model that is compiled for proposes."""
    given = job.prompt_model
    return {"prompt_model": given, "prompt_model_digest": digest(describe(given))} if given else {}
