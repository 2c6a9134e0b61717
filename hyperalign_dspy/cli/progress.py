"""How a command shows what a person waits for: nothing, plain lines, a live panel, or one JSON line an event."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hyperalign_dspy.report.format import money
from hyperalign_dspy.types import Cost, Watcher

_EVERY = 15.0  # seconds between plain lines of one phase


class _Silent:
    """Shows nothing; errors still reach the terminal."""

    def say(self, text: str) -> None:
        """Nothing."""

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Plain(_Silent):
    """A line an event; of a phase, for its first and last step and every fifteen seconds between."""

    def __init__(self) -> None:
        self._phase, self._last, self._start = "", 0.0, time.monotonic()

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        now = time.monotonic()
        if _name(phase) == self._phase and (done < total or not total) and now - self._last < _EVERY:
            return
        self._phase, self._last = _name(phase), now
        self.say(f"{phase:26} {done}{f'/{total}' if total else ''}  {_spent(cost)}, {now - self._start:.0f} s")


class _JsonLines(_Silent):
    """One JSON object a line, for programs that watch."""

    def say(self, text: str) -> None:
        """``{"event": "say", "text": ...}``"""
        self._write(event="say", text=text)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        """``{"event": "step", "phase": ..., "done": ..., "total": ..., "calls": ..., "money": DOLLARS}``"""
        spent = {"calls": cost.calls, "reused": cost.recorded_calls, "money": cost.money}
        self._write(event="step", phase=phase, done=done, total=total, **spent)

    def _write(self, **event: Any) -> None:
        click.echo(json.dumps(event, ensure_ascii=False), err=True)


class _Live(_Silent):
    """A panel with one bar a phase below the events; `close` gives the cursor back."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = ("{task.description:26}", BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        spent = TextColumn("{task.fields[spent]}")
        self._progress = Progress(*columns, spent, console=Console(stderr=True), refresh_per_second=4)
        self._tasks: dict[str, Any] = {}
        self._phase = ""

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)

    def step(self, phase: str, done: int, total: int, cost: Cost) -> None:
        self._progress.start()
        name = _name(phase)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(phase, total=total or None, spent="")
        elif done <= 1 and phase != self._phase:
            self._progress.reset(self._tasks[name], total=total)
        self._phase = phase if name != "confirm" else self._phase
        most = total or None
        self._progress.update(self._tasks[name], completed=done, total=most, description=phase, spent=_spent(cost))

    def close(self) -> None:
        self._progress.stop()


_MAKERS: dict[str, Callable[[], _Silent]] = {"none": _Silent, "plain": _Plain, "live": _Live, "json": _JsonLines}


@contextmanager
def following(display: str | None) -> Iterator[Watcher]:
    """Who follows a command as ``display`` says, until the command ends in whatever way."""
    watcher = _MAKERS[display or ("live" if sys.stderr.isatty() else "plain")]()
    notes, logger = _Notes(watcher), logging.getLogger("hyperalign_dspy")
    logger.addHandler(notes)
    try:
        yield watcher
    finally:
        logger.removeHandler(notes)
        watcher.close()


class _Notes(logging.Handler):
    """What the package itself logs, such as that it waits for a provider, as events."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(logging.WARNING)
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        self._watcher.say(record.getMessage())


def _name(phase: str) -> str:
    return phase.split(":", maxsplit=1)[0].split(maxsplit=1)[0]


def _spent(cost: Cost) -> str:
    reused = f", {cost.recorded_calls} reused" if cost.recorded_calls else ""
    paid = f", {words}" if (words := money(cost.money)) else ""
    return f"{cost.calls} calls{reused}{paid}" if cost.calls or reused else ""
