"""What a run is: two commands with one identity go on with one run, and any other begins another."""

from __future__ import annotations

from typing import Any

from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.connect import describe
from hyperalign_dspy.program.code_hash import own_code
from hyperalign_dspy.program.specs import recipe_digest
from hyperalign_dspy.tasks.protocol import Job


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


def _prompt_model(job: Job) -> dict[str, str]:
    """Part of what a run is only where one is given: without it the model that is compiled for proposes."""
    given = job.prompt_model
    return {"prompt_model": given, "prompt_model_digest": digest(describe(given))} if given else {}
