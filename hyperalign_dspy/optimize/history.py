"""Instructions that earlier runs tried, with what they gained: read once, when a run begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hyperalign_dspy.files import read_json, write_json
from hyperalign_dspy.program.configuration import INSTRUCTION
from hyperalign_dspy.program.specs import ProgramSpec
from hyperalign_dspy.runs import Run, all_runs

HISTORY, MADE = "history.json", "candidates.json"
# With another split, a validation user of an earlier run may be sealed in this one.
_SAME = ("program_digest", "model", "model_digest", "data_digest")


@dataclass(frozen=True)
class PastCandidate:
    """An instruction in a configuration that an earlier run ranked, and that configuration's mean paired difference to
    the baseline over so many validation users.
    """

    slot: str
    text: str
    gain: float
    users: int


def past_candidates(run: Run, program: ProgramSpec) -> list[PastCandidate]:
    """What earlier runs of the same program, model, corpus and split tried.

    It is written into the run's folder at first: whatever runs end meanwhile, a run that goes on sees the same.
    """
    path = run.path(HISTORY)
    if not path.is_file():
        write_json(path, [asdict(t) for t in _earlier(run, program)])
    return [PastCandidate(**row) for row in read_json(path)]


def _earlier(run: Run, program: ProgramSpec) -> list[PastCandidate]:
    mine = run.plan
    alike = [r for r in all_runs() if r.run_id != run.run_id and all(r.plan.get(key) == mine.get(key) for key in _SAME)]
    best: dict[tuple[str, str], PastCandidate] = {}
    for found in (t for other in alike for t in _of(other, program)):
        key = (found.slot, found.text)
        if key not in best or found.gain > best[key].gain:
            best[key] = found
    return sorted(best.values(), key=lambda t: (t.slot, -t.gain, t.text))


def _of(run: Run, program: ProgramSpec) -> Iterator[PastCandidate]:
    library = _library(run, program)
    for standing in (run.result or {}).get("top", ()):
        for slot, choice in standing["changes"].items():
            text = library.get((slot, choice))
            if text:
                yield PastCandidate(slot, text, round(standing["estimate"]["mean"], 4), standing["estimate"]["n_users"])


def _library(run: Run, program: ProgramSpec) -> Mapping[tuple[str, str], str]:
    """(slot, id) -> instruction: the program's own, and those that were made in that run."""
    own = {
        (f"{predictor}.{INSTRUCTION}", name): text
        for predictor, texts in program.instructions.items()
        for name, text in texts.items()
    }
    path = run.path(MADE)
    made: Mapping[str, Any] = read_json(path)["candidates"] if path.is_file() else {}
    return {
        **own,
        **{
            (slot, name): candidate["content"]
            for slot, candidates in made.items()
            if slot.endswith(f".{INSTRUCTION}")
            for name, candidate in candidates.items()
        },
    }
