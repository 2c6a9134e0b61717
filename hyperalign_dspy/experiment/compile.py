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
from hyperalign_dspy.experiment.budget import Budget, Reserve, log_grants, logged_grants, reserve_of
from hyperalign_dspy.experiment.confirm import COMPILED, Confirmation, Terms, arms_of, confirm, instances_of
from hyperalign_dspy.experiment.cost_estimate import seconds_a_call
from hyperalign_dspy.experiment.identity import identity_of
from hyperalign_dspy.experiment.outputs import keeper
from hyperalign_dspy.experiment.pilot import pilot, pilot_blocks
from hyperalign_dspy.experiment.result import Compiled, Ending, Plan, Spent, pareto_of, result_of, summary
from hyperalign_dspy.experiment.sealed_counts import count_judgings, register_test, sealed_key
from hyperalign_dspy.experiment.verifier_power import recorded_power
from hyperalign_dspy.files import write_json
from hyperalign_dspy.judges.llm_judge import LLMJudge
from hyperalign_dspy.lm.connect import REMOTE_CONCURRENCY, concurrency_of, connect, describe, slug
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.limits import Limits
from hyperalign_dspy.metrics.stats import smallest_win
from hyperalign_dspy.optimize.loop import SearchConfig, VisitResult, max_in_flight, search
from hyperalign_dspy.optimize.objectives import check_measures
from hyperalign_dspy.optimize.pools import Pools
from hyperalign_dspy.optimize.proposers import ProposalContext, past_candidates
from hyperalign_dspy.optimize.samplers import refuse_several
from hyperalign_dspy.optimize.study import Space, Study
from hyperalign_dspy.optimize.visits import Visits, describe_changes, make_blocks
from hyperalign_dspy.program.configuration import Configuration, build
from hyperalign_dspy.program.locate import writable_frozen
from hyperalign_dspy.runs import Run, open_run, run_id_of
from hyperalign_dspy.tasks.evaluate import Evaluator, outcomes_of
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
        self.job, self.model, self.watcher = job, model, watcher
        self.command, self._executor = list(command), executor
        self.limits = replace(job.limits, max_calls=job.limits.max_calls or job.recipe.max_calls or None)
        self.space = Space(job.program, job.recipe)
        self._try_candidates()
        self.pools = Pools(job, self.space.baseline, model)
        check_measures(job.recipe.objectives, job.recipe.constraints)
        self._check_objectives()
        self.task_data: TaskData = registry.resolve("task", job.program.task, TASKS)().prepare(job)
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
        recipe, task_data = self.job.recipe, self.task_data
        most, base = self._most(), self._calls(self.space.baseline)
        first, block = self._pilot_size, max(len(block) for block in self.blocks)
        whole = len(task_data.validation)
        made = self.pools.worst(task_data, first)
        # Of so many visits: the baseline is measured once an instance, and goes before them in the pilot.
        begun = made + (first * most if self.first else 0)
        visits = [begun + min(first + n * block, whole) * base + n * block * most for n in range(1, recipe.visits + 1)]
        searched = begun - made + whole * (base + recipe.finalists * most) + recipe.visits * block * most
        reserve = self._reserve
        confirmed = reserve.calls + reserve.judge_calls
        users = len({i.user_id for i in task_data.sealed})
        each = len(task_data.sealed) / users
        total = searched + confirmed + self.pools.calls
        total = min(total, self.limits.max_calls or total)
        budget = Budget(Ledger(None, self.limits, self.job.prices), reserve, self.job.concurrency or REMOTE_CONCURRENCY)
        budget.demand(visits[0])
        pace = seconds_a_call(self.model)
        return Plan(
            run_id=run_id_of(self.identity),
            users=users,
            instances=len(task_data.sealed),
            validation_instances=len(task_data.validation),
            visits=recipe.visits,
            configurations=self.pools.configurations(),
            calls=total,
            confirm_calls=confirmed,
            propose_calls=self.pools.calls,
            smallest_win=smallest_win(users, each),
            replayed=self.replayed(users, round(each)),
            unit=task_data.unit,
            **reserve.estimate(total - confirmed),
            time=None if pace is None else pace * total,
            paid_visits=budget.count(visits),
        )

    def replayed(self, users: int, requests: int) -> tuple[float, int] | None:
        """What such a confirmation finds by recorded scores: see `recorded_power`."""
        return recorded_power(self.task_data, self.model, users, requests)

    def run(self) -> Compiled:
        """Pilot, search, confirm and freeze. A run that was cut off goes on where it stood."""
        start, plan = time.monotonic(), self.plan()
        with self.searched() as found:
            ledger, chosen = found.evaluator.ledger, found.visits.winner()
            confirmation = self.confirm(found.run, found.evaluator, chosen, self.judge(ledger))
            spent = Spent(ledger.cost(), time.monotonic() - start, found.capped)
        baseline, ranking = self.space.baseline, found.visits.ranking()
        top = tuple(summary(s, baseline) for s in ranking[:3])
        pareto = pareto_of(found.visits.front(), self.job.recipe.objectives, baseline, chosen)
        return self.finish(found.run, plan, Ending(chosen, confirmation, spent, top=top, pareto=pareto))

    @contextmanager
    def searched(self) -> Iterator[_Searched]:
        """Pilot and search, or the same again from the record; what is to be confirmed is asked for within.

        Raises: see `Budget.kept`; a cap that is met after the pilot only ends the search.
        """
        run = open_run(self.identity, self.command)
        with (
            Ledger(run.path("calls.jsonl"), self.limits, self.job.prices) as ledger,
            outcomes_of(run, self.job.program) as record,
        ):
            recipe, most = self.job.recipe, self.job.concurrency
            lm = connect(
                self.model, ledger=ledger, max_tokens=recipe.max_tokens, concurrency=most, executor=self._executor
            )
            with Evaluator(self.task_data, lm, ledger, concurrency_of(lm)) as evaluator:
                evaluator.record = record
                visits = Visits(evaluator, self.blocks, self.space.baseline, recipe.constraints, recipe.objectives)
                budget = Budget(ledger, self._reserve, evaluator.concurrency, logged_grants(run, self.limits))
                with budget.kept():
                    self._pilot(visits, evaluator)
                    with budget.ending(evaluator.drop, self.watcher.say):
                        self._propose(run, visits, evaluator, lm, budget)
                        self._search(run, visits, evaluator, budget)
                log_grants(run, self.limits, budget.answers)
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

    def _propose(self, run: Run, visits: Visits, evaluator: Evaluator, lm: Any, budget: Budget) -> None:
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
            lm=lm,
            prompt_lm=lm if own else connect(job.prompt_model, ledger=evaluator.ledger, concurrency=job.concurrency),
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
            run.path("study.journal"), self.space, recipe.strategy, self.job.seed, self._calls, recipe.objectives
        )
        reason = search(study, visits, config)
        room = f"{budget.refused} leaves no room for another visit; the rest is for the confirmation"
        self.watcher.say(f"The search ends: {room if budget.refused else reason}.")

    def judge(self, ledger: Ledger) -> LLMJudge | None:
        """The model that gives its opinion on the confirmation, where the job names one."""

        def tick(done: int) -> None:
            self.watcher.step("judge", done, len(self.task_data.sealed), ledger.cost())

        return LLMJudge(self.job.judge, self.model, ledger, tick, self.job.concurrency) if self.job.judge else None

    def confirm(
        self,
        run: Run,
        evaluator: Evaluator,
        chosen: Configuration,
        judge: LLMJudge | None = None,
        outputs: Run | None = None,
    ) -> Confirmation:
        """Measure a configuration and its controls on the sealed users; its texts go to ``outputs``, if not the run."""
        arms = self.arms(chosen)
        total = sum(len(instances_of(self.task_data, arm, arms)) for arm in arms)
        self.watcher.say(f"Confirming on sealed users: {len(arms)} arms, {total} instances in all.")
        self.watch(evaluator, "confirm", total)
        name = sealed_key(chosen, evaluator.given.get(chosen))
        judged = count_judgings(
            run, self.task_data.facts["corpus_digest"], [i.user_id for i in self.task_data.sealed], name
        )
        terms = Terms(self.job.recipe.constraints, register_test(run, name), judged)
        return confirm(self.task_data, evaluator, arms, judge, terms, keeper(outputs or run, self.task_data))

    def arms(self, chosen: Configuration) -> list[Arm]:
        """What the confirmation measures."""
        return arms_of(self.task_data, self.space.baseline, chosen)

    def finish(self, run: Run, plan: Plan, ending: Ending) -> Compiled:
        """Freeze what a run came to, and write its result."""
        frozen, frozen_is = self._freeze(run, ending)
        compiled = Compiled(
            run=run,
            plan=plan,
            chosen=ending.chosen,
            changes=dict(ending.chosen.differs(self.space.baseline)),
            confirmation=ending.confirmation,
            facts=dict(self.task_data.facts),
            cost=ending.spent.cost,
            seconds=ending.spent.seconds,
            frozen=frozen,
            frozen_is=frozen_is,
            top=ending.top,
            pareto=ending.pareto,
            capped=ending.spent.capped,
        )
        write_json(run.path("result.json"), self.result(compiled))
        return compiled

    def result(self, compiled: Compiled) -> dict[str, Any]:
        """What it ended with as plain data."""
        return result_of(compiled)

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
            model_facts=describe(self.model),
            configuration=kept.as_dict(),
            identity=self.identity,
            facts=dict(self.task_data.facts),
            confirmation=ending.confirmation.as_dict(),
            cost=asdict(ending.spent.cost),
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
        done = 0

        def tick(name: str) -> None:
            nonlocal done
            done += 1
            self.watcher.step(f"{phase}: {name}" if phase == "confirm" else phase, done, total, evaluator.ledger.cost())

        evaluator.tick = tick

    def _worst(self, visits: Visits, configuration: Configuration, blocks: int) -> int:
        """The most calls that a configuration's next blocks can cost."""
        own, rival = visits.ahead(configuration, blocks)
        return own * self._calls(configuration) + rival * self._calls(visits.baseline)

    @cached_property
    def _reserve(self) -> Reserve:
        """What is kept for the confirmation, told from the costliest program that it could be of."""
        space, costliest = self.space, self.space.costliest(self._calls)
        tried = [space.baseline, costliest, *map(space.configuration, self.job.recipe.start)]
        arms = self.arms(costliest)
        # Every arm may cost the most; the first drafts of equal arms are shared, which only makes it less.
        calls = sum(len(instances_of(self.task_data, arm, arms)) for arm in arms) * self._most()
        return reserve_of(self.job, self.model, self.task_data, arms, calls, tried)

    def _most(self) -> int:
        """The most calls that an instance can cost."""
        return max(self._calls(self.space.costliest(self._calls)), self._calls(self.space.baseline))

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

    def _calls(self, configuration: Configuration) -> int:
        return self.task_data.calls(configuration)
