"""Run folders: ``.hyperalign/runs/<id>/``, one for each (program, recipe, corpus, model, seed), ignored by git.

plan.json says what the run is: a run with another plan is another run. calls.jsonl holds every call that was paid for,
outcomes.jsonl what every scored instance came to, outputs.jsonl every text of the confirmation, and result.json its
verdict; frozen/ is the frozen program, points/ are others of the Pareto set. Beside the runs lies judged.jsonl: every
judging of sealed users, by removed runs too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import MissingFolder, RunMismatch
from hyperalign_dspy.files import digest, read_json, write_json
from hyperalign_dspy.registry import unknown

# The part of a plan that names a program's own files.
CODE = "code"


def home() -> Path:
    """Where runs lie: $HYPERALIGN_RUNS, or .hyperalign/runs in the current folder."""
    return Path(os.environ.get("HYPERALIGN_RUNS") or Path.cwd() / ".hyperalign" / "runs")


@dataclass(frozen=True)
class Run:
    """One run's folder and plan."""

    folder: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def plan(self) -> dict[str, Any]:
        """What the run is."""
        return dict(read_json(self.folder / "plan.json"))

    @property
    def result(self) -> dict[str, Any] | None:
        """The confirmation, or None while the run is not done."""
        path = self.folder / "result.json"
        return dict(read_json(path)) if path.is_file() else None

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder / name

    def once(self, name: str, value: int) -> int:
        """A number that the run's decisions depend on: as it was when the run first came to it, however it goes on."""
        path = self.path(f"{name}.json")
        if not path.is_file():
            write_json(path, value)
        return int(read_json(path))

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add one line to a JSON-lines file of the run."""
        with self.path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")

    def remove(self) -> None:
        """Delete the run and every text in it."""
        shutil.rmtree(self.folder)


def run_id_of(plan: Mapping[str, Any]) -> str:
    """A run's name: program, recipe, and eight digits of all that it is."""
    return f"{plan['program']}-{plan['recipe']}-{digest(dict(plan))[:8]}"


def open_run(plan: Mapping[str, Any], command: Sequence[str]) -> Run:
    """The run with this plan: a new folder, or the one that is there to go on with. ``command`` gives it again.

    Raises:
        MissingFolder: the folder cannot be written.
    """
    folder = folder_for(run_id_of(plan))
    write_json(folder / "plan.json", {**plan, "command": list(command)})
    return Run(folder)


def folder_for(name: str) -> Path:
    """A folder among the runs, which git is told to ignore and which its owner alone may enter.

    Raises:
        MissingFolder: it cannot be written.
    """
    folder = home() / name
    try:
        home().mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = home() / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# people's texts: never commit them\n*\n", encoding="utf-8")
    except OSError as error:
        raise MissingFolder(
            f"Cannot write runs to {home()}: {error.strerror}.",
            fix="Go to a folder of your own, or set HYPERALIGN_RUNS to one.",
        ) from error
    return folder


def expect(run_id: str, plan: Mapping[str, Any]) -> None:
    """Refuse to go on with a run whose program, its code, recipe, corpus or model changed.

    Raises:
        RunMismatch: with what differs.
    """
    if run_id == run_id_of(plan):
        return
    run = find_run(run_id)
    old = {key: value for key, value in run.plan.items() if key != "command"}
    changed = [key for key in sorted({*old, *plan}) if old.get(key) != plan.get(key)]
    lines = [_difference(key, old.get(key), plan.get(key)) for key in changed]
    raise RunMismatch(
        f"The run {run.run_id} was started with something else:\n" + "\n".join(lines),
        fix="Give the command anew: it makes a run of its own, and this one stays as it is.",
    )


def _difference(key: str, was: Any, now: Any) -> str:
    if key != CODE:
        return f"  {key}: was {str(was)[:40]}, is {str(now)[:40]}"
    old, new = was or {}, now or {}
    files = [file for file in sorted({*old, *new}) if old.get(file) != new.get(file)]
    return f"  {key}: it has changed in {', '.join(files)}"


def all_runs() -> list[Run]:
    """Every run in the home folder, the newest first."""
    found = [path.parent for path in home().glob("*/plan.json")]
    return [Run(folder) for folder in sorted(found, key=lambda f: -f.stat().st_mtime)]


def find_run(name: str) -> Run:
    """A run by its id or the beginning of it. Raises: UnknownName: no run, or several, go by that name."""
    matches = [run for run in all_runs() if run.run_id == name or run.run_id.startswith(name)]
    if len(matches) != 1:
        raise unknown("run", name, [run.run_id for run in all_runs()])
    return matches[0]
