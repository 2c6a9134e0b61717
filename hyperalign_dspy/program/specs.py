"""What program.toml and a recipe say, typed and checked. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import digest
from hyperalign_dspy.program.locate import PROGRAMS, RECIPES, find_file, listing
from hyperalign_dspy.registry import unknown

SPEC_SCHEMA = 2
# The least that each number of a recipe can be: an interval takes three users.
LEAST = {
    "visits": 1,
    "block_users": 1,
    "block_requests": 1,
    "confirm_users": 3,
    "confirm_requests": 1,
    "finalists": 0,
    "search_users": 0,
    "rounds": 1,
    "max_tokens": 1,
    "max_calls": 0,
}
# More candidates of one proposer than this make a slot that no search can tell apart.
MOST_MADE = 20
Value = str | int | float | bool


@dataclass(frozen=True)
class ProgramSpec:
    """A program: which module, which task, which candidates, and the configuration that it starts from.

    ``module`` and, for the *examples* task, ``metric`` are ``module:object``. ``instructions`` and ``demos`` map a
    predictor's name to its candidates by id; the id "seed" is what the module itself says.
    """

    name: str
    summary: str
    task: str
    module: str
    data: str
    metric: str = ""
    inputs: tuple[str, ...] = ()
    baseline: Mapping[str, Value] = field(default_factory=dict)
    instructions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    demos: Mapping[str, Mapping[str, list[dict[str, Any]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class RecipeSpec:
    """How to search: which slots with which candidates, how many visits, how large a block and a confirmation.

    ``block_users`` and ``block_requests`` make a block, of ``search_users`` validation users at most (0: of all),
    who are all met again with other requests in each further one of ``rounds``; before one is chosen whoever leads is
    seen on every block, at most so many ``finalists``. ``confirm_users`` x ``confirm_requests`` sealed instances judge
    it. ``sampler`` says whom to visit next. ``start`` are configurations to visit first, as changes to the baseline.
    ``max_calls`` caps the whole run, 0 for no cap. ``constraints`` bounds measures of
    `hyperalign_dspy.optimize.objectives`: a configuration that exceeds one is not chosen, and no gain. ``objectives``
    are measures to lessen while the value is raised. ``candidates`` says how many each proposer is to add before the
    search, by predictor.
    """

    name: str
    summary: str
    slots: Mapping[str, tuple[Value, ...]]
    visits: int
    block_users: int
    block_requests: int
    confirm_users: int
    confirm_requests: int
    sampler: str = ""
    finalists: int = 2
    search_users: int = 0
    max_tokens: int = 80
    max_calls: int = 0
    start: tuple[Mapping[str, Value], ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    candidates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    rounds: int = 1

    @property
    def strategy(self) -> str:
        """The sampler that is named, else what `hyperalign bench replay` finds best, or TPE for several objectives."""
        return self.sampler or ("tpe" if self.objectives else "knowledge")

    @property
    def search_requests(self) -> int:
        """How many requests of each validation user the search may see."""
        return self.block_requests * self.rounds


def load_program(name: str) -> ProgramSpec:
    """Read a program by name or path. Raises: UnknownName: no such program. UsageError: a file that is no program."""
    path = find_file(PROGRAMS, name)
    values = _read(path)
    values["inputs"] = tuple(values.get("inputs", ()))
    spec: ProgramSpec = _typed(ProgramSpec, values, path)
    return spec


def load_recipe(name: str, program: str) -> RecipeSpec:
    """Read a program's recipe, by path or by name: "quick" is `optimizers/PROGRAM-quick.toml`, or
    `optimizers/quick.toml`.

    Raises:
        UnknownName: no such recipe. UsageError: a file that is no recipe.
    """
    known = listing(RECIPES)
    own = f"{program}-{name}"
    if own not in known and name not in known and not Path(name).is_file():
        short = [stem.removeprefix(f"{program}-") for stem in known if stem.startswith(f"{program}-")]
        raise unknown("recipe", name, [*short, *known])
    path = find_file(RECIPES, own if own in known else name)
    values = _read(path)
    values["slots"] = {slot: _candidates(path, slot, found) for slot, found in values.get("slots", {}).items()}
    values["start"] = tuple(values.get("start", ()))
    values["objectives"] = _objectives(path, values.get("objectives", []))
    values["candidates"] = _wishes(path, values.get("candidates", {}))
    recipe: RecipeSpec = _typed(RecipeSpec, values, path)
    for number, least in LEAST.items():
        value = getattr(recipe, number)
        if type(value) is not int or value < least:
            raise UsageError(f"{path}: {number} is {value!r}; it has to be a whole number from {least} up.")
    return recipe


def _candidates(path: Path, slot: str, found: Any) -> tuple[Value, ...]:
    if not isinstance(found, list) or not found:
        raise UsageError(
            f"{path}: the slot {slot!r} is {found!r}.", fix=f'Give a list of candidates: "{slot}" = [first, second]'
        )
    return tuple(found)


def _objectives(path: Path, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{path}: objectives is {found!r}.", fix='Give a list of names: objectives = ["tokens"]')
    return tuple(found)


def _wishes(path: Path, found: Any) -> dict[str, dict[str, int]]:
    """predictor -> proposer -> how many candidates it is to make."""
    fix = 'Write it like this: [candidates."generate.write"], and under it: grounded = 3'
    if not isinstance(found, dict) or not all(isinstance(proposals, dict) for proposals in found.values()):
        raise UsageError(f"{path}: [candidates] names no predictor.", fix=fix)
    for predictor, proposals in found.items():
        for proposer, number in proposals.items():
            if isinstance(number, dict):
                raise UsageError(f"{path}: [candidates.{predictor}.{proposer}] lacks quotes.", fix=fix)
            if type(number) is not int or not 1 <= number <= MOST_MADE:
                raise UsageError(
                    f"{path}: {proposer} is to make {number!r} candidates for {predictor!r}.",
                    fix=f"Give a whole number from 1 to {MOST_MADE}, or leave {proposer} out.",
                )
    return {predictor: dict(proposals) for predictor, proposals in found.items()}


def recipe_digest(recipe: RecipeSpec) -> str:
    """SHA-256 of what a recipe searches.

    A cap says when to stop and not what is searched: with a higher one the same run goes on. A recipe that asks for
    nothing of what recipes could not ask for at first is the same as then, so that a run begun then goes on too.
    """
    plain = {**asdict(recipe), "max_calls": 0, "sampler": recipe.strategy}
    later = {"candidates": {}, "objectives": (), "rounds": 1}
    return digest({name: value for name, value in plain.items() if name not in later or value != later[name]})


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    schema = values.pop("schema", None)
    if schema != SPEC_SCHEMA:
        raise UsageError(
            f"{path} has schema {schema!r}; this version reads schema {SPEC_SCHEMA}.",
            fix=f"CHANGELOG.md says what has another name since; then put `schema = {SPEC_SCHEMA}` on its first line.",
        )
    return values


def _typed(kind: Any, values: dict[str, Any], path: Path) -> Any:
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            raise unknown(f"key in {path}", key, known)
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).split(":")[-1].strip()
        raise UsageError(f"{path} lacks {missing}.", fix=f"Known keys: {', '.join(known)}.") from error
