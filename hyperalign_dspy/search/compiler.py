"""From a job and a model to a verdict and a frozen program: pilot, search, confirm, freeze."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.errors import GateFailed, UsageError
from hyperalign_dspy.lm.connect import concurrency_of, connect, describe, slug
from hyperalign_dspy.lm.ledger import Ledger, Limits
from hyperalign_dspy.metrics.stats import smallest_win
from hyperalign_dspy.search.blocks import make_blocks
from hyperalign_dspy.search.candidates import Scene
from hyperalign_dspy.search.confirm import COMPILED, Confirmation, arms_of, confirm
from hyperalign_dspy.search.constraints import check
from hyperalign_dspy.search.evaluate import Evaluator, answered_share
from hyperalign_dspy.search.loop import Ended, Orders, lag_of, search
from hyperalign_dspy.search.opinion import CALLS, ModelJudge
from hyperalign_dspy.search.pools import Pools, Wish
from hyperalign_dspy.search.runs import Run, open_run, run_id_of
from hyperalign_dspy.search.space import Space
from hyperalign_dspy.search.study import Study
from hyperalign_dspy.search.tried import tried_before
from hyperalign_dspy.search.visits import Visits
from hyperalign_dspy.search.visits import describe as describe_changes
from hyperalign_dspy.shelf.configure import Configuration, build
from hyperalign_dspy.shelf.files import write_json
from hyperalign_dspy.shelf.frozen import Provenance, freeze
from hyperalign_dspy.shelf.locate import writable_frozen
from hyperalign_dspy.shelf.specs import Value, digest, recipe_digest
from hyperalign_dspy.tasks.protocol import Bench, Job
from hyperalign_dspy.types import Cost, Watcher

# The baseline must answer so much of the pilot: beating a program that cannot be parsed is no gain.
ANSWERED = 0.95


@dataclass(frozen=True)
class Plan:
    """What a compile will do and can show, known before the first call.

    ``calls`` is the most that it can cost, ``confirm_calls`` the part reserved for the confirmation, ``propose_calls``
    the prompt model's part. ``smallest_win`` is the win rate over the baseline that is found in 80% of runs (see
    `hyperalign_dspy.metrics.stats.smallest_win`).
    """

    run_id: str
    users: int
    instances: int
    validation_instances: int
    visits: int
    configurations: int
    calls: int
    confirm_calls: int
    smallest_win: float
    unit: str
    propose_calls: int = 0


@dataclass(frozen=True)
class Compiled:
    """What a compile ends with."""

    run: Run
    plan: Plan
    chosen: Configuration
    changes: dict[str, Any]
    confirmation: Confirmation
    facts: dict[str, Any]
    cost: Cost
    seconds: float
    frozen: Path
    frozen_is: str
    top: tuple[dict[str, Any], ...]


class Compiler:
    """One compile. Everything up to `run` is free of calls."""

    def __init__(self, job: Job, model: str, watcher: Watcher, command: Sequence[str] = ()) -> None:
        self.job, self.model, self.watcher = job, model, watcher
        self.command = list(command)
        self.space = Space(job.program, job.recipe)
        self._try_candidates()
        self.pools = Pools(job, self.space.baseline, model)
        check(job.recipe.at_most)
        self.bench: Bench = registry.resolve("task", job.program.task, registry.TASKS)().prepare(job)
        self.blocks = make_blocks(self.bench.validation, job.recipe.block_users, job.seed)
        self.identity = {
            "program": job.program.name,
            "program_digest": digest(job.program),
            "recipe": job.recipe.name,
            "recipe_digest": recipe_digest(job.recipe),
            "data_digest": self.bench.digest,
            "source": job.source,
            "model": model,
            "model_digest": digest(describe(model)),
            "seed": job.seed,
            "judge": job.judge,
            **_prompt_model(job),
        }

    def plan(self) -> Plan:
        """What the run will do and can show.

        Raises:
            UsageError: the call cap does not even cover the baseline and the confirmation; or demonstrations are to
            be made of private texts.
        """
        self.pools.refuse_private(self.bench.facts)
        recipe, bench = self.job.recipe, self.bench
        most = self._most()
        base = self._calls(self.space.baseline)
        searched = len(bench.validation) * (base + recipe.finalists * most)
        searched += recipe.visits * max(len(block) for block in self.blocks) * most
        confirmed = self._confirm_calls(most)
        users = len({i.user_id for i in bench.sealed})
        each = len(bench.sealed) / users
        total = searched + confirmed + self.pools.calls
        least = confirmed + len(self.blocks[0]) * (base + most) + self._propose_calls()
        if recipe.max_calls and recipe.max_calls < least:
            raise UsageError(
                f"{recipe.max_calls} calls are too few: the confirmation alone can take {confirmed}.",
                fix=f"Give at least --max-calls {least}: that leaves room for the pilot and one visit.",
            )
        return Plan(
            run_id=run_id_of(self.identity),
            users=users,
            instances=len(bench.sealed),
            validation_instances=len(bench.validation),
            visits=recipe.visits,
            configurations=self.pools.configurations(),
            calls=min(total, recipe.max_calls) if recipe.max_calls else total,
            confirm_calls=confirmed,
            smallest_win=smallest_win(users, each),
            unit=bench.unit,
            propose_calls=self.pools.calls,
        )

    def run(self) -> Compiled:
        """Pilot, search, confirm and freeze. A run that was cut off goes on where it stood."""
        start = time.monotonic()
        plan = self.plan()
        run = open_run(self.identity, self.command)
        limits = Limits(max_calls=self.job.recipe.max_calls or None)
        with Ledger(run.path("calls.jsonl"), limits) as ledger:
            lm = connect(self.model, ledger=ledger, max_tokens=self.job.recipe.max_tokens)
            with Evaluator(self.bench, lm, ledger, concurrency_of(lm)) as evaluator:
                visits = Visits(evaluator, self.blocks, self.space.baseline, self.job.recipe.at_most)
                self._pilot(visits, evaluator)
                self._propose(run, visits, evaluator, lm)
                self._search(run, visits, evaluator, plan)
                confirmation = self._confirm(evaluator, visits.winner(), self.judge(ledger))
            cost = ledger.cost()
        return self._finish(run, plan, visits, confirmation, cost, time.monotonic() - start)

    def _pilot(self, visits: Visits, evaluator: Evaluator) -> None:
        self.watch(evaluator, "pilot", len(self.blocks[0]))
        share = answered_share(visits.on_block(0))
        if share < ANSWERED:
            raise GateFailed(
                f"The baseline answered {share:.0%} of the pilot's calls; a search starts at {ANSWERED:.0%}.",
                fix="Declare another adapter for the baseline in program.toml, or take another model.",
            )

    def _propose(self, run: Run, visits: Visits, evaluator: Evaluator, lm: Any) -> None:
        """Have the candidates made that the recipe asks for; from here on program and space hold them."""
        pools, job = self.pools, self.job
        if not pools.wishes:
            return
        reserve = self._confirm_calls(self._most())

        def affords(wish: Wish) -> bool:
            cap, worst = job.recipe.max_calls, wish.calls + (self._ahead() if wish.maker.whole else 0)
            return not cap or evaluator.ledger.spent() + worst + reserve <= cap

        self.watch(evaluator, "propose", pools.calls + (len(self.bench.validation) if pools.whole else 0))
        scene = Scene(
            predictor="",
            program=job.program,
            baseline=self.space.baseline,
            bench=self.bench,
            evaluator=evaluator,
            first=visits.on_block(0),
            tried=tried_before(run, job.program),
            lm=lm,
            prompt_lm=lm
            if job.prompt_model in ("", self.model)
            else connect(job.prompt_model, ledger=evaluator.ledger),
            seed=job.seed,
        )
        pools.make(run, scene, affords, self.watcher.say)
        self.bench.extend(pools.program())
        self.space = Space(pools.program(), pools.recipe())

    def _search(self, run: Run, visits: Visits, evaluator: Evaluator, plan: Plan) -> None:
        run.path("visits.jsonl").unlink(missing_ok=True)
        recipe = self.job.recipe

        def begins(phase: str, configuration: Configuration, blocks: int) -> None:
            self.watch(evaluator, phase, sum(visits.ahead(configuration, blocks)))

        def ended(visit: Ended) -> None:
            changes = visit.configuration.differs(self.space.baseline)
            run.append("visits.jsonl", {"visit": visit.number, "configuration": changes, "gap": visit.gap})
            line = f"visit {visit.place:2d}  {visit.gap:+.2f}  {describe_changes(changes)}"
            self.watcher.say(line + _excess(visits, visit.configuration))

        # Under a cap what can be afforded is counted visit by visit, so that a run that goes on decides the same.
        lag = 1 if recipe.max_calls else lag_of(evaluator.concurrency, len(self.blocks[0]), recipe.visits)
        orders = Orders(
            visits=recipe.visits,
            finalists=recipe.finalists,
            start=recipe.start,
            lag=lag,
            affords=lambda configuration, blocks: self._affords(visits, configuration, evaluator.ledger, plan, blocks),
            begins=begins,
            ended=ended,
        )
        study = Study(run.path("study.journal"), self.space, recipe.sampler, self.job.seed)
        self.watcher.say(f"The search ends: {search(study, visits, orders)}.")

    def judge(self, ledger: Ledger) -> ModelJudge | None:
        """The model that gives its opinion on the confirmation, where the job names one."""
        total = len(self.bench.sealed)

        def tick(done: int) -> None:
            self.watcher.step("judge", done, total, ledger.cost())

        return ModelJudge(self.job.judge, self.model, ledger, tick) if self.job.judge else None

    def _confirm(self, evaluator: Evaluator, chosen: Configuration, judge: ModelJudge | None) -> Confirmation:
        arms = arms_of(self.bench, self.space.baseline, chosen)
        self.watcher.say(f"Confirming on sealed users: {len(arms)} arms x {len(self.bench.sealed)} instances.")
        self.watch(evaluator, "confirm", len(arms) * len(self.bench.sealed))
        return confirm(self.bench, evaluator, arms, judge, self.job.recipe.at_most)

    def _finish(
        self, run: Run, plan: Plan, visits: Visits, confirmation: Confirmation, cost: Cost, seconds: float
    ) -> Compiled:
        chosen = visits.winner()
        gained = confirmation.verdict == "gain"
        kept = chosen if gained else self.space.baseline
        facts = dict(self.bench.facts)
        provenance = Provenance(
            program=self.job.program,
            recipe=self.job.recipe,
            model=self.model,
            model_facts=describe(self.model),
            configuration=kept.as_dict(),
            identity=self.identity,
            facts=facts,
            confirmation=confirmation.as_dict(),
            cost=asdict(cost),
            frozen_is=COMPILED if gained else "baseline",
            candidates=self.pools.held(kept),
        )
        module = self.bench.module(kept)
        freeze(module, provenance, run.path("frozen"))
        place = writable_frozen(self.job.program.name, slug(self.model))
        freeze(module, provenance, place)
        top = tuple(_summary(s, self.space.baseline) for s in visits.ranking()[:3])
        compiled = Compiled(
            run,
            plan,
            chosen,
            dict(chosen.differs(self.space.baseline)),
            confirmation,
            facts,
            cost,
            seconds,
            place,
            provenance.frozen_is,
            top,
        )
        write_json(run.path("result.json"), result_of(compiled))
        return compiled

    def watch(self, evaluator: Evaluator, phase: str, total: int) -> None:
        """Let the watcher hear of every instance from here on, as part of this phase."""
        done = 0

        def tick(name: str) -> None:
            nonlocal done
            done += 1
            self.watcher.step(f"{phase}: {name}" if phase == "confirm" else phase, done, total, evaluator.ledger.cost())

        evaluator.tick = tick

    def _affords(
        self, visits: Visits, configuration: Configuration, ledger: Ledger, plan: Plan, blocks: int = 1
    ) -> bool:
        """Whether the next visits at their worst case leave the confirmation's reserve whole."""
        cap = self.job.recipe.max_calls
        own, rival = visits.ahead(configuration, blocks)
        worst = own * self._calls(configuration) + rival * self._calls(visits.baseline)
        return not cap or ledger.spent() + worst + plan.confirm_calls <= cap

    def _confirm_calls(self, most: int) -> int:
        # Every arm may cost the most; the first drafts of equal arms are shared, which only makes it less.
        arms = arms_of(self.bench, self.space.baseline, self.space.baseline)
        return len(self.bench.sealed) * (most * len(arms) + (CALLS if self.job.judge else 0))

    def _ahead(self) -> int:
        """What the baseline costs on the validation instances that the pilot leaves out."""
        return (len(self.bench.validation) - len(self.blocks[0])) * self._calls(self.space.baseline)

    def _propose_calls(self) -> int:
        """The most calls before the first visit, the pilot excepted."""
        return self.pools.calls + (self._ahead() if self.pools.whole else 0)

    def _most(self) -> int:
        """The most calls that an instance can cost: of every slot the costliest candidate."""
        of = self.space.configuration
        costliest: dict[str, Value] = {}
        for slot, candidates in self.space.slots.items():
            calls = [self._calls(of({slot: value})) for value in candidates]
            costliest[slot] = candidates[calls.index(max(calls))]
        return max(self._calls(of(costliest)), self._calls(self.space.baseline))

    def _try_candidates(self) -> None:
        """Make a module of every candidate and start: a name that means nothing is found before anything is paid."""
        for slot, candidates in self.space.slots.items():
            for value in candidates:
                build(self.job.program, self.space.configuration({slot: value}))
        for changes in self.job.recipe.start:
            self.space.params(changes)

    def _calls(self, configuration: Configuration) -> int:
        return self.bench.calls(configuration)


