"""The candidates that a recipe asks makers for: made once, before the search, and fixed from then on.

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
from hyperalign_dspy.optimize.proposers import Maker, Scene
from hyperalign_dspy.program.configuration import INSTRUCTION, SEED, Configuration, build, with_candidates
from hyperalign_dspy.program.specs import ProgramSpec, RecipeSpec, Value
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.runs import Run
from hyperalign_dspy.tasks.protocol import Bench, Job

_MAKERS: Mapping[str, str] = {
    "grounded": "hyperalign_dspy.optimize.proposers:Grounded",
    "reflective": "hyperalign_dspy.optimize.proposers:Reflective",
    "bootstrap": "hyperalign_dspy.optimize.proposers:Bootstrap",
}
_SCHEMA = "hyperalign/candidates/1"


@dataclass(frozen=True)
class _Wish:
    """So many candidates of one maker for one predictor."""

    predictor: str
    name: str
    maker: Maker
    count: int

    @property
    def slot(self) -> str:
        """The slot that they extend."""
        return f"{self.predictor}.{self.maker.part}"

    @property
    def phase(self) -> str:
        """What the ledger calls its calls."""
        return f"propose:{self.name}"

    @property
    def calls(self) -> int:
        """The most calls of the prompt model."""
        return self.count if self.maker.asks else 0


@dataclass(frozen=True)
class Made:
    """One candidate: what it is, and which maker proposed it by which prompt model ("" where none was asked)."""

    id: str
    maker: str
    model: str
    content: Any


class Pools:
    """What a recipe asks for, checked before anything is paid; after `make`, what there is.

    Raises:
        UnknownName: no such predictor or maker. UsageError: the baseline does not say what the slot starts from.
    """

    def __init__(self, job: Job, baseline: Configuration, model: str) -> None:
        self.job, self.baseline = job, baseline
        self.model = public_name(job.prompt_model or model)
        self.made: dict[str, list[Made]] = {}
        # Of another run: the job's program has them already.
        self.carried: Mapping[str, Sequence[Made]] = {}
        self.dropped: dict[_Wish, list[Dropped]] = {}
        self.wishes = [
            _Wish(predictor, name, registry.resolve("maker of candidates", name, _MAKERS)(), number)
            for predictor, wanted in job.recipe.candidates.items()
            for name, number in wanted.items()
        ]
        self._check()

    @property
    def calls(self) -> int:
        """The most calls of the prompt model."""
        return sum(wish.calls for wish in self.wishes)

    @property
    def whole(self) -> bool:
        """Whether a maker wants the baseline on every validation instance."""
        return any(wish.maker.whole for wish in self.wishes)

    def configurations(self) -> int:
        """How many configurations there will be at most."""
        slots = {slot: len(candidates) for slot, candidates in self.job.recipe.slots.items()}
        for wish in self.wishes:
            slots[wish.slot] = slots.get(wish.slot, 1) + wish.count
        return prod(slots.values())

    def refuse_private(self, bench: Bench) -> None:
        """Refuse to embed texts of a corpus that is not public.

        Raises:
            UsageError: demonstrations are to be made of private texts, and nobody said that they may.
        """
        embedding = [wish.name for wish in self.wishes if wish.maker.embeds]
        if embedding and not self.job.embed_private and not bench.facts.get("public"):
            corpus = bench.facts["corpus"]
            raise UsageError(
                f"The recipe asks for {embedding[0]} demonstrations, and {corpus} is not declared public: "
                "the frozen program would hold what is read and written of its users.",
                fix="Give --embed-private if it may, or take them out of [candidates] in the recipe.",
            )

    def worst(self, bench: Bench, first: int) -> int:
        """The most calls once the first block, of so many instances, is answered."""
        return self.calls + (self._ahead(bench, first) if self.whole else 0)

    def private(self, configuration: Configuration, facts: Mapping[str, Any]) -> bool:
        """Whether a configuration holds texts of a corpus that is not public."""
        embedding = {wish.name for wish in self.wishes if wish.maker.embeds}
        held = any(made["maker"] in embedding for made in self.held(configuration).values())
        return held and not facts.get("public")

    def make(self, run: Run, scene: Scene, affords: Callable[[int], bool], say: Callable[[str], None]) -> None:
        """Let every maker make its candidates, and write them to the run's candidates.json.

        ``affords`` says whether so many more calls leave the confirmation's reserve whole; a wish that does not is
        passed over. ``say`` hears one line a wish.
        """
        self.made, self.dropped = {}, {}
        ledger = scene.evaluator.ledger
        for wish in self.wishes:
            if not affords(wish.calls + (self._ahead(scene.bench, len(scene.first)) if wish.maker.whole else 0)):
                say(f"{wish.name}: the budget leaves no room for it; the rest is for the search and the confirmation.")
                continue
            own, before = replace(scene, predictor=wish.predictor, phase=wish.phase), ledger.cost(wish.phase).calls
            with ledger.phase(wish.phase):
                found = wish.maker.make(own, wish.count)
            kept = self._take(wish, found, own)
            say(_line(wish, kept, self.dropped[wish], ledger.cost(wish.phase).calls - before))
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
        """Slot -> id, maker, model and content of the made candidates that a configuration holds."""
        values, all_made = configuration.as_dict(), [*self.carried.items(), *self.made.items()]
        return {slot: vars(m) for slot, found in all_made for m in found if values[slot] == m.id}

    def _ahead(self, bench: Bench, first: int) -> int:
        """What the baseline costs on the validation instances that the first block leaves out."""
        return (len(bench.validation) - first) * bench.calls(self.baseline)

    def _check(self) -> None:
        own = self.baseline.as_dict()
        predictors = dict(build(self.job.program, self.baseline).named_predictors())
        for wish in self.wishes:
            if wish.predictor not in predictors:
                raise unknown("predictor", wish.predictor, predictors)
            if wish.slot not in own:
                raise UsageError(
                    f"The recipe asks for candidates for {wish.slot!r}, and the program's baseline does not say what "
                    "it starts from.",
                    fix=f'Add "{wish.slot}" = "{SEED}" under [baseline] in program.toml.',
                )

    def _take(self, wish: _Wish, found: Sequence[Any], scene: Scene) -> int:
        """Clean what came and name it; how many there are to keep."""
        made, known = self.made.setdefault(wish.slot, []), self._known(wish, scene)
        failed = [("", f"no answer ({str(said)[:120]})") for said in found if isinstance(said, ModelError)]
        found = [said for said in found if not isinstance(said, ModelError)]
        there = [*known.values(), *(m.content for m in made)]
        if wish.maker.part == INSTRUCTION:
            kept, dropped = clean_instructions(found, there, scene.bench.texts)
        else:
            kept, dropped = clean_demos(found, there)
        ids = _names(wish.name, {*known, *(m.id for m in made)})
        model = self.model if wish.maker.asks else ""
        made += [Made(next(ids), wish.name, model, content) for content in kept]
        self.dropped[wish] = [*dropped, *failed]
        return len(kept)

    def _known(self, wish: _Wish, scene: Scene) -> dict[str, Any]:
        """The library's candidates for a slot; "seed" is what the module itself says."""
        program, held = self.job.program, scene.held()
        if wish.maker.part == INSTRUCTION:
            return {SEED: held.signature.instructions, **program.instructions.get(wish.predictor, {})}
        return {SEED: list(held.demos), **program.demos.get(wish.predictor, {})}

    def _as_dict(self, ledger: Ledger) -> dict[str, Any]:
        """Plain data for the file: the same whenever the run goes on."""
        costs = {wish.name: ledger.cost(wish.phase) for wish in self.wishes}
        return {
            "schema": _SCHEMA,
            "prompt_model": self.model,
            "makers": {
                name: {"calls": c.calls, "input_tokens": c.input_tokens, "output_tokens": c.output_tokens}
                for name, c in costs.items()
            },
            "candidates": {slot: {m.id: vars(m) for m in found} for slot, found in self.made.items()},
            "dropped": [
                {"slot": wish.slot, "maker": wish.name, "text": text, "why": why}
                for wish, found in self.dropped.items()
                for text, why in found
            ],
        }


def _line(wish: _Wish, kept: int, dropped: Sequence[Dropped], calls: int) -> str:
    """What became of a wish."""
    reasons = Counter(why for _, why in dropped)
    why = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    left = "" if kept else "; the library stays as it is"
    return (
        f"{wish.name}: {kept} of {wish.count} for {wish.slot}, {calls} calls{f'; dropped: {why}' if why else ''}{left}."
    )


def _names(maker: str, taken: set[str]) -> Iterator[str]:
    """MAKER-1, MAKER-2 and so on, without those that are taken."""
    short = maker.rpartition(":")[2].lower()
    return (name for name in (f"{short}-{number}" for number in count(1)) if name not in taken)
