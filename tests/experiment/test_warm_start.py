"""What a port takes along goes by what it says, whatever it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.experiment.port import CandidateLibrary, gained_by
from hyperalign_dspy.optimize.pools import Candidate
from hyperalign_dspy.program.configuration import (
    OPTIMIZER,
    SEED,
    Configuration,
    adjust,
    build,
    probe_messages,
    settings_of,
)
from hyperalign_dspy.program.specs import load_program, load_recipe

PROGRAM = load_program("authorship")
SLOT = "generate.write.instruction"
DEMO = {"hypotheses": ["Writes little."], "request": "Write about tea.", "text": "Tea. Hot. Good."}


def frozen(configuration: dict[str, Any], module: Any, path: str = PROGRAM.module) -> Frozen:
    manifest = {"module": path, "configuration": configuration, "candidates": {}}
    return Frozen(module, manifest, Path("frozen"))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["seed", "voice", "made-1"]), st.text(min_size=1, max_size=9)), max_size=6))
def test_what_is_taken_is_there_once_under_a_name_of_its_own(found: list[tuple[str, str]]) -> None:
    library = CandidateLibrary(PROGRAM)
    before = library.known(SLOT)
    names = {text: library.take(SLOT, Candidate(name, "proposer", "", text)) for name, text in found}
    known = library.known(SLOT)
    assert {text: known[name] for text, name in names.items()} == {text: text for text in names}
    assert before.items() <= known.items()
    assert len(known) == len(before) + len(names)
    assert [library.take(SLOT, Candidate("again", "proposer", "", text)) for text in names] == list(names.values())


def test_a_program_is_carried_whole_whatever_its_candidates_are_called_here() -> None:
    values = {**PROGRAM.baseline, "samples": 2, SLOT: "voice", "generate.write.demos": "one", "max_tokens": 40}
    module = build(PROGRAM, Configuration.of(values))
    # By now the library says something else by one of these names, and the same by another.
    now = replace(
        PROGRAM,
        instructions={**PROGRAM.instructions, "generate.write": {"voice": "Other words.", "echo": "More."}},
        demos={"generate.write": {"two": PROGRAM.demos["generate.write"]["one"]}},
    )
    library = CandidateLibrary(now)
    here = library.translate(frozen(values, module))
    assert (here[SLOT], here["generate.write.demos"]) == ("voice-2", "two")
    assert [m.id for m in library.made[SLOT]] == ["voice-2"]
    again = build(library.whole(), Configuration.of(here))
    assert probe_messages(again) == probe_messages(module)
    assert again.settings.value == module.settings.value


def test_what_an_optimiser_made_is_carried_by_its_content() -> None:
    values = {**PROGRAM.baseline, "max_tokens": 40, OPTIMIZER: "gepa"}
    module = build(PROGRAM, Configuration.of({k: v for k, v in values.items() if k != OPTIMIZER}))
    predictor = dict(module.named_predictors())["generate.write"]
    predictor.signature = predictor.signature.with_instructions("Write on.")
    predictor.demos = [DEMO]
    library = CandidateLibrary(PROGRAM)
    here = library.translate(frozen(values, module))
    assert OPTIMIZER not in here
    assert (here[SLOT], here["generate.write.demos"], here["infer.read.instruction"]) == ("gepa", "gepa", SEED)
    again = build(library.whole(), Configuration.of(here))
    adjust(again, settings_of(here))
    assert again.dump_state() == module.dump_state()


def test_another_module_is_refused() -> None:
    with pytest.raises(UsageError, match="names hyperalign_dspy"):
        CandidateLibrary(PROGRAM).translate(frozen({}, None, "elsewhere:Program"))


def test_slots_hold_what_is_visited_first_and_keep_their_own() -> None:
    recipe = load_recipe("quick", "authorship")
    starts = [{"samples": 5, "hypotheses": 2}, dict(recipe.start[0])]
    wide = CandidateLibrary(PROGRAM).with_starts(recipe, starts)
    assert wide.slots["samples"] == (*recipe.slots["samples"], 5)
    assert wide.slots["hypotheses"] == (1, 2)
    assert wide.slots["shown_hypotheses"] == recipe.slots["shown_hypotheses"]
    assert list(wide.start) == [*starts, *recipe.start[1:]]


def test_what_a_program_gained_counts_harm_as_a_visit_does() -> None:
    help_, harm = {"mean": 0.4, "n_instances": 10}, {"mean": 0.2, "n_instances": 30}
    manifest = {"frozen": "compiled", "measured": {"rows": [{"name": "compiled", "gap": help_, "harm_rise": harm}]}}
    assert gained_by(manifest) == pytest.approx((0.4 * 10 - 0.2 * 30) / 40)
    manifest["measured"]["rows"][0]["harm_rise"] = None  # type: ignore[index]
    assert gained_by(manifest) == pytest.approx(0.4)
