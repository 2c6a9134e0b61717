"""`hyperalign runs` and `report`: what was searched, and going on with it."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from hyperalign_dspy.cli import options
from hyperalign_dspy.cli.common import emit, say
from hyperalign_dspy.cli.options import Top, json_option, pass_top, prices_of
from hyperalign_dspy.errors import DataError, UsageError
from hyperalign_dspy.files import replace_folder, write_text
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.program.locate import writable_frozen
from hyperalign_dspy.report.bench import table_words
from hyperalign_dspy.report.format import columns, money
from hyperalign_dspy.report.matrix import matrix_table
from hyperalign_dspy.runs import Run, all_runs, find_run

# What older commands have behind their name, where it stands before it now.
_TOP_OPTIONS = ("--shelf", "--concurrency", "--prices")


@click.group("runs")
def runs_command() -> None:
    """Show, resume, freeze or remove runs."""


@runs_command.command("show")
@click.argument("run", default="")
@json_option
@pass_top
def _show(top: Top, /, run: str, as_json: bool) -> None:
    """The table and verdict of a finished RUN, or how far it is; without one, every run here, the newest first."""
    if not run:
        _list(top, as_json=as_json)
        return
    from hyperalign_dspy.experiment.bench.tables import TABULATED
    from hyperalign_dspy.experiment.matrix import MATRIX_SCHEMA
    from hyperalign_dspy.report.table import result_table

    found = find_run(run)
    result = found.result
    if result is None:
        so_far = _so_far(top, found)
        state = {"schema": "hyperalign/state/1", "run": found.run_id, **so_far, "plan": found.plan}
        paid = f", {words}" if (words := money(so_far["money"])) else ""
        said = f"{found.run_id}: not done; {so_far['calls']} calls recorded{paid}."
        emit(state, f"{said}\nhyperalign runs resume {found.run_id}", as_json=as_json)
        return
    told = {MATRIX_SCHEMA: matrix_table, TABULATED: table_words}.get(result["schema"], result_table)
    emit(result, told(result), as_json=as_json)


def _list(top: Top, *, as_json: bool) -> None:
    rows = [_summary(top, run) for run in all_runs()]
    cells = [[r["run"], r["model"], r["corpus"], r["state"], str(r["calls"]), money(r["money"])] for r in rows]
    text = columns(["run", "model", "corpus", "state", "calls", "cost"], cells)
    emit({"schema": "hyperalign/runs/1", "runs": rows}, text if rows else "No runs here yet.", as_json=as_json)


@runs_command.command("resume")
@click.argument("run")
@json_option
def _resume(run: str, as_json: bool) -> None:
    """Go on with a RUN by its own command; it is refused where program, recipe, corpus or model changed."""
    found = find_run(run)
    _again(found, Top(run=found.run_id), ["--json"] if as_json else [])


@runs_command.command("freeze")
@click.argument("run")
@click.option("--pareto-index", type=click.IntRange(1), help="A point of its Pareto set instead, by its number.")
@options.max_option
@json_option
def _freeze(run: str, pareto_index: int | None, caps: tuple[str, ...], as_json: bool) -> None:
    """Put what a finished RUN ended with on the shelf, in place of what is there for that program and model.

    A point of its Pareto set is measured on the sealed users first, unless it was: the more points the same users
    judge, the more certainty a verdict asks for. A cap for that takes the place of the run's own.
    """
    from hyperalign_dspy.artifacts.frozen import load_frozen
    from hyperalign_dspy.report.table import result_table

    found = find_run(run)
    if caps and not pareto_index:
        raise click.UsageError("--max is for --pareto-index: nothing else is measured here.")
    if pareto_index:
        found = _confirmed(found, pareto_index, caps)
    if found.result is None:
        raise UsageError(f"The run {found.run_id} is not done.", fix=f"hyperalign runs resume {found.run_id}")
    if "confirmation" not in found.result:
        raise UsageError(f"{found.run_id} confirmed no program.", fix=f"hyperalign runs show {found.run_id}")
    manifest = load_frozen(found.path("frozen")).manifest
    place = writable_frozen(manifest["program"], slug(manifest["model"]["name"]))
    with replace_folder(place) as fresh:
        shutil.copytree(found.path("frozen"), fresh, dirs_exist_ok=True)
    told = [result_table(found.result)] if pareto_index else []
    told.append(f"Frozen ({manifest['frozen']}): {place}")
    result = {"schema": "hyperalign/freeze/1", "path": str(place)}
    emit(result, "\n\n".join(told), as_json=as_json)


def _confirmed(run: Run, number: int, caps: tuple[str, ...]) -> Run:
    """The folder of a point of a run's Pareto set, once the point has been confirmed."""
    from hyperalign_dspy.experiment.pareto import pareto_run

    pareto = (run.result or {}).get("pareto")
    if not pareto:
        raise UsageError(
            f"{run.run_id} has no Pareto set: it is not done, or had one objective.",
            fix="hyperalign compile --objective tokens",
        )
    if _parted(run.plan["command"])[1][:1] == ["bench"]:
        raise UsageError(
            f"{run.run_id} is part of a contest, which confirms one program of each.",
            fix="Give `hyperalign compile` the same options: the points of that run can be confirmed.",
        )
    limits, names = options.limits_of(caps), {point["point"]: point["name"] for point in pareto}
    if number not in names or pareto_run(run, names[number]).result is None:
        _again(run, Top(run=run.run_id, point=number, caps=limits), [])
    return pareto_run(run, names[number])


