"""What a port takes along: an old program's configuration, whole, and the ranking of the run that it comes from.

An instruction or demo set goes by what it says: where the program's library holds the same under any name, that name
stands for it; where it does not, the candidate itself is carried over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from hyperalign_dspy.artifacts.frozen import Frozen, content_of
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import digest, read_json
from hyperalign_dspy.optimize.pools import Candidate
from hyperalign_dspy.optimize.proposers import MADE
from hyperalign_dspy.program.configuration import DEMOS, INSTRUCTION, OPTIMIZER, SEED, new_module, with_candidates
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value
from hyperalign_dspy.runs import Run, all_runs

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


def _contents(module: Any) -> dict[str, Any]:
    """slot -> what a module's predictors hold."""
    return {
        f"{name}.{part}": content_of(predictor, part)
        for name, predictor in module.named_predictors()
        for part in (INSTRUCTION, DEMOS)
    }


def source_run(frozen: Frozen) -> Run | None:
    """The finished run that a frozen program comes from, where it is here."""
    identity = frozen.manifest["identity"]
    alike = (run for run in all_runs() if all(run.plan.get(key) == value for key, value in identity.items()))
    return next((run for run in alike if run.result), None)


def translate_configuration(library: CandidateLibrary, frozen: Frozen) -> dict[str, Value]:
    """A frozen program's configuration under names that mean the same here.

    Raises:
        UsageError: the program has another module by now.
    """
    manifest = frozen.manifest
    if manifest["module"] != library.program.module:
        raise UsageError(
            f"{frozen.folder} was made with {manifest['module']}; the program now names {library.program.module}.",
            fix="Compile for the new model, or take the program.toml that it was made with.",
        )
    values, made = dict(manifest["configuration"]), manifest.get("candidates", {})
    proposer = values.pop(OPTIMIZER, "")
    for slot, content in _contents(frozen.module).items():
        if slot not in values and content == library.known(slot)[SEED]:
            continue
        told = made.get(slot, {})
        name = str(proposer or values.get(slot, SEED))
        found = Candidate(name, told.get("proposer", proposer or "carried"), told.get("model", ""), content)
        values[slot] = library.take(slot, found)
    return values


def ranked_changes(library: CandidateLibrary, run: Run) -> Iterator[_Changes]:
    """The best configurations of a run as changes to the baseline, as far as it is known what they held."""
    if run.plan["program_digest"] != digest(library.program):
        return
    path = run.path(MADE)
    made = read_json(path)["candidates"] if path.is_file() else {}
    for summary in (run.result or {}).get("top", ()):
        changes = {slot: _named(library, slot, value, made.get(slot, {})) for slot, value in summary["changes"].items()}
        if None not in changes.values():
            yield changes


def _named(library: CandidateLibrary, slot: str, value: Value, made: Mapping[str, Any]) -> Any:
    """What a candidate of a run is called here; None where nobody knows any more what it was."""
    if not slot.endswith((f".{INSTRUCTION}", f".{DEMOS}")):
        return value
    if value in made:
        return library.take(slot, Candidate(**made[str(value)]))
    return value if value in library.known(slot) else None


def with_starts(recipe: RecipeSpec, baseline: _Changes, starts: Sequence[_Changes]) -> RecipeSpec:
    """A recipe that visits ``starts`` first: its slots hold all that these hold."""
    slots = dict(recipe.slots)
    for changes in starts:
        for slot, value in changes.items():
            there = slots.get(slot, (baseline[slot],) if slot in baseline else ())
            slots[slot] = there if value in there else (*there, value)
    own = [changes for changes in recipe.start if changes not in starts]
    return replace(recipe, slots=slots, start=(*starts, *own))
