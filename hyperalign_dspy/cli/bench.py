"""`hyperalign bench`: the statistics tried on simulated runs of which the truth is known."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, json_option, quiet, say


@click.group("bench")
def bench_command() -> None:
    """Try the statistics on simulated runs of which the truth is known. Calls no model."""


@bench_command.command("coverage")
@click.option("--replications", default=4000, show_default=True, type=click.IntRange(100))
@click.option("--requests", default=3, show_default=True, type=click.IntRange(1), help="Requests a user.")
@click.option("--seed", default=0, show_default=True)
@json_option
def coverage_command(replications: int, requests: int, seed: int, as_json: bool) -> None:
    """How often a 95% interval over 8, 24 and 100 users holds the truth."""
    quiet()
    from hyperalign_dspy.metrics.simulation import coverage
    from hyperalign_dspy.report.simulation import coverage_table

    found = []
    for users in (8, 24, 100):
        for win in (0.5, 0.65):
            say(f"{users} users, true win rate {win}")
            found.append(
                {"users": users, "true_win": win, **asdict(coverage(users, requests, replications, seed, win))}
            )
    emit({"schema": "hyperalign/coverage/1", "rows": found}, coverage_table(found, requests), as_json=as_json)


@bench_command.command("gains")
@click.option("--runs", default=4000, show_default=True, type=click.IntRange(100))
@click.option("--seed", default=0, show_default=True)
@json_option
def gains_command(runs: int, seed: int, as_json: bool) -> None:
    """How often a search among 50 equal configurations declares a gain: where there is none, and where there is one."""
    quiet()
    from hyperalign_dspy.metrics.simulation import planted, search_trial
    from hyperalign_dspy.report.simulation import gains_table

    found: list[dict[str, Any]] = []
    for win in (0.5, planted()):
        say(f"{runs} searches, true win rate {win:.3f}")
        found.append(asdict(search_trial(win, runs, seed)))
    emit({"schema": "hyperalign/gains/1", "rows": found}, gains_table(found), as_json=as_json)
