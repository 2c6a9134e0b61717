"""How well style verifiers tell generated texts apart: written under the right user's samples, under none, and under
another user's, all of equal length, for users that a search may see.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy import stats

from hyperalign_dspy.files import digest
from hyperalign_dspy.judges.llm_judge import judge_folder
from hyperalign_dspy.lm.connect import concurrency_of, connect, describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.metrics.panel import CLASSIFIERS, PRIMARY
from hyperalign_dspy.metrics.stats import LEVEL, Estimate, paired, per_user, proportion
from hyperalign_dspy.optimize.study import Space
from hyperalign_dspy.program.configuration import Configuration
from hyperalign_dspy.program.infer import cut
from hyperalign_dspy.runs import home
from hyperalign_dspy.tasks.authorship import AuthorshipData
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import Arm, Job, TaskData
from hyperalign_dspy.types import Watcher

# So many samples are shown, where any are.
_SAMPLES = 4
_RIGHT, _NONE, _WRONG = "right samples", "no samples", "wrong user's samples"
# Confirmations that are replayed on recorded scores.
_REPLAYS = 2_000
_POWERS = "power.jsonl"


@dataclass(frozen=True)
class _Power:
    """What one verifier sees in generated texts.

    ``gap`` and ``wins``: texts under the right user's samples against those under none, in log-odds; ``t`` is Student's
    t of the gap over users. ``wrong``: wins of texts under another user's samples over those under none; above a half,
    a verifier rewards being unlike a model. ``found``: the share of replayed confirmations that find the gain (see
    `_found_share`). ``fit_seconds`` on one core, and ``text_ms`` for one text.
    """

    gap: Estimate
    wins: Estimate
    t: float
    wrong: Estimate
    found: float
    fit_seconds: float
    text_ms: float


@dataclass(frozen=True)
class _Written:
    """One request's texts under the right user's samples, under none and under another user's, of equal length."""

    user_id: str
    right: str
    none: str
    wrong: str


def panel_power(job: Job, model: str, confirmed: tuple[int, int], watcher: Watcher) -> dict[str, _Power]:
    """Let a model write for all sealed instances of an authorship job, and say what each verifier sees in the
    texts (see `measure_power`). The calls are recorded beside the runs, and so is what later plans go by.
    """
    task_data: Any = AuthorshipData(job)
    baseline = Space(job.program, job.recipe).baseline
    with Ledger(judge_folder() / "calls.jsonl", prices=job.prices) as ledger:
        lm = connect(model, ledger=ledger, max_tokens=job.recipe.max_tokens)
        with Evaluator(task_data, lm, ledger, concurrency_of(lm)) as evaluator:
            done, total = 0, 3 * len(task_data.sealed)

            def tick(name: str) -> None:
                nonlocal done
                done += 1
                watcher.step(f"power: {name}", done, total, ledger.cost())

            evaluator.tick = tick
            found, differences = measure_power(task_data, write_texts(task_data, evaluator, baseline), confirmed)
    remember_power(task_data.corpus.digest, model, differences)
    return found


def write_texts(task_data: TaskData, evaluator: Evaluator, baseline: Configuration) -> list[_Written]:
    """Let the model write for all sealed instances of a bench, by the baseline without hypotheses and with one draft.

    Raises: see `hyperalign_dspy.tasks.evaluate.Evaluator.start`.
    """
    plain = baseline.changed(shown_hypotheses="none", drafts=1)
    shown = plain.changed(samples=_SAMPLES)
    arms = [Arm(_RIGHT, shown), Arm(_NONE, plain.changed(samples=0), "none"), Arm(_WRONG, shown, "other")]
    batches = [evaluator.start(arm, task_data.sealed, sealed=True, phase=f"power:{arm.name}") for arm in arms]
    rows = zip(*(batch() for batch in batches), strict=True)
    answered = [row for row in rows if all(outcome.score for outcome in row)]
    return [_Written(row[0].instance.user_id, *_of_equal_length([o.text for o in row])) for row in answered]


