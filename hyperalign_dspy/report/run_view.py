"""What lies in a run's folder, read for people: visits, what slots go with, costs by phase, texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import HyperalignError
from hyperalign_dspy.experiment.confirm import COMPILED, EQUAL, OUTPUTS
from hyperalign_dspy.files import digest
from hyperalign_dspy.lm.limits import Prices
from hyperalign_dspy.metrics.stats import Estimate, paired
from hyperalign_dspy.program.specs import load_program
from hyperalign_dspy.runs import Run
from hyperalign_dspy.types import Cost


@dataclass(frozen=True)
class _Phase:
    """What the answered calls that one phase was first to make cost, and how many failed; seconds add up calls that
    were in flight together.
    """

    name: str
    cost: Cost
    failed: int


class Story:
    """A run as its folder tells it, finished or not."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.run_id = run.run_id
        self.plan = run.plan
        self.result = run.result

    @property
    def unit(self) -> str:
        """What values count in; empty while the run is not done."""
        return str(self.result["plan"]["unit"]) if self.result else ""

    def counted(self, measure: str) -> str:
        """A measure and what it counts in, where that is known."""
        return f"{measure}, {self.unit}" if self.unit else measure

    @cached_property
    def visits(self) -> list[dict[str, Any]]:
        """Every visit with its configuration's changes and its gap, in order."""
        return [row for row in _lines(self.run.path("visits.jsonl")) if isinstance(row.get("gap"), (int, float))]

    def baseline_of(self, slot: str) -> str:
        """The baseline's candidate in a slot, or words for it where nobody knows any more which it was."""
        return str(self._baseline.get(slot, "the baseline's"))

    @cached_property
    def _baseline(self) -> dict[str, Any]:
        """The baseline's candidates; empty where the program is not here any more as the run had it."""
        try:
            program = load_program(str(self.plan["program"]))
        except HyperalignError:
            return {}
        return dict(program.baseline) if digest(program) == self.plan["program_digest"] else {}

    @cached_property
    def contributions(self) -> dict[str, dict[str, Estimate]]:
        """For every slot that varied, each candidate's mean gap over the visits that had it; Student's t over visits,
        without an interval where they are fewer than three.
        """
        slots = sorted({slot for visit in self.visits for slot in visit["configuration"]})
        found = {slot: self._by_candidate(slot) for slot in slots}
        return {slot: candidates for slot, candidates in found.items() if len(candidates) > 1}

    def _by_candidate(self, slot: str) -> dict[str, Estimate]:
        gaps: dict[str, list[float]] = {}
        for visit in self.visits:
            candidate = str(visit["configuration"].get(slot, self.baseline_of(slot)))
            gaps.setdefault(candidate, []).append(visit["gap"])
        return {name: paired(gaps[name], [str(n) for n in range(len(gaps[name]))]) for name in sorted(gaps)}

    @cached_property
    def phases(self) -> list[_Phase]:
        """Costs by phase, in the order in which phases began."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in _lines(self.run.path("calls.jsonl")):
            rows.setdefault(str(row.get("phase") or "other"), []).append(row)
        answered = {name: [row for row in found if "failed" not in row] for name, found in rows.items()}
        return [_Phase(name, Prices().cost(found), len(rows[name]) - len(found)) for name, found in answered.items()]

    @property
    def whole(self) -> _Phase:
        """All phases together."""
        return _Phase("all", sum((p.cost for p in self.phases), Cost()), sum(p.failed for p in self.phases))

    @cached_property
    def samples(self) -> list[dict[str, dict[str, Any]]]:
        """For every instance in the run's order, the texts of the compiled program and of the baseline at equal drafts
        by arm, each as in outputs.jsonl.
        """
        rows: dict[str, dict[str, dict[str, Any]]] = {}
        for row in _lines(self.run.path(OUTPUTS)):
            if row["arm"] in (EQUAL, COMPILED):
                rows.setdefault(row["instance"], {})[row["arm"]] = row
        return list(rows.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, none where it is not there; a run under way may have half a line at the end."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line]