def _prompt_model(job: Job) -> dict[str, str]:
    """Part of what a run is only where one is given: without it the model that is compiled for proposes."""
    given = job.prompt_model
    return {"prompt_model": given, "prompt_model_digest": digest(describe(given))} if given else {}


def _excess(visits: Visits, configuration: Configuration) -> str:
    found = visits.exceeded(configuration)
    return "".join(f"  ({name} {value:.3g}, at most {visits.at_most[name]:.3g})" for name, value in found.items())


def _summary(standing: Any, baseline: Configuration) -> dict[str, Any]:
    return {
        "changes": standing.configuration.differs(baseline),
        "estimate": asdict(standing.estimate),
        "shrunk": standing.shrunk,
        "blocks": standing.blocks,
    }


def result_of(compiled: Compiled) -> dict[str, Any]:
    """A finished compile as plain data, the same in result.json and in ``--json``."""
    return {
        "schema": "hyperalign/result/1",
        "run": compiled.run.run_id,
        "plan": asdict(compiled.plan),
        "chosen": compiled.chosen.as_dict(),
        "changes": compiled.changes,
        "confirmation": compiled.confirmation.as_dict(),
        "facts": compiled.facts,
        "cost": asdict(compiled.cost),
        "seconds": compiled.seconds,
        "frozen": str(compiled.frozen),
        "frozen_is": compiled.frozen_is,
        "top": list(compiled.top),
    }