def measure_power(
    task_data: AuthorshipData, written: Sequence[_Written], confirmed: tuple[int, int]
) -> tuple[dict[str, _Power], dict[str, list[float]]]:
    """What every verifier of the panel sees in the same texts; ``confirmed``: users and requests of each in the
    confirmations that are replayed. Also each user's differences by the primary verifier.
    """
    found, by_primary = {}, dict[str, list[float]]()
    users = [each.user_id for each in written]
    for name in CLASSIFIERS:
        started = time.perf_counter()
        verifier = task_data.verifier(name)
        fitted = time.perf_counter()
        right, none, wrong = (
            verifier.log_odds([getattr(each, side) for each in written], users) for side in ("right", "none", "wrong")
        )
        judged = time.perf_counter()
        gaps, others = [float(gap) for gap in right - none], [float(gap) for gap in wrong - none]
        by_user = {
            user: [g for g, own in zip(gaps, users, strict=True) if own == user] for user in dict.fromkeys(users)
        }
        means = per_user(gaps, users)
        found[name] = _Power(
            gap=paired(gaps, users),
            wins=proportion(_wins(gaps), users),
            t=fmean(means) / (stdev(means) / math.sqrt(len(means))),
            wrong=proportion(_wins(others), users),
            found=_found_share(by_user, *confirmed),
            fit_seconds=fitted - started,
            text_ms=1000 * (judged - fitted) / (3 * len(written)),
        )
        if name == PRIMARY:
            by_primary = by_user
    return found, by_primary


def _found_share(differences: Mapping[str, Sequence[float]], users: int, requests: int, seed: int = 0) -> float:
    """The share of confirmations, replayed on recorded differences, whose interval lies above 0.

    Each draws so many users, with replacement, and so many of each one's instances, as far as there are any.
    """
    rng, known = random.Random(seed), list(differences.values())
    means = np.array(
        [
            [fmean(rng.sample(own, min(requests, len(own)))) for own in rng.choices(known, k=users)]
            for _ in range(_REPLAYS)
        ]
    )
    half = stats.t.ppf((1 + LEVEL) / 2, users - 1) * means.std(axis=1, ddof=1) / math.sqrt(users)
    return float(np.mean(means.mean(axis=1) > half))


def remember_power(corpus_digest: str, model: str, differences: Mapping[str, Sequence[float]]) -> None:
    """Keep each user's recorded differences, without names, for the plans of later runs on this corpus and model."""
    row = {**_key(corpus_digest, model), "differences": list(differences.values())}
    with (judge_folder() / _POWERS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


def recorded_power(task_data: TaskData, model: str, users: int, requests: int) -> tuple[float, int] | None:
    """What a confirmation of so many users and requests would find, by recorded differences, and of how many users
    these are; None where nobody has measured it here.
    """
    path = home().parent / "judge" / _POWERS
    if not path.is_file():
        return None
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # Only now: the facts of a bench take its verifiers.
    key = _key(task_data.facts["corpus_digest"], model)
    own = [row["differences"] for row in rows if row.items() >= key.items()]
    if not own:
        return None
    return _found_share({str(n): each for n, each in enumerate(own[-1])}, users, requests), len(own[-1])


def _key(corpus_digest: str, model: str) -> dict[str, str]:
    return {"corpus": corpus_digest, "model": model, "model_digest": digest(describe_model(model))}


def _of_equal_length(texts: Sequence[str]) -> list[str]:
    """Texts of one instance, cut to the words of the shortest: longer texts are easier to attribute."""
    shortest = min(len(text.split(" ")) for text in texts)
    return [cut(text, shortest) for text in texts]


def _wins(gaps: Sequence[float]) -> list[float]:
    return [0.5 if gap == 0 else float(gap > 0) for gap in gaps]