@runs_command.command("remove")
@click.argument("run")
@json_option
def _remove(run: str, as_json: bool) -> None:
    """Delete a RUN with every text and call in it.

    What it froze stays on the shelf, what was exported or written elsewhere stays there, and so does judged.jsonl
    beside the runs, which counts how often sealed users have judged.
    """
    found = find_run(run)
    say(f"{found.run_id}: {found.folder}, all of it")
    say("What it froze, and what was exported or written elsewhere, may hold texts, and stays. So does judged.jsonl.")
    found.remove()
    emit({"schema": "hyperalign/removed/1", "run": found.run_id}, f"Removed {found.run_id}.", as_json=as_json)


def _again(run: Run, again: Top, more: list[str]) -> None:
    """Give a run's own command once more, with what was typed before the name of this one."""
    from hyperalign_dspy.cli.main import cli

    if not run.plan["command"]:
        raise UsageError(
            f"The run {run.run_id} was begun from Python, not by a command.",
            fix="Call it there again as it was: it goes on where it stopped.",
        )
    before, command = _parted(run.plan["command"])
    say("hyperalign " + shlex.join([*before, *command]))
    root = click.get_current_context().find_root()
    typed = options.option_words(root, lambda name: root.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    cli.main([*before, *typed, *command, *more], standalone_mode=False, obj=again)


def _parted(command: list[str]) -> tuple[list[str], list[str]]:
    """A recorded command's options that stand before its name, wherever they stood, and the rest."""
    before: list[str] = []
    rest: list[str] = []
    words = iter(command)
    for word in words:
        if word in _TOP_OPTIONS:
            before += [word, next(words, "")]
        else:
            rest.append(word)
    return before, rest


def _summary(top: Top, run: Run) -> dict[str, Any]:
    plan, result = run.plan, run.result
    # A matrix has no verdict.
    state = result.get("confirmation", {}).get("verdict", "measured") if result else "not done"
    # A result of an earlier version says nothing of money.
    cost = {"money": 0.0, **result["cost"]} if result else _so_far(top, run)
    known = {"run": run.run_id, "model": plan["model"], "corpus": plan["source"], "state": state}
    return {**known, "calls": cost["calls"], "money": cost["money"]}


def _so_far(top: Top, run: Run) -> dict[str, Any]:
    """Calls recorded, those that failed too, and what they cost in dollars."""
    from hyperalign_dspy.lm.limits import CallUsage
    from hyperalign_dspy.lm.records import read_calls

    path = run.path("calls.jsonl")
    prices = prices_of(top)
    try:
        used = [prices.usage(row) for row in read_calls(path)] if path.is_file() else []
    except DataError:
        # One damaged record must not hide the other runs; going on with this one says what is wrong.
        return {"calls": len(path.read_bytes().splitlines()), "money": None}
    return {"calls": len(used), "money": sum(used, CallUsage()).money}


@click.command("report")
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: report.html in its folder]")
@click.option("--open", "show", is_flag=True, help="Show it in a browser.")
@json_option
def report_command(run: str, out: Path | None, show: bool, as_json: bool) -> None:
    """Write a RUN as one HTML file that loads nothing from anywhere, and print where it is.

    Of a run that is not done it holds what is there so far. The page holds people's texts.
    """
    from hyperalign_dspy.report.page import run_page
    from hyperalign_dspy.report.run_view import Story

    found = find_run(run)
    if found.result and "confirmation" not in found.result:
        raise UsageError(f"{found.run_id} confirmed no program.", fix=f"hyperalign runs show {found.run_id}")
    path = (out or found.path("report.html")).absolute()
    write_text(path, run_page(Story(found)))
    if show and click.launch(str(path)):
        say("No browser could be started; open the file by hand.")
    emit({"schema": "hyperalign/report/1", "run": found.run_id, "report": str(path)}, str(path), as_json=as_json)
