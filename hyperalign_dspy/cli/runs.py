"""`hyperalign runs`: what was searched, and going on with it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from hyperalign_dspy.cli.common import cap_options, emit, json_option, limits_of, prices_of, say
from hyperalign_dspy.errors import DataError

if TYPE_CHECKING:
    from hyperalign_dspy.lm.limits import Limits


@click.group("runs")
def runs_command() -> None:
    """List, show, resume, confirm or remove runs."""


@runs_command.command("list")
@json_option
def _list(as_json: bool) -> None:
    """Every run in this project, the newest first."""
    from hyperalign_dspy.report.format import columns, money
    from hyperalign_dspy.runs import all_runs

    rows = [_summary(run) for run in all_runs()]
    cells = [[r["run"], r["model"], r["corpus"], r["state"], str(r["calls"]), money(r["money"])] for r in rows]
    text = columns(["run", "model", "corpus", "state", "calls", "cost"], cells)
    emit({"schema": "hyperalign/runs/1", "runs": rows}, text if rows else "No runs here yet.", as_json=as_json)


@runs_command.command("show")
@click.argument("run")
@json_option
def _show(run: str, as_json: bool) -> None:
    """The table and verdict of a finished RUN, or how far it is."""
    from hyperalign_dspy.experiment.bench.tables import TABULATED
    from hyperalign_dspy.experiment.matrix import MATRIX_SCHEMA
    from hyperalign_dspy.report.bench import table_words
    from hyperalign_dspy.report.format import money
    from hyperalign_dspy.report.matrix import matrix_table
    from hyperalign_dspy.report.table import result_table
    from hyperalign_dspy.runs import find_run

    found = find_run(run)
    result = found.result
    if result is None:
        so_far = _so_far(found)
        state = {"schema": "hyperalign/state/1", "run": found.run_id, **so_far, "plan": found.plan}
        paid = f", {words}" if (words := money(so_far["money"])) else ""
        emit(
            state,
            f"{found.run_id}: not done; {so_far['calls']} calls recorded{paid}.\nhyperalign runs resume {found.run_id}",
            as_json=as_json,
        )
        return
    told = {MATRIX_SCHEMA: matrix_table, TABULATED: table_words}.get(result["schema"], result_table)
    emit(result, told(result), as_json=as_json)


@runs_command.command("resume")
@click.argument("run")
@json_option
def _resume(run: str, as_json: bool) -> None:
    """Go on with a RUN by its own command; it is refused where program, recipe, corpus or model changed."""
    from hyperalign_dspy.runs import find_run

    _again(find_run(run), [], as_json=as_json)


@runs_command.command("confirm")
@click.argument("run")
@click.option("--pareto-index", type=click.IntRange(1), required=True, help="Its number in the Pareto set.")
@cap_options
@json_option
def _confirm(run: str, point: int, as_json: bool, **given: Any) -> None:
    """Measure a point of a RUN's Pareto set on the sealed users; `hyperalign freeze RUN --pareto-index N` ships it.

    The more points the same users judge, the more certainty a verdict asks for. A cap takes the place of the run's own.
    """
    from hyperalign_dspy.errors import UsageError
    from hyperalign_dspy.runs import find_run

    found = find_run(run)
    if not (found.result or {}).get("pareto"):
        raise UsageError(
            f"{found.run_id} has no Pareto set: it is not done, or had one objective.",
            fix="hyperalign compile --objective tokens",
        )
    if found.plan["command"][:1] == ["bench"]:
        raise UsageError(
            f"{found.run_id} is part of a contest, which confirms one program of each.",
            fix="Give `hyperalign compile` the same options: the points of that run can be confirmed.",
        )
    _again(found, ["--pareto-index", str(point)], as_json=as_json, caps=limits_of(given))


@runs_command.command("remove")
@click.argument("run")
@json_option
def _remove(run: str, as_json: bool) -> None:
    """Delete a RUN with every text and call in it.

    What it froze stays on the shelf, what was exported or written elsewhere stays there, and so does judged.jsonl
    beside the runs, which counts how often sealed users have judged.
    """
    from hyperalign_dspy.runs import find_run

    found = find_run(run)
    say(f"{found.run_id}: {found.folder}, all of it")
    say("What it froze, and what was exported or written elsewhere, may hold texts, and stays. So does judged.jsonl.")
    found.remove()
    emit({"schema": "hyperalign/removed/1", "run": found.run_id}, f"Removed {found.run_id}.", as_json=as_json)


def _again(run: Any, more: list[str], *, as_json: bool, caps: Limits | None = None) -> None:
    """Give a run's own command once more; ``caps`` are for a confirmation alone, and no part of it."""
    from hyperalign_dspy.cli.main import cli
    from hyperalign_dspy.errors import UsageError

    command = list(run.plan["command"])
    if not command:
        raise UsageError(
            f"The run {run.run_id} was begun from Python, not by a command.",
            fix="Call it there again as it was: it goes on where it stopped.",
        )
    say("hyperalign " + shlex.join(command))
    expected = [*more, "--expect", run.run_id, *(["--json"] if as_json else [])]
    cli.main([*command, *expected], standalone_mode=False, obj=caps)


def _summary(run: Any) -> dict[str, Any]:
    plan, result = run.plan, run.result
    # A matrix has no verdict.
    state = result.get("confirmation", {}).get("verdict", "measured") if result else "not done"
    # A result of an earlier version says nothing of money.
    cost = {"calls": result["cost"]["calls"], "money": result["cost"].get("money", 0.0)} if result else _so_far(run)
    return {"run": run.run_id, "model": plan["model"], "corpus": plan["source"], "state": state, **cost}


def _so_far(run: Any) -> dict[str, Any]:
    """Calls recorded, those that failed too, and what they cost in dollars."""
    from hyperalign_dspy.lm.limits import CallUsage
    from hyperalign_dspy.lm.records import read_calls

    path = run.path("calls.jsonl")
    prices = prices_of()
    try:
        used = [prices.usage(row) for row in read_calls(path)] if path.is_file() else []
    except DataError:
        # One damaged record must not hide the other runs; going on with this one says what is wrong.
        return {"calls": len(path.read_bytes().splitlines()), "money": None}
    return {"calls": len(used), "money": sum(used, CallUsage()).money}
