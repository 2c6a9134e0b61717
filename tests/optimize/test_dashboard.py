"""A run's study in optuna-dashboard, which pip installs into an environment of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from tests.cli.test_main_job import SMALL, Inside, inside, small

__all__ = ["inside", "small"]

pytestmark = pytest.mark.evidence


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command: $HYPERALIGN_DASHBOARD, or a fresh install."""
    known = os.environ.get("HYPERALIGN_DASHBOARD")
    if known:
        return known
    folder = tmp_path_factory.mktemp("dashboard")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin/pip"), "install", "-q", "optuna-dashboard>=0.18"], check=True)
    return str(folder / "bin/optuna-dashboard")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def opened(command: str, journal: Path) -> Iterator[Callable[[str], Any]]:
    """The dashboard of a journal; what it says under a path of its API."""
    address = f"http://127.0.0.1:{(port := free_port())}/api"
    process = subprocess.Popen([command, str(journal), "--port", str(port)], stderr=subprocess.DEVNULL)

    def get(path: str) -> Any:
        with urllib.request.urlopen(f"{address}/{path}", timeout=10) as reply:
            return json.load(reply)

    try:
        for _ in range(300):
            try:
                get("studies")
                break
            except URLError:
                assert process.poll() is None
                time.sleep(0.1)
        yield get
    finally:
        process.kill()
        process.wait()


def test_the_dashboard_opens_a_runs_study_with_all_of_its_visits(dashboard: str, small: Path, inside: Inside) -> None:
    result = json.loads(inside(*SMALL, "--json", cwd=small).stdout)
    run = small / ".hyperalign/runs" / result["run"]
    visits = [json.loads(line) for line in (run / "visits.jsonl").read_text().splitlines()]
    with opened(dashboard, run / "study.journal") as get:
        (study,) = get("studies")["study_summaries"]
        trials = get(f"studies/{study['study_id']}")["trials"]
    shown = {trial["number"]: trial["values"] for trial in trials if trial["state"] == "Complete"}
    assert visits
    assert {visit["visit"]: [visit["gap"]] for visit in visits}.items() <= shown.items()
    assert {param["name"] for trial in trials for param in trial["params"]} >= {"samples", "drafts"}
