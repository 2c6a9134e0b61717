"""`hyperalign compile` in processes of its own, against a server on this machine."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from hyperalign_dspy.cli.main import main
from hyperalign_dspy.data.voices import bundled_corpus
from tests.cli.test_main_job import measured, rows
from tests.resume.server import Server

COMPILE = ("compile", "--model", "openai/small", "--data", "small.jsonl", "--recipe", "small", "--json")
PRELOADED = (
    "litellm",
    "openai.resources",
    "hyperalign_dspy.experiment.compile",
    "hyperalign_dspy.tasks.authorship",
)
# What a run keeps and no clock has a say in.
KEPT = ("outputs.jsonl", "visits.jsonl", "frozen/program.json")


def context() -> ForkServerContext:
    """Processes are forked from one that has imported what a compile needs: most of its start is imports."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([*PRELOADED, __name__])
    return forks


def small_project(folder: Path) -> Path:
    """14 of the bundled users, and a recipe that takes seconds."""
    users = bundled_corpus().users[:14]
    lines = [{"user": u.user_id, "text": s.text, "request": s.request} for u in users for s in u.samples]
    (folder / "optimizers").mkdir(parents=True)
    (folder / "programs").mkdir()
    (folder / "small.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = (Path(__file__).parents[2] / "optimizers/authorship-quick.toml").read_text().replace('"quick"', '"small"')
    (folder / "optimizers/small.toml").write_text(text)
    return folder


@dataclass(frozen=True)
class Project:
    """A folder and the provider that its model is at."""

    folder: Path
    server: Server
    forks: ForkServerContext
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *words: str) -> ForkServerProcess:
        """A compile that has begun; what it says is in the files stdout and stderr."""
        environment = {**self.server.environment, **self.environment}
        task = (str(self.folder), environment, ("hyperalign", *COMPILE, *words))
        process = self.forks.Process(target=_typed, args=task)
        process.start()
        return process

    def compile(self, *words: str) -> int:
        """A whole compile; its exit code."""
        process = self.start(*words)
        process.join()
        return int(process.exitcode or 0)

    @property
    def said(self) -> str:
        """What the last compile said on stderr."""
        path = self.folder / "stderr"
        return path.read_text() if path.is_file() else ""

    @property
    def recorded(self) -> list[dict[str, Any]]:
        """The record's rows, failed calls too."""
        return rows(self.folder)

    def result(self) -> tuple[Any, dict[str, str]]:
        """What the run found, and the files that it left: equal for runs that are the same."""
        run = next(self.folder.glob(".hyperalign/runs/*/result.json")).parent
        found = measured(json.loads((run / "result.json").read_text()))
        return found, {name: (run / name).read_text() for name in KEPT}


@dataclass(frozen=True)
class Calm:
    """A run that nothing disturbed: what it found, and how often the provider answered each request."""

    result: tuple[Any, dict[str, str]]
    answered: Counter[str]


def undisturbed(folder: Path, forks: ForkServerContext) -> Calm:
    """Compile once, at a provider that answers everything."""
    with Server() as server:
        project = Project(small_project(folder), server, forks)
        assert project.compile() == 0, project.said
        assert server.requests == server.calls == len(server.answered) == len(project.recorded)
        return Calm(project.result(), server.answered)


def _typed(folder: str, environment: dict[str, str], words: tuple[str, ...]) -> None:
    """The child: the command line, as if typed in that folder."""
    os.chdir(folder)
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = list(words)
    main()
