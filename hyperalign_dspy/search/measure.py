"""Measures a given configuration on sealed users, without any search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hyperalign_dspy.lm.connect import connect
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.search.compiler import Compiler
from hyperalign_dspy.search.confirm import arms_of, confirm
from hyperalign_dspy.search.evaluate import Evaluator
from hyperalign_dspy.shelf.configure import Configuration
from hyperalign_dspy.shelf.specs import Value
from hyperalign_dspy.tasks.protocol import Job
from hyperalign_dspy.types import Watcher


def measure(job: Job, model: str, values: Mapping[str, Value], watcher: Watcher) -> dict[str, Any]:
    """The confirmation's table for one configuration, as plain data of the form of result.json."""
    start = time.monotonic()
    compiler = Compiler(job, model, watcher)
    configuration = Configuration.of(values)
    baseline = compiler.space.baseline
    with Ledger() as ledger:
        lm = connect(model, ledger=ledger, max_tokens=job.recipe.max_tokens)
        evaluator = Evaluator(compiler.bench, lm, ledger, compiler.concurrency(lm))
        arms = arms_of(compiler.bench, baseline, configuration)
        compiler.watch(evaluator, "confirm", len(arms) * len(compiler.bench.sealed))
        confirmation = confirm(compiler.bench, evaluator, arms)
        cost = ledger.cost()
    return {
        "schema": "hyperalign/result/1",
        "plan": {"unit": compiler.bench.unit},
        "changes": dict(configuration.differs(baseline)),
        "confirmation": confirmation.as_dict(),
        "facts": dict(compiler.bench.facts),
        "cost": asdict(cost),
        "seconds": time.monotonic() - start,
    }
