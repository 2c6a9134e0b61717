"""The candidates that a recipe asks proposers for: made once, before the search, and fixed from then on.

In a recipe:

    [candidates."generate.write"]
    grounded = 3
    reflective = 2
    bootstrap = 2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.errors import ModelError, UsageError
from hyperalign_dspy.files import write_json
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.optimize.filters import Dropped, clean_demos, clean_instructions
from hyperalign_dspy.optimize.history import MADE
from hyperalign_dspy.optimize.proposers import ProposalContext, Proposer
from hyperalign_dspy.program.configuration import INSTRUCTION, SEED, Configuration, build, with_candidates
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Job, TaskData

_PROPOSERS: Mapping[str, str] = {
    "grounded": "hyperalign_dspy.optimize.proposers:Grounded",
    "reflective": "hyperalign_dspy.optimize.proposers:Reflective",
    "bootstrap": "hyperalign_dspy.optimize.proposers:Bootstrap",
}
_SCHEMA = "hyperalign/candidates/1"


@dataclass(frozen=True)
class _ProposalRequest:
    """So many candidates of one proposer for one predictor."""

    predictor: str
    name: str
    proposer: Proposer
    count: int

    @property
    def slot(self) -> str:
        """The slot that they extend."""
        return f"{self.predictor}.{self.proposer.part}"

    @property
    def phase(self) -> str:
        """What the ledger calls its calls."""
        return f"propose:{self.name}"

    @property
    def calls(self) -> int:
        """The most calls of the prompt model."""
        return self.count if self.proposer.asks else 0


@dataclass(frozen=True)
class Candidate:
    """One candidate: what it is, and which proposer proposed it by which prompt model ("" where none was asked)."""

    id: str
    proposer: str
    model: str
    content: Any


class Pools:
    """What a recipe asks for, checked before anything is paid; after `make`, what there is.

    Raises:
        UnknownName: no such predictor or proposer. UsageError: the baseline does not say what the slot starts from.
    """

    def __init__(self, job: Job, baseline: Configuration, model: str) -> None:
        self.job, self.baseline = job, baseline
        self.model = public_name(job.prompt_model or model)
        self.made: dict[str, list[Candidate]] = {}
        # Of another run: the job's program has them already.
        self.carried: Mapping[str, Sequence[Candidate]] = {}
        self.dropped: dict[_ProposalRequest, list[Dropped]] = {}
        self.proposals = [
            _ProposalRequest(predictor, name, registry.resolve("proposer", name, _PROPOSERS)(), number)
            for predictor, wanted in job.recipe.candidates.items()
            for name, number in wanted.items()
        ]
        self._check()

    @property
    def calls(self) -> int:
        """The most calls of the prompt model."""
        return sum(proposal.calls for proposal in self.proposals)

    @property
    def whole(self) -> bool:
        """Whether a proposer wants the baseline on every validation instance."""
        return any(proposal.proposer.whole for proposal in self.proposals)

    def configurations(self) -> int:
        """How many configurations there will be at most."""
        slots = {slot: len(candidates) for slot, candidates in self.job.recipe.slots.items()}
        for proposal in self.proposals:
            slots[proposal.slot] = slots.get(proposal.slot, 1) + proposal.count
        return prod(slots.values())

    def refuse_private(self, task_data: TaskData) -> None:
        """Refuse to embed texts of a corpus that is not public.

        Raises:
            UsageError: demonstrations are to be made of private texts, and nobody said that they may.
        """
        embedding = [proposal.name for proposal in self.proposals if proposal.proposer.embeds]
        if embedding and not self.job.allow_private_demos and not task_data.facts.get("public"):
            corpus = task_data.facts["corpus"]
            raise UsageError(
                f"The recipe asks for {embedding[0]} demonstrations, and {corpus} is not declared public: "
                "the frozen program would hold what is read and written of its users.",
                fix="Give --allow-private-demos if it may, or take them out of [candidates] in the recipe.",
            )

    def worst(self, task_data: TaskData, first: int) -> int:
        """The most calls once the first block, of so many instances, is answered."""
        return self.calls + (self._ahead(task_data, first) if self.whole else 0)

    def private(self, configuration: Configuration, facts: Mapping[str, Any]) -> bool:
        """Whether a configuration holds texts of a corpus that is not public."""
        embedding = {proposal.name for proposal in self.proposals if proposal.proposer.embeds}
        held = any(made["proposer"] in embedding for made in self.held(configuration).values())
        return held and not facts.get("public")

    def make(
        self, run: Run, context: ProposalContext, affords: Callable[[int], bool], say: Callable[[str], None]
    ) -> None:
        """Let every proposer make its candidates, and write them to the run's candidates.json.

        ``affords`` says whether so many more calls leave the confirmation's reserve whole; a wish that does not is
        passed over. ``say`` hears one line a wish.
        """
        self.made, self.dropped = {}, {}
        ledger = context.evaluator.ledger
        for proposal in self.proposals:
            ahead = self._ahead(context.task_data, len(context.first)) if proposal.proposer.whole else 0
            if not affords(proposal.calls + ahead):
                say(f"{proposal.name}: the budget leaves no room for it; the rest is for search and confirmation.")
                continue
            own, before = (
                replace(context, predictor=proposal.predictor, phase=proposal.phase),
                ledger.cost(proposal.phase).calls,
            )
            with ledger.phase(proposal.phase):
                found = proposal.proposer.make(own, proposal.count)
            kept = self._take(proposal, found, own)
            say(_line(proposal, kept, self.dropped[proposal], ledger.cost(proposal.phase).calls - before))
        write_json(run.path(MADE), self._as_dict(ledger))

    def program(self) -> ProgramSpec:
        """The job's program, its library extended."""
        made = {slot: {m.id: m.content for m in found} for slot, found in self.made.items()}
        return with_candidates(self.job.program, made)

    def recipe(self) -> RecipeSpec:
        """The job's recipe, its slots extended; a slot that it did not search starts from the baseline's candidate."""
        slots: dict[str, tuple[Value, ...]] = dict(self.job.recipe.slots)
        own = self.baseline.as_dict()
        for slot, found in self.made.items():
            if found:
                slots[slot] = (*slots.get(slot, (own[slot],)), *(m.id for m in found))
        return replace(self.job.recipe, slots=slots)

    def held(self, configuration: Configuration) -> dict[str, dict[str, Any]]:
        """Slot -> id, proposer, model and content of the made candidates that a configuration holds."""
        values, all_made = configuration.as_dict(), [*self.carried.items(), *self.made.items()]
        return {slot: vars(m) for slot, found in all_made for m in found if values[slot] == m.id}

    def _ahead(self, task_data: TaskData, first: int) -> int:
        """What the baseline costs on the validation instances that the first block leaves out."""
        return (len(task_data.validation) - first) * task_data.calls(self.baseline)

    def _check(self) -> None:
        own = self.baseline.as_dict()
        predictors = dict(build(self.job.program, self.baseline).named_predictors())
        for proposal in self.proposals:
            if proposal.predictor not in predictors:
                raise unknown("predictor", proposal.predictor, predictors)
            if proposal.slot not in own:
                raise UsageError(
                    f"The recipe asks for candidates for {proposal.slot!r}, and the program's baseline does not say "
                    "what it starts from.",
                    fix=f'Add "{proposal.slot}" = "{SEED}" under [baseline] in program.toml.',
                )

    def _take(self, proposal: _ProposalRequest, found: Sequence[Any], context: ProposalContext) -> int:
        """Clean what came and name it; how many there are to keep."""
        made, known = self.made.setdefault(proposal.slot, []), self._known(proposal, context)
        failed = [("", f"no answer ({str(said)[:120]})") for said in found if isinstance(said, ModelError)]
        found = [said for said in found if not isinstance(said, ModelError)]
        there = [*known.values(), *(m.content for m in made)]
        if proposal.proposer.part == INSTRUCTION:
            kept, dropped = clean_instructions(found, there, context.task_data.texts)
        else:
            kept, dropped = clean_demos(found, there)
        ids = _names(proposal.name, {*known, *(m.id for m in made)})
        model = self.model if proposal.proposer.asks else ""
        made += [Candidate(next(ids), proposal.name, model, content) for content in kept]
        self.dropped[proposal] = [*dropped, *failed]
        return len(kept)

    def _known(self, proposal: _ProposalRequest, context: ProposalContext) -> dict[str, Any]:
        """The library's candidates for a slot; "seed" is what the module itself says."""
        program, held = self.job.program, context.held()
        if proposal.proposer.part == INSTRUCTION:
            return {SEED: held.signature.instructions, **program.instructions.get(proposal.predictor, {})}
        return {SEED: list(held.demos), **program.demos.get(proposal.predictor, {})}

    def _as_dict(self, ledger: Ledger) -> dict[str, Any]:
        """Plain data for the file: the same whenever the run goes on."""
        costs = {proposal.name: ledger.cost(proposal.phase) for proposal in self.proposals}
        return {
            "schema": _SCHEMA,
            "prompt_model": self.model,
            "proposers": {
                name: {"calls": c.calls, "input_tokens": c.input_tokens, "output_tokens": c.output_tokens}
                for name, c in costs.items()
            },
            "candidates": {slot: {m.id: vars(m) for m in found} for slot, found in self.made.items()},
            "dropped": [
                {"slot": proposal.slot, "proposer": proposal.name, "text": text, "why": why}
                for proposal, found in self.dropped.items()
                for text, why in found
            ],
        }


def _line(proposal: _ProposalRequest, kept: int, dropped: Sequence[Dropped], calls: int) -> str:
    """What became of a proposal."""
    reasons = Counter(why for _, why in dropped)
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    left = "" if kept else "; the library stays as it is"
    gone = f"; dropped: {why}" if why else ""
    return f"{proposal.name}: {kept} of {proposal.count} for {proposal.slot}, {calls} calls{gone}{left}."


def _names(proposer: str, taken: set[str]) -> Iterator[str]:
    """PROPOSER-1, PROPOSER-2 and so on, without those that are taken."""
    short = proposer.rpartition(":")[2].lower()
    return (name for name in (f"{short}-{number}" for number in count(1)) if name not in taken)
