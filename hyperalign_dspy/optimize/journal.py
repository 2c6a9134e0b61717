"""Optuna's journal file, among processes that may be killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend

from hyperalign_dspy.lm.records import drop_torn_line


class Journal(JournalFileBackend):
    """A journal whose lock is the kernel's, so that it ends with the process that holds it.

    Half a line that a killed process left is taken off before the next is written. Nothing waits for the disk: a line
    outlives its process, as in a run's record. A new file is its owner's alone to read.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        super().__init__(str(path))
        self._path, self._guard = path, FileLock(f"{path}.lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """One line each."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._guard.acquire(poll_interval=0.002):
            drop_torn_line(self._path)
            with self._path.open("ab") as file:
                file.write(lines.encode())
