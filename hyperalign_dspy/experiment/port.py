"""Takes a frozen program to another model: the old winners are visited first, and where the old one holds, no more is.

An old program *holds* where, on the pilot's users, it gains at least half of what it gained on its own model. With so
few users that is no proof, and it need not be one: it only decides whether more is searched. What is frozen is up to
the confirmation, as after any search. Who wants a search whatever the pilot says asks for it beforehand (``retune``):
once the sealed users have been seen it would be another try at them.

A port takes along the old program's configuration, whole, and the ranking of the run that it comes from. An instruction
or demo set goes by what it says: where the program's library holds the same under any name, that name stands for it;
where it does not, the candidate itself is carried over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.frozen import Frozen, content_of
from hyperalign_dspy.errors import TooManyFailures, UsageError
from hyperalign_dspy.experiment.budget import Budget
from hyperalign_dspy.experiment.compile import Compiler
from hyperalign_dspy.experiment.confirm import COMPILED, EQUAL, Confirmation, equal_to, verdict_arms
from hyperalign_dspy.experiment.evaluate_frozen import check_sealed
from hyperalign_dspy.experiment.result import Compiled, Ending
from hyperalign_dspy.files import digest, read_json
from hyperalign_dspy.lm.models import public_name
from hyperalign_dspy.optimize.pools import Candidate
from hyperalign_dspy.optimize.proposers import MADE
from hyperalign_dspy.optimize.visits import Visits
from hyperalign_dspy.program.configuration import (
    DEMOS,
    INSTRUCTION,
    OPTIMIZER,
    SEED,
    Configuration,
    new_module,
    with_candidates,
)
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value, recipe_digest
from hyperalign_dspy.runs import Run, all_runs
from hyperalign_dspy.tasks.evaluate import Evaluator
from hyperalign_dspy.tasks.protocol import Arm, Job
from hyperalign_dspy.types import Watcher

_OLD, _OLD_EQUAL = "old program", "baseline, old settings"
# An old program that keeps so much of its gain is searched for no further.
_KEPT = 0.5
_Changes = Mapping[str, Value]


@dataclass
class CandidateLibrary:
    """A program's library, and the candidates of other runs that are added to it."""

    program: ProgramSpec
    made: dict[str, list[Candidate]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seeds = _contents(new_module(self.program.module))

    def known(self, slot: str) -> dict[str, Any]:
        """id -> content of every candidate for a slot."""
        predictor, _, part = slot.rpartition(".")
        library = self.program.instructions if part == INSTRUCTION else self.program.demos
        own = {SEED: self._seeds[slot], **library.get(predictor, {})}
        return {**own, **{m.id: m.content for m in self.made.get(slot, ())}}

    def take(self, slot: str, made: Candidate) -> str:
        """The name under which a candidate goes here; it is added where nothing says the same."""
        known = self.known(slot)
        same = [name for name, content in known.items() if content == made.content]
        if same:
            return made.id if made.id in same else same[0]
        names = (f"{made.id}-{number}" if number > 1 else made.id for number in count(1))
        name = next(name for name in names if name not in known)
        self.made.setdefault(slot, []).append(replace(made, id=name))
        return name

    def whole(self) -> ProgramSpec:
        """The program with what was added."""
        return with_candidates(
            self.program, {slot: {m.id: m.content for m in found} for slot, found in self.made.items()}
        )

    def translate(self, frozen: Frozen) -> dict[str, Value]:
        """A frozen program's configuration under names that mean the same here.

        Raises:
            UsageError: the program has another module by now.
        """
        manifest = frozen.manifest
        if manifest["module"] != self.program.module:
            raise UsageError(
                f"{frozen.folder} was made with {manifest['module']}; the program now names {self.program.module}.",
                fix="Compile for the new model, or take the program.toml that it was made with.",
            )
        values, made = dict(manifest["configuration"]), manifest.get("candidates", {})
        proposer = values.pop(OPTIMIZER, "")
        for slot, content in _contents(frozen.module).items():
            if slot not in values and content == self.known(slot)[SEED]:
                continue
            told = made.get(slot, {})
            name = str(proposer or values.get(slot, SEED))
            found = Candidate(name, told.get("proposer", proposer or "carried"), told.get("model", ""), content)
            values[slot] = self.take(slot, found)
        return values

    def ranked(self, run: Run) -> Iterator[_Changes]:
        """The best configurations of a run as changes to the baseline, as far as it is known what they held."""
        if run.plan["program_digest"] != digest(self.program):
            return
        path = run.path(MADE)
        made = read_json(path)["candidates"] if path.is_file() else {}
        for summary in (run.result or {}).get("top", ()):
            changes = {slot: self._named(slot, value, made.get(slot, {})) for slot, value in summary["changes"].items()}
            if None not in changes.values():
                yield changes

    def with_starts(self, recipe: RecipeSpec, starts: Sequence[_Changes]) -> RecipeSpec:
        """A recipe that visits ``starts`` first: its slots hold all that these hold."""
        baseline, slots = self.program.baseline, dict(recipe.slots)
        for changes in starts:
            for slot, value in changes.items():
                there = slots.get(slot, (baseline[slot],) if slot in baseline else ())
                slots[slot] = there if value in there else (*there, value)
        own = [changes for changes in recipe.start if changes not in starts]
        return replace(recipe, slots=slots, start=(*starts, *own))

    def _named(self, slot: str, value: Value, made: Mapping[str, Any]) -> Any:
        """What a candidate of a run is called here; None where nobody knows any more what it was."""
        if not slot.endswith((f".{INSTRUCTION}", f".{DEMOS}")):
            return value
        if value in made:
            return self.take(slot, Candidate(**made[str(value)]))
        return value if value in self.known(slot) else None


@dataclass(frozen=True)
class _Ported:
    """How a port went. ``gained`` is the old program's mean paired difference on its own model's sealed users and
    ``seen`` the one on the new model's pilot, both as a visit counts them (None: it is the baseline itself). ``held``:
    it kept enough of that; ``retuned``: a search followed; ``failed`` says why it could not be measured, where it could
    not. Calls are those recorded; ``parent_calls`` is what the old program had cost.
    """

    parent: str
    model: str
    manifest_sha256: str
    run: str | None
    gained: float
    seen: float | None
    held: bool
    retuned: bool
    failed: str
    search_calls: int
    confirm_calls: int
    parent_calls: int


class PortCompiler(Compiler):
    """One port of a frozen program to ``model``; ``retune``: search even where the old program holds.

    Raises:
        UsageError: the old program has seen some of the users that are sealed here, or holds what the program's
        baseline does not know.
    """

    def __init__(
        self,
        job: Job,
        model: str,
        watcher: Watcher,
        parent: Frozen,
        command: Sequence[str] = (),
        retune: bool = False,
    ) -> None:
        self.parent, self.retune = parent, retune
        origin = _source_run(parent)
        library = CandidateLibrary(job.program)
        old = library.translate(parent)
        length = old.pop("max_tokens", job.recipe.max_tokens)
        changes = {slot: value for slot, value in old.items() if job.program.baseline.get(slot) != value}
        first = [changes, *(library.ranked(origin) if origin else ())]
        starts = [each for place, each in enumerate(first) if each and each not in first[:place]]
        recipe = library.with_starts(job.recipe, starts)
        super().__init__(replace(job, program=library.whole(), recipe=recipe), model, watcher, command)
        check_sealed(parent, self.task_data.facts)
        self.pools.carried = library.made
        self.old = self.space.baseline.changed(**old, max_tokens=length)
        self.lineage = {
            "manifest_sha256": parent.manifest["manifest_sha256"],
            "model": parent.manifest["model"]["name"],
            "run": origin.run_id if origin else None,
        }
        self.identity |= {
            "recipe": "port",
            "program_digest": digest(job.program),
            "recipe_digest": recipe_digest(job.recipe),
            "parent": self.lineage["manifest_sha256"],
            "parent_run": self.lineage["run"],
            "retune": retune,
        }
        self.seen: float | None = None
        self.held, self.failed = False, ""
        self._calls_of = (0, 0)

    def _pilot(self, visits: Visits, evaluator: Evaluator) -> None:
        # Whole: what a configuration does not name, such as what "as others" means, comes with it.
        evaluator.given[self.old] = self.parent.module
        super()._pilot(visits, evaluator)

    def failed_first(self, error: TooManyFailures) -> None:
        """As in every compile; where it is the old program, the report says so."""
        super().failed_first(error)
        self.failed = error.message if self._leads else ""

    def _search(self, run: Run, visits: Visits, evaluator: Evaluator, budget: Budget) -> None:
        gained = gained_by(self.parent.manifest)
        if self.first and self._leads and not self.failed:
            self.seen = visits.known(self.first)
            self.held = visits.winner() == self.first and self.seen >= _KEPT * gained
            words = "holds" if self.held else "falls short"
            self.watcher.say(f"In the pilot the old program gains {self.seen:+.2f} of {gained:+.2f}: it {words}.")
        if self.retune or not self.held:
            super()._search(run, visits, evaluator, budget)

    @property
    def _leads(self) -> bool:
        """Whether it is the old program that the pilot meets: it is not where that is the baseline itself."""
        length = self.space.baseline.as_dict()["max_tokens"]
        return self.first == self.old.changed(max_tokens=length)

    def confirm(
        self, run: Run, evaluator: Evaluator, chosen: Configuration, outputs: Run | None = None
    ) -> Confirmation:
        """As of every compile; what it cost is counted apart."""
        before = evaluator.ledger.path().calls
        found = super().confirm(run, evaluator, chosen, outputs)
        self._calls_of = before, evaluator.ledger.path().calls - before
        return found

    def arms(self, chosen: Configuration) -> list[Arm]:
        """The baseline, the old program as it is, and the one that was chosen; each against the baseline at its own
        drafts. Controls are for `hyperalign eval`.
        """
        baseline, equal, compiled = (replace(a, control=False) for a in verdict_arms(self.space.baseline, chosen))
        rival = equal_to(self.old, self.space.baseline)
        note = f"of {self.parent.manifest['model']['name']}, as it is"
        if self.failed:
            return [baseline, equal, compiled]
        if rival == equal.configuration:
            return [baseline, equal, Arm(_OLD, self.old, note=note), compiled]
        old = Arm(_OLD, self.old, note=note, against=_OLD_EQUAL)
        return [baseline, Arm(_OLD_EQUAL, rival, against=_OLD_EQUAL), old, equal, compiled]

    def _freeze(self, run: Run, ending: Ending) -> tuple[Path, str]:
        """As every compile; what is the old program is frozen as it was loaded."""
        held = bool(self.pools.held(ending.chosen)) and self.parent.manifest["embedded_texts"]["private"]
        module = self.parent.module if ending.chosen == self.old else ending.module
        return super()._freeze(run, replace(ending, module=module, private=ending.private or held))

    def result(self, compiled: Compiled) -> dict[str, Any]:
        """As of every compile, with how the port went."""
        assert self.lineage
        ported = _Ported(
            parent=str(self.lineage["model"]),
            model=public_name(self.model),
            manifest_sha256=str(self.lineage["manifest_sha256"]),
            run=self.lineage["run"],
            gained=gained_by(self.parent.manifest),
            seen=self.seen,
            held=self.held,
            retuned=self.retune or not self.held,
            failed=self.failed,
            search_calls=self._calls_of[0],
            confirm_calls=self._calls_of[1],
            parent_calls=int(self.parent.manifest["cost"]["calls"]),
        )
        return {**super().result(compiled), "port": asdict(ported)}


def gained_by(manifest: Mapping[str, Any]) -> float:
    """What a frozen program gained on the sealed users of its own model, as a visit counts it: help and harm in one."""
    rows = {row["name"]: row for row in manifest["measured"]["rows"]}
    row = rows[COMPILED if manifest["frozen"] == COMPILED else EQUAL]
    parts = [(1.0, row["gap"]), (-1.0, row.get("harm_rise"))]
    known = [(sign * part["mean"], part["n_instances"]) for sign, part in parts if part and part["mean"] is not None]
    return float(sum(mean * n for mean, n in known) / max(1, sum(n for _, n in known)))


def _source_run(frozen: Frozen) -> Run | None:
    """The finished run that a frozen program comes from, where it is here."""
    identity = frozen.manifest["identity"]
    alike = (run for run in all_runs() if all(run.plan.get(key) == value for key, value in identity.items()))
    return next((run for run in alike if run.result), None)


def _contents(module: Any) -> dict[str, Any]:
    """slot -> what a module's predictors hold."""
    return {
        f"{name}.{part}": content_of(predictor, part)
        for name, predictor in module.named_predictors()
        for part in (INSTRUCTION, DEMOS)
    }
