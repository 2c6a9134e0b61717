"""Frozen programs: what is written is what is loaded, shown and sent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.lm15 import Request

from hyperalign_dspy.artifacts.frozen import Provenance, freeze, load_frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.engine import messages_of
from hyperalign_dspy.lm.ledger import Ledger
from hyperalign_dspy.lm.scripted import ScriptedEngine
from hyperalign_dspy.program.configuration import Configuration, Plain, adjust, build, new_module, probe_messages
from hyperalign_dspy.program.hyperalign import HyPerAlign
from hyperalign_dspy.program.settings import Settings
from hyperalign_dspy.program.specs import load_program, load_recipe
from hyperalign_dspy.types import Sample

SAMPLES = [Sample(f"Sample number {n}. It rained!", f"Write about rain {n}.") for n in range(1, 6)]


def sent(module: Any, **inputs: Any) -> list[Any]:
    """Every different conversation that a module holds with the model."""
    seen: list[Any] = []
    engine = ScriptedEngine()
    complete = engine.complete

    def listen(request: Request) -> Any:
        seen.append(messages_of(request))
        return complete(request)

    engine.complete = listen  # type: ignore[method-assign]
    with dspy.context(lm=dspy.LM("scripted", engine=Ledger().wrap(engine, "scripted"), cache=False)):
        module(**inputs)
    return [messages for place, messages in enumerate(seen) if messages not in seen[:place]]


@pytest.mark.parametrize("told", ["none", "inferred", "measured", "both"])
@pytest.mark.parametrize("samples", [0, 3])
def test_what_is_shown_has_the_shape_of_what_is_sent(told: Any, samples: int) -> None:
    module = HyPerAlign(Settings(shown_hypotheses=told, samples=samples, drafts=2))
    found = sent(module, samples=SAMPLES, request="Write about snow.")
    shown = list(probe_messages(module).values())
    assert [[m["role"] for m in messages] for messages in shown] == [[m["role"] for m in ms] for ms in found]
    assert [bool("ypotheses" in str(ms)) for ms in shown] == [bool("ypotheses" in str(ms)) for ms in found]


def test_a_program_comes_back_as_it_was_frozen(tmp_path: Path) -> None:
    program = load_program("authorship")
    values = {**program.baseline, "samples": 2, "drafts": 3, "generate.write.instruction": "voice", "max_tokens": 40}
    module = build(program, Configuration.of(values))
    freeze(module, provenance(values), tmp_path / "frozen")
    loaded = load_frozen(tmp_path / "frozen").module
    assert loaded.settings.value == module.settings.value
    assert sent(loaded, samples=SAMPLES, request="Snow.") == sent(module, samples=SAMPLES, request="Snow.")


def test_freezing_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    program = load_program("authorship")
    for samples in (1, 2):
        values = {**program.baseline, "samples": samples}
        freeze(build(program, Configuration.of(values)), provenance(values), tmp_path / "frozen")
    assert load_frozen(tmp_path / "frozen").module.settings.value.samples == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "frozen"))] == ["frozen"]


def provenance(values: dict[str, Any]) -> Provenance:
    estimate = {"mean": 0.0, "low": 0.0, "high": 0.0, "n_users": 3, "n_instances": 3}
    row = {"name": "compiled", "drafts": 1, "value": estimate, "gap": estimate, "wins": estimate, "copied": 0.0}
    return Provenance(
        program=load_program("authorship"),
        recipe=load_recipe("quick", "authorship"),
        model="scripted",
        model_facts={},
        configuration=values,
        identity={"seed": 0},
        facts={"corpus": "none", "users": {"sealed": 3}},
        confirmation={"verdict": "no gain", "rows": [row]},
        cost={"calls": 0, "input_tokens": 0, "output_tokens": 0},
        frozen_is="baseline",
    )


class Mood(dspy.Module):
    """A module that knows nothing of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.tell = dspy.Predict("message -> mood")

    def forward(self, message: str) -> Any:
        return self.tell(message=message)


def test_a_plain_module_is_run_under_its_settings_and_keeps_its_own_state() -> None:
    module = new_module(f"{__name__}:Mood")
    assert isinstance(module, Plain)
    assert [name for name, _ in module.named_predictors()] == ["tell"]
    adjust(module, {"adapter": "turns", "temperature": 0.3, "max_tokens": 9})
    seen: list[Request] = []
    engine = ScriptedEngine(lambda request: seen.append(request) or "glad")  # type: ignore[func-returns-value]
    with dspy.context(lm=dspy.LM("scripted", engine=Ledger().wrap(engine, "scripted"), cache=False)):
        assert module(message="We won!").mood == "glad"
    assert (seen[0].config.temperature, seen[0].config.max_tokens) == (0.3, 9)
    assert messages_of(seen[0])[-1]["content"] == "We won!"
    assert module.dump_state() == module.inner.dump_state()
    with pytest.raises(UsageError, match="no setting called"):
        adjust(module, {"drafts": 2})


@pytest.mark.parametrize("path", ["pathlib:Path", "os:getcwd", "dspy:Predict"])
def test_what_is_no_module_that_can_be_made_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        new_module(path)


def test_the_probe_of_a_plain_module_names_every_input() -> None:
    module = new_module(f"{__name__}:Mood")
    assert "{{message}}" in str(probe_messages(module)["tell"])
    assert asdict(module.settings.value)["adapter"] == "chat"
