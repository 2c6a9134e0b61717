"""Somebody else's optimiser in place of our search: any DSPy Teleprompter, under the same split, record, cap and
confirmation."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from hyperalign_dspy.errors import BudgetReached, GateFailed, HyperalignError, UsageError
from hyperalign_dspy.experiment.budget import Budget
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.result import Compiled, Ending, Plan
from hyperalign_dspy.experiment.session import Session
from hyperalign_dspy.files import digest, write_json
from hyperalign_dspy.lm.connect import concurrency_of, connect, describe_model
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.models import GGUF, LOCAL, public_name
from hyperalign_dspy.lm.rollouts import RolloutLM, Stopped, StopSignal
from hyperalign_dspy.lm.thread_pool import attempt
from hyperalign_dspy.metrics.copying import RUN, longest_run_among
from hyperalign_dspy.optimize.teleprompters import CompileInputs, Evaluations, Listener, Optimizer, plain_state
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.adapters import adapter
from hyperalign_dspy.program.code_hash import own_code
from hyperalign_dspy.program.configuration import OPTIMIZER, Configuration, signature_fields
from hyperalign_dspy.runs import Run, run_id_of
from hyperalign_dspy.tasks.protocol import Job
from hyperalign_dspy.types import Sample, Watcher

# Room for a proposal, in tokens: an instruction with the thoughts that DSPy asks for before it.
_PROPOSAL_TOKENS = 768
# An optimiser scores what fails as 0 and goes on: how many fail in all is for us to judge, once it is done.
_MOST_ERRORS = 10**6


@dataclass(frozen=True)
class _ForeignPlan(Plan):
    """A plan whose search is an optimiser's own affair: ``calls`` is the cap, 0 for none, and ``optimizer_calls`` what
    it leaves to the optimiser after the pilot, None for any number. Tokens, money and time are the confirmation's.
    """

    optimizer: str = ""
    optimizer_calls: int | None = None


@dataclass(frozen=True)
class _Made:
    """What an optimiser gave back: the program as it is measured and frozen, the configuration that names it, and
    whether it holds texts of users."""

    module: Any
    configuration: Configuration
    private: bool


class TeleprompterCompiler(Compiler):
    """One compile by an optimiser of DSPy's kind. The recipe says how much is measured; its slots are not used.

    Raises:
        UnknownName: no such optimiser or argument. UsageError: it makes demonstrations of texts that are not public,
        and nobody said that this may be.
    """

    def __init__(self, job: Job, model: str, watcher: Watcher, asked: Optimizer, command: Sequence[str] = ()) -> None:
        self.asked, self.kind = asked, asked.resolve()
        recipe = replace(
            job.recipe,
            name=asked.short,
            summary=f"By {asked.name}.",
            slots={},
            start=(),
            candidates={},
            visits=0,
            finalists=0,
            objectives=(),
        )
        super().__init__(replace(job, recipe=recipe), model, watcher, command)
        self.identity |= {
            "optimizer": asked.name,
            "optimizer_arguments": dict(asked.arguments),
            "prompt_model": public_name(asked.prompt_model),
            "prompt_model_digest": digest(describe_model(asked.prompt_model)) if asked.prompt_model else "",
            **own_code(job.program, recipe, asked.name),
        }
        if asked.demonstrates(labelled=self._labelled()) and not self._may_embed():
            raise UsageError(
                f"{asked.name} puts demonstrations made from users' texts into the program, and this corpus is not "
                "public.",
                fix="Say --allow-private-demos if the program may hold them; gepa and copro write instructions only.",
            )

    def plan(self) -> _ForeignPlan:
        """What the run will do and can show; how many calls the optimiser makes is up to it.

        Raises:
            UsageError: the call cap does not even cover the pilot and the confirmation.
        """
        budget = Budget.planned(self.job, self._reserve)
        piloted = self._pilot_size * self.task_data.calls(self.space.baseline)
        budget.demand(piloted + 1)
        left = budget.left().max_calls
        return _ForeignPlan.of(
            self.task_data,
            self.model,
            self._reserve,
            0,
            run_id=run_id_of(self.identity),
            visits=0,
            configurations=0,
            calls=self.limits.max_calls or 0,
            propose_calls=0,
            paid_visits=0,
            optimizer=self.asked.name,
            optimizer_calls=None if left is None else left - piloted,
        )

    def run(self) -> Compiled:
        """Pilot, optimise, confirm and freeze. A run that was cut off optimises anew, from recorded answers."""
        start, plan = time.monotonic(), self.plan()
        with (
            Session.open(self.job, self.identity, self.command) as session,
            session.evaluator(self.task_data, self.model) as evaluator,
        ):
            run, ledger = session.run, session.ledger
            self._pilot(Visits(evaluator, self.blocks, self.space.baseline), evaluator)
            budget = Budget(ledger, self._reserve, evaluator.concurrency)
            found, capped = self._optimized(run, evaluator.lm, ledger, budget)
            made = self._made(found)
            write_json(run.path("optimized.json"), made.module.dump_state())
            evaluator.given[made.configuration] = made.module
            confirmation = self.confirm(run, evaluator, made.configuration)
            spent = ledger.cost(), time.monotonic() - start, capped
        return self.finish(run, plan, Ending(made.configuration, confirmation, *spent, made.module, made.private))

    def _optimized(self, run: Run, lm: Any, ledger: Ledger, budget: Budget) -> tuple[Any, bool]:
        """What the optimiser returns, within what the caps leave beside the confirmation; or, and then True, the best
        program that it had evaluated when a cap ended it.

        Raises:
            BudgetReached: it had evaluated none.
        """
        end = StopSignal()
        inputs = self._kit(lm, ledger, end)
        student = self.task_data.module(self.space.baseline)
        listener = Listener(type(student), end, lambda n: self.watcher.step("optimizer", n, 0, ledger.cost()))
        evaluations = Evaluations(student, end)
        self._say_who_proposes()
        with (
            ledger.within(budget.left()),
            _quietly(run.path("optimizer.log")),
            # Proposals have several fields: JSON is what models of every size can be held to.
            dspy.context(
                lm=inputs.lm,
                adapter=adapter("json"),
                callbacks=[listener, evaluations],
                disable_history=True,
                num_threads=inputs.concurrency,
                max_errors=_MOST_ERRORS,
            ),
        ):
            try:
                found = self._compile(student, inputs, end, listener)
            except BudgetReached as error:
                # What is still under way would take its next call out of the confirmation's share.
                end.settle()
                return self._best(evaluations, listener, error), True
        unread = f"; {listener.unread} could not be read and counted as 0" if listener.unread else ""
        self.watcher.say(f"{self.asked.name} is done: {listener.done} program calls{unread}.")
        return found, False

    def _best(self, evaluations: Evaluations, listener: Listener, reached: BudgetReached) -> Any:
        """The best program that was evaluated before a cap was reached.

        Raises:
            BudgetReached: none was. TooManyFailures: scores say nothing, since the model failed too often.
        """
        best, name = evaluations.best, self.asked.name
        if best is None:
            raise BudgetReached(
                f"{name} wants more than a cap leaves beside the confirmation. {reached.message}",
                fix="Go on with a higher cap, or have it do less by --optimizer-arg: another run, then.",
                cap=reached.cap,
            ) from reached
        failure = listener.failure(name)
        if failure:
            raise failure from reached
        self.watcher.say(
            f"{reached.cap} ends {name}: programs evaluated on {best.examples} examples each: {evaluations.count}; "
            f"the best scores {best.score:.1f}%. The rest is for the confirmation."
        )
        module = self.task_data.module(self.space.baseline)
        for predictor, state in zip(module.predictors(), best.states, strict=True):
            predictor.load_state(state)
        return module

    def _compile(self, student: Any, inputs: CompileInputs, end: StopSignal, listener: Listener) -> Any:
        constructor, compiling = self.asked.called_with(inputs)
        try:
            found = attempt(lambda: self.kind(**constructor).compile(student, **compiling))
        except Stopped as error:
            raise error.reason from None
        if isinstance(found, HyperalignError):
            raise found
        reason = end.reason or listener.failure(self.asked.name)
        if isinstance(found, Exception):
            # What a stranger's optimiser raises can be anything; it may also be what it made of our own error.
            reason = reason or UsageError(
                f"{self.asked.name} gave up: {type(found).__name__}: {found}",
                fix="See its own log, optimizer.log in the run's folder; --optimizer-arg changes how it is called.",
            )
            raise reason from found
        if reason:
            raise reason
        return found

    def _kit(self, lm: Any, ledger: Ledger, end: StopSignal) -> CompileInputs:
        room = max(_PROPOSAL_TOKENS, self.job.recipe.max_tokens)
        other = self.asked.prompt_model
        most = self.job.concurrency
        proposer = connect(other, ledger=ledger, max_tokens=room, concurrency=most) if other else lm
        instances = self.task_data.validation
        return CompileInputs(
            metric=_guarded(self.task_data.metric, end),
            examples=[self.task_data.example(instance) for instance in instances],
            users=[instance.user_id for instance in instances],
            seed=self.job.seed,
            concurrency=concurrency_of(lm),
            lm=RolloutLM.of(lm, ledger, "search", end, self.job.recipe.max_tokens),
            prompt_lm=RolloutLM.of(proposer, ledger, "optimizer", end, room),
            labelled=self._labelled(),
        )

    def _made(self, found: Any) -> _Made:
        """The program with the instructions and demonstrations that came back, as its file will hold them.

        Raises:
            UsageError: another program came back. GateFailed: it holds texts of users, and nobody said that it may.
        """
        baseline = self.space.baseline
        own, module = self.task_data.module(baseline), self.task_data.module(baseline)
        if not isinstance(found, dspy.Module) or signature_fields(found) != signature_fields(module):
            raise UsageError(
                f"{self.asked.name} gave back a program with other predictors.",
                fix="Only optimisers that change instructions and demonstrations can be used here.",
            )
        for mine, theirs in zip(module.predictors(), found.predictors(), strict=True):
            mine.load_state(plain_state(theirs))
        if module.dump_state() == own.dump_state():
            self.watcher.say(f"What {self.asked.name} came to is the baseline as it was.")
            return _Made(own, baseline, False)
        private = self._holds_texts(module, own)
        if private and not self._may_embed():
            raise GateFailed(
                f"What {self.asked.name} made holds texts of users, and this corpus is not public.",
                fix="Say --allow-private-demos if the program may hold them: the same run then goes on.",
            )
        public = bool(self.task_data.facts["public"])
        return _Made(module, baseline.changed(**{OPTIMIZER: self.asked.short}), private and not public)

    def _holds_texts(self, module: Any, own: Any) -> bool:
        """Whether there are demonstrations beside the program's own, or instructions that quote a user."""
        pairs = list(zip(module.predictors(), own.predictors(), strict=True))
        if any(mine.demos and mine.demos != its.demos for mine, its in pairs):
            return True
        changed = [m.signature.instructions for m, o in pairs if m.signature.instructions != o.signature.instructions]
        texts = [
            text for i in self.task_data.validation for text in _strings(self.task_data.example(i).inputs().toDict())
        ]
        return any(longest_run_among(instruction, texts) >= RUN for instruction in changed)

    def _labelled(self) -> bool:
        labels = set(self.task_data.example(self.task_data.validation[0]).labels().keys())
        predictors = self.task_data.module(self.space.baseline).predictors()
        return any(labels & set(predictor.signature.output_fields) for predictor in predictors)

    def _may_embed(self) -> bool:
        return self.asked.allow_private_demos or bool(self.task_data.facts["public"])

    def _say_who_proposes(self) -> None:
        other = self.asked.prompt_model
        # Whoever names a file as the prompt model has chosen it.
        weak = (other or self.model) == LOCAL or (not other and self.model.startswith(GGUF))
        if self.asked.reflects and weak:
            self.watcher.say(
                f"{self.asked.name} is as good as the model that writes its proposals, and small ones, such as the "
                "embedded one, write hardly any that make sense: give a stronger one with --prompt-model."
            )


def _strings(value: Any) -> Iterator[str]:
    """Every text within an example's inputs."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Sample):
        yield value.text
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _strings(part)


@contextlib.contextmanager
def _quietly(log: Path) -> Iterator[None]:
    """Send what DSPy's optimisers print and log to a file: stdout is for answers, and what they say quotes users."""
    loggers = [logging.getLogger(name) for name in ("dspy", "optuna")]
    before = [logger.handlers for logger in loggers]
    with log.open("a", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        for logger in loggers:
            logger.handlers = [logging.StreamHandler(file)]
        try:
            yield
        finally:
            for logger, handlers in zip(loggers, before, strict=True):
                logger.handlers = handlers


def _guarded(metric: Callable[..., Any], end: StopSignal) -> Callable[..., Any]:
    """The metric; where it fails the run ends, since DSPy's evaluation would take the failure for a score of 0."""

    @functools.wraps(metric)
    def scored(*given: Any, **named: Any) -> Any:
        found = attempt(lambda: metric(*given, **named))
        if isinstance(found, Exception):
            end.note(UsageError(f"The metric failed: {type(found).__name__}: {found}"))
            assert end.reason
            raise Stopped(end.reason) from found
        return found

    return scored
