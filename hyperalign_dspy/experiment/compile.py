"""From a job and a model to a verdict and a frozen program: pilot, search, confirm, freeze."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.artifacts.frozen import Provenance, freeze
from hyperalign_dspy.errors import TooManyFailures
from hyperalign_dspy.experiment.budget import Budget
from hyperalign_dspy.experiment.confirm import COMPILED, Confirmation, arms_of, confirm, instances_of
from hyperalign_dspy.experiment.pilot import pilot, pilot_blocks
from hyperalign_dspy.experiment.reserve import Reserve
from hyperalign_dspy.experiment.result import Compiled, Ending, Plan, standings
from hyperalign_dspy.experiment.sealed_counts import terms_of
from hyperalign_dspy.experiment.session import Session, counter, identity_of
from hyperalign_dspy.files import write_json
from hyperalign_dspy.judges.llm_judge import LLMJudge
from hyperalign_dspy.lm.connect import connect, describe_model
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.optimize.loop import SearchConfig, VisitResult, max_in_flight, search
from hyperalign_dspy.optimize.objectives import check_measures
from hyperalign_dspy.optimize.pools import Pools
from hyperalign_dspy.optimize.proposers import ProposalContext, past_candidates
from hyperalign_dspy.optimize.samplers import refuse_several
from hyperalign_dspy.optimize.study import Space, Study
from hyperalign_dspy.optimize.visits import Visits, describe_changes, make_blocks
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.locate import writable_frozen
from hyperalign_dspy.runs import Run, run_id_of
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import TASKS, Arm, Job, TaskData
from hyperalign_dspy.types import Watcher


@dataclass(frozen=True)
class _Searched:
    """A search that is done, its ledger and evaluator still open; ``capped``: a cap ended it before the recipe did."""

    run: Run
    visits: Visits
    evaluator: Evaluator
    capped: bool


class Compiler:
    """One compile. Everything up to `run` is free of calls. ``executor`` makes the calls, if not this process's own
    threads: see `hyperalign_dspy.lm.connect.connect`. ``lineage`` says what it takes over, where it does.
    """

    lineage: Mapping[str, Any] | None = None

    def __init__(
        self, job: Job, model: str, watcher: Watcher, command: Sequence[str] = (), executor: Executor | None = None
    ) -> None:
        self.model, self.watcher, self.command, self._executor = model, watcher, list(command), executor
        self.limits = replace(job.limits, max_calls=job.limits.max_calls or job.recipe.max_calls or None)
        self.job = replace(job, limits=self.limits)
        self.space = Space(job.program, job.recipe)
        self._try_candidates()
        self.pools = Pools(job, self.space.baseline, model)
        check_measures(job.recipe.objectives, job.recipe.constraints)
        self._check_objectives()
        self.task_data: TaskData = registry.resolve("task", job.program.task, TASKS)(job)
        self.blocks = make_blocks(self.task_data.validation, job.recipe.block_users, job.seed, job.recipe.rounds)
        # Visited by the pilot already: what the recipe would begin with, else the least that it could change.
        starts = [self.space.configuration(self.space.params(changes)) for changes in job.recipe.start]
        self.first = next((c for c in (*starts, self.space.neighbour()) if c != self.space.baseline), None)
        self.identity = identity_of(job, self.task_data.digest, model)

    def plan(self) -> Plan:
        """What the run will do and can show.

        Raises:
            UsageError: a cap does not even cover the pilot, one visit and the confirmation; or demonstrations are to be
            made of private texts.
        """
        self.pools.refuse_private(self.task_data)
        recipe, task_data, reserve = self.job.recipe, self.task_data, self._reserve
        most, base = self._most(), self.task_data.calls(self.space.baseline)
        first, block = self._pilot_size, max(len(block) for block in self.blocks)
        whole = len(task_data.validation)
        made = self.pools.worst(task_data, first)
        # Of so many visits: the baseline is measured once an instance, and goes before them in the pilot.
        begun = made + (first * most if self.first else 0)
        visits = [begun + min(first + n * block, whole) * base + n * block * most for n in range(1, recipe.visits + 1)]
        searched = begun - made + whole * (base + recipe.finalists * most) + recipe.visits * block * most
        confirmed = reserve.calls + reserve.judge_calls
        total = searched + confirmed + self.pools.calls
        total = min(total, self.limits.max_calls or total)
        budget = Budget.planned(self.job, reserve)
        budget.demand(visits[0])
        return Plan.of(
            task_data,
            self.model,
            reserve,
            total - confirmed,
            run_id=run_id_of(self.identity),
            visits=recipe.visits,
            configurations=self.pools.configurations(),
            calls=total,
            propose_calls=self.pools.calls,
            paid_visits=budget.count(visits),
        )

    def run(self) -> Compiled:
        """Pilot, search, confirm and freeze. A run that was cut off goes on where it stood."""
        start, plan = time.monotonic(), self.plan()
        with self.searched() as found:
            chosen, ledger = found.visits.winner(), found.evaluator.ledger
            confirmation = self.confirm(found.run, found.evaluator, chosen)
            spent = ledger.cost(), time.monotonic() - start, found.capped
        top, pareto = standings(found.visits, chosen)
        return self.finish(found.run, plan, Ending(chosen, confirmation, *spent, top=top, pareto=pareto))

    @contextmanager
    def searched(self) -> Iterator[_Searched]:
        """Pilot and search, or the same again from the record; what is to be confirmed is asked for within.

        Raises: see `Budget.kept`; a cap that is met after the pilot only ends the search.
        """
        recipe = self.job.recipe
        with (
            Session.open(self.job, self.identity, self.command, executor=self._executor) as session,
            session.evaluator(self.task_data, self.model) as evaluator,
        ):
            run, ledger = session.run, session.ledger
            visits = Visits(evaluator, self.blocks, self.space.baseline, recipe.constraints, recipe.objectives)
            budget = Budget.logged(run, ledger, self._reserve, evaluator.concurrency)
            with budget.kept():
                self._pilot(visits, evaluator)
                with budget.ending(evaluator.drop, self.watcher.say):
                    self._propose(run, visits, evaluator, budget)
                    self._search(run, visits, evaluator, budget)
            budget.log(run)
            yield _Searched(run, visits, evaluator, bool(budget.refused))

    def _pilot(self, visits: Visits, evaluator: Evaluator) -> None:
        self.watch(evaluator, "pilot", self._pilot_size * (2 if self.first else 1))
        # Read off the plan only where it says less: it looks through what was recorded.
        planned = self.job.recipe.visits if self.limits == Limits() else self.plan().paid_visits
        try:
            pilot(self.task_data, visits, self.first, self.job.force, self.watcher.say, planned)
        except TooManyFailures as error:
            # Where the baseline fails too, it is not for the other one's sake.
            visits.on_block(0)
            if not self.first:
                raise
            visits.exclude(self.first)
            self.failed_first(error)

    def failed_first(self, error: TooManyFailures) -> None:
        """The model cannot answer under the first configuration: it is out, and the search goes on."""
        self.watcher.say(f"out: the first to be visited: {error.message}")

    @property
    def _pilot_size(self) -> int:
        return sum(len(block) for block in pilot_blocks(self.blocks))

    def _propose(self, run: Run, visits: Visits, evaluator: Evaluator, budget: Budget) -> None:
        """Have the candidates made that the recipe asks for; from here on program and space hold them."""
        pools, job = self.pools, self.job
        if not pools.proposals:
            return
        self.watch(evaluator, "propose", pools.calls + (len(self.task_data.validation) if pools.whole else 0))
        own = job.prompt_model in ("", self.model)
        context = ProposalContext(
            program=job.program,
            baseline=self.space.baseline,
            task_data=self.task_data,
            evaluator=evaluator,
            first=visits.on_block(0),
            history=past_candidates(run, job.program),
            lm=evaluator.lm,
            prompt_lm=evaluator.lm
            if own
            else connect(job.prompt_model, ledger=evaluator.ledger, concurrency=job.concurrency),
            seed=job.seed,
        )
        pools.make(run, context, budget.affords, self.watcher.say)
        self.task_data.extend(pools.program())
        self.space = Space(pools.program(), pools.recipe())

    def _search(self, run: Run, visits: Visits, evaluator: Evaluator, budget: Budget) -> None:
        run.path("visits.jsonl").unlink(missing_ok=True)
        recipe = self.job.recipe

        def begins(phase: str, configuration: Configuration, blocks: int) -> None:
            budget.renew()
            self.watch(evaluator, phase, sum(visits.ahead(configuration, blocks)))

        def ended(visit: VisitResult) -> None:
            changes = visit.configuration.differs(self.space.baseline)
            rises = dict(zip(recipe.objectives, visit.rises, strict=True))
            row = {"visit": visit.number, "configuration": changes, "gap": visit.gap}
            run.append("visits.jsonl", {**row, "rises": rises} if rises else row)
            told = "".join(f"  {name} {rise:+.3g}" for name, rise in rises.items())
            line = f"visit {visit.place:2d}  {visit.gap:+.2f}{told}  {describe_changes(changes)}"
            self.watcher.say(line + visits.excess(visit.configuration))

        config = SearchConfig(
            visits=recipe.visits,
            finalists=recipe.finalists,
            start=recipe.start,
            known=[self.first] if self.first else [],
            max_in_flight=run.once(
                "max_in_flight", max_in_flight(evaluator.concurrency, len(self.blocks[0]), recipe.visits)
            ),
            counted=self.limits != Limits(),
            affords=lambda configuration, blocks: budget.affords(self._worst(visits, configuration, blocks)),
            begins=begins,
            ended=ended,
            failed=lambda configuration, error: self.watcher.say(
                f"out: {describe_changes(configuration.differs(self.space.baseline))}: {error.message}"
            ),
        )
        study = Study(
            run.path("study.journal"),
            self.space,
            recipe.strategy,
            self.job.seed,
            self.task_data.calls,
            recipe.objectives,
        )
        reason = search(study, visits, config)
        room = f"{budget.refused} leaves no room for another visit; the rest is for the confirmation"
        self.watcher.say(f"The search ends: {room if budget.refused else reason}.")

    def judge(self, evaluator: Evaluator) -> LLMJudge | None:
        """The model that gives its opinion on the confirmation, where the job names one."""
        job, ledger, total = self.job, evaluator.ledger, len(self.task_data.sealed)

        def tick(done: int) -> None:
            self.watcher.step("judge", done, total, ledger.cost())

        return LLMJudge(job.judge, self.model, ledger, tick, job.concurrency) if job.judge else None

    def confirm(
        self, run: Run, evaluator: Evaluator, chosen: Configuration, outputs: Run | None = None
    ) -> Confirmation:
        """Measure a configuration and its controls on the sealed users; its texts go to ``outputs``, if not the run."""
        arms, judge = self.arms(chosen), self.judge(evaluator)
        total = sum(len(instances_of(self.task_data, arm, arms)) for arm in arms)
        self.watcher.say(f"Confirming on sealed users: {len(arms)} arms, {total} instances in all.")
        self.watch(evaluator, "confirm", total)
        terms = terms_of(run, self.task_data, chosen, evaluator.given.get(chosen), self.job.recipe.constraints)
        return confirm(self.task_data, evaluator, arms, judge, terms, outputs or run)

    def arms(self, chosen: Configuration) -> list[Arm]:
        """What the confirmation measures."""
        return arms_of(self.task_data, self.space.baseline, chosen)

    def finish(self, run: Run, plan: Plan, ending: Ending) -> Compiled:
        """Freeze what a run came to, and write its result."""
        frozen, frozen_is = self._freeze(run, ending)
        compiled = Compiled(
            **vars(ending),
            run=run,
            plan=plan,
            changes=dict(ending.chosen.differs(self.space.baseline)),
            facts=dict(self.task_data.facts),
            frozen=frozen,
            frozen_is=frozen_is,
        )
        write_json(run.path("result.json"), self.result(compiled))
        return compiled

    def result(self, compiled: Compiled) -> dict[str, Any]:
        """What it ended with as plain data."""
        return compiled.as_dict()

    def _freeze(self, run: Run, ending: Ending) -> tuple[Path, str]:
        """Freeze what was confirmed if it gained or was asked for, else the baseline.

        Returns the folder, on the shelf but for what was asked for, and which of the two it holds.
        """
        gained = ending.asked or ending.confirmation.verdict == "gain"
        kept = ending.chosen if gained else self.space.baseline
        provenance = Provenance(
            program=self.job.program,
            recipe=replace(self.job.recipe, sampler=self.job.recipe.strategy),
            model=self.model,
            model_facts=describe_model(self.model),
            configuration=kept.as_dict(),
            identity=self.identity,
            facts=dict(self.task_data.facts),
            confirmation=ending.confirmation.as_dict(),
            cost=asdict(ending.cost),
            frozen_is=COMPILED if gained else "baseline",
            private=(ending.private and gained) or self.pools.private(kept, self.task_data.facts),
            candidates=self.pools.held(kept),
            lineage=self.lineage,
        )
        held = ending.module if gained and ending.module is not None else self.task_data.module(kept)
        own, shelf = run.path("frozen"), writable_frozen(self.job.program.name, slug(self.model))
        places = [own, shelf] if self.job.shelve and not ending.asked else [own]
        for place in places:
            freeze(held, provenance, place)
        return places[-1], provenance.frozen_is

    def watch(self, evaluator: Evaluator, phase: str, total: int) -> None:
        """Let the watcher hear of every instance from here on, as part of this phase."""
        evaluator.tick = counter(self.watcher, evaluator.ledger, phase, total)

    def _worst(self, visits: Visits, configuration: Configuration, blocks: int) -> int:
        """The most calls that a configuration's next blocks can cost."""
        own, rival = visits.ahead(configuration, blocks)
        return own * self.task_data.calls(configuration) + rival * self.task_data.calls(visits.baseline)

    @cached_property
    def _reserve(self) -> Reserve:
        """What is kept for the confirmation, told from the costliest program that it could be of."""
        space, costliest = self.space, self.space.costliest(self.task_data.calls)
        tried = [space.baseline, costliest, *map(space.configuration, self.job.recipe.start)]
        arms = self.arms(costliest)
        # Every arm may cost the most; the first drafts of equal arms are shared, which only makes it less.
        calls = sum(len(instances_of(self.task_data, arm, arms)) for arm in arms) * self._most()
        return Reserve.of(self.job, self.model, self.task_data, arms, calls, tried)

    def _most(self) -> int:
        """The most calls that an instance can cost."""
        return max(
            self.task_data.calls(self.space.costliest(self.task_data.calls)), self.task_data.calls(self.space.baseline)
        )

    def _check_objectives(self) -> None:
        """Refuse objectives that cannot be known, or are too many for the sampler."""
        recipe = self.job.recipe
        if "cost" in (*recipe.objectives, *recipe.constraints):
            self.job.prices.demand(self.model)
        if recipe.objectives:
            refuse_several(recipe.strategy)

    def _try_candidates(self) -> None:
        """Make a module of every candidate and start: a name that means nothing is found before anything is paid."""
        for slot, candidates in self.space.slots.items():
            for value in candidates:
                build(self.job.program, self.space.configuration({slot: value}))
        for changes in self.job.recipe.start:
            self.space.params(changes)
