"""`hyperalign report`: a run on one page."""

from __future__ import annotations

from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, json_option, quiet, say
from hyperalign_dspy.errors import UsageError


@click.command("report")
@click.argument("run")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; report.html in the run's folder."
)
@click.option("--open", "show", is_flag=True, help="Show it in a browser.")
@json_option
def report_command(run: str, out: Path | None, show: bool, as_json: bool) -> None:
    """Write a RUN as one HTML file that loads nothing from anywhere, and print where it is.

    Of a run that is not done it holds what is there so far. The page holds people's texts.
    """
    quiet()
    from hyperalign_dspy.files import write_text
    from hyperalign_dspy.report.page import run_page
    from hyperalign_dspy.report.run_view import Story
    from hyperalign_dspy.runs import find_run

    found = find_run(run)
    if found.result and "confirmation" not in found.result:
        raise UsageError(f"{found.run_id} confirmed no program.", fix=f"hyperalign runs show {found.run_id}")
    path = (out or found.path("report.html")).absolute()
    write_text(path, run_page(Story(found)))
    if show and click.launch(str(path)):
        say("No browser could be started; open the file by hand.")
    emit({"schema": "hyperalign/report/1", "run": found.run_id, "report": str(path)}, str(path), as_json=as_json)
