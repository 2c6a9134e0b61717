"""The candidates that a recipe asks proposers for: made once, before the search, and fixed from then on.

In a recipe:

    [candidates."generate.write"]
    grounded = 3
    reflective = 2
    bootstrap = 2
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any

from hyperalign_dspy import registry
from hyperalign_dspy.errors import ModelError, UsageError
from hyperalign_dspy.files import dump, write_json
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.metrics.copying import RUN, longest_run_among
from hyperalign_dspy.optimize.proposers import MADE, ProposalContext, Proposer
from hyperalign_dspy.program.configuration import INSTRUCTION, SEED, Configuration, build, with_candidates
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Job, TaskData

_PROPOSERS: Mapping[str, str] = {
    "grounded": "hyperalign_dspy.optimize.proposers:_Grounded",
    "reflective": "hyperalign_dspy.optimize.proposers:_Reflective",
    "bootstrap": "hyperalign_dspy.optimize.proposers:_Bootstrap",
}
_SCHEMA = "hyperalign/candidates/1"
# A longer instruction is a lecture, or an answer to something else. In characters.
_LONGEST = 400
_QUOTES = "\"'`“”‘’«»*"
_LABEL = re.compile(r"^\W*(?:the )?(?:new |better |improved )?(?:instruction|proposal)[*_]*\s*:[\s*_]*", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
# What may not enter the library, and why.
_Dropped = tuple[str, str]


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
        self.dropped: dict[_ProposalRequest, list[_Dropped]] = {}
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
        """Refuse to make demonstrations of private texts where nobody said that they may. Raises: UsageError."""
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

        ``affords`` says whether so many more calls leave the confirmation whole: else one is passed over.
        """
        self.made, self.dropped = {}, {}
        ledger = context.evaluator.ledger
        for proposal in self.proposals:
            ahead = self._ahead(context.task_data, len(context.first)) if proposal.proposer.whole else 0
            if not affords(proposal.calls + ahead):
                say(f"{proposal.name}: the budget leaves no room for it; the rest is for search and confirmation.")
                continue
            own = replace(context, predictor=proposal.predictor, phase=proposal.phase)
            before = ledger.cost(proposal.phase).calls
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
                raise registry.unknown("predictor", proposal.predictor, predictors)
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
        taken = {*known, *(m.id for m in made)}
        short = proposal.name.rpartition(":")[2].lower()
        ids = (name for name in (f"{short}-{number}" for number in count(1)) if name not in taken)
        model = self.model if proposal.proposer.asks else ""
        made += [Candidate(name, proposal.name, model, content) for name, content in zip(ids, kept, strict=False)]
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


def _line(proposal: _ProposalRequest, kept: int, dropped: Sequence[_Dropped], calls: int) -> str:
    reasons = Counter(why for _, why in dropped)
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    left = "" if kept else "; the library stays as it is"
    gone = f"; dropped: {why}" if why else ""
    return f"{proposal.name}: {kept} of {proposal.count} for {proposal.slot}, {calls} calls{gone}{left}."


def clean_instructions(
    said: Iterable[str], known: Iterable[str], texts: Sequence[str]
) -> tuple[list[str], list[_Dropped]]:
    """The instructions to keep, without quotes and labels around them; and those dropped, each with why.

    ``known`` are instructions that the library has; ``texts`` are users', of which none may be copied.
    """

    def fault(text: str, met: bool) -> str:
        if not _WORD.search(text):
            return "empty"
        if len(text) > _LONGEST:
            return f"longer than {_LONGEST} characters"
        if met:
            return "known already"
        return f"copies {RUN} words in a row from a user's text" if longest_run_among(text, texts) >= RUN else ""

    def bare(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.casefold()))

    return _sifted(map(_bared, said), known, bare, fault, lambda text: text[:_LONGEST])


def clean_demos(sets: Iterable[list[dict[str, Any]]], known: Iterable[Any]) -> tuple[list[Any], list[_Dropped]]:
    """The demo sets to keep, and those dropped, each with why."""

    def fault(demos: Any, met: bool) -> str:
        return "empty" if not demos else "known already" if met else ""

    return _sifted(sets, known, dump, fault, lambda demos: f"{len(demos)} demonstrations")


def _sifted(
    found: Iterable[Any],
    known: Iterable[Any],
    key: Callable[[Any], str],
    fault: Callable[[Any, bool], str],
    shown: Callable[[Any], str],
) -> tuple[list[Any], list[_Dropped]]:
    """What to keep and what to drop, as it is ``shown``; ``fault`` says why, told if the same ``key`` was met."""
    met = {key(item) for item in known}
    kept: list[Any] = []
    dropped: list[_Dropped] = []
    for item in found:
        why = fault(item, key(item) in met)
        met.add(key(item))
        if why:
            dropped.append((shown(item), why))
        else:
            kept.append(item)
    return kept, dropped


def _bared(said: str) -> str:
    """One line, without the quotes and the label that models put around an instruction."""
    text, before = " ".join(said.split()), ""
    while text != before:
        before = text
        # Marks that enclose the whole; an apostrophe or a quoted word inside stays.
        while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
            text = text[1:-1].strip()
        text = _LABEL.sub("", text).strip()
    return text
