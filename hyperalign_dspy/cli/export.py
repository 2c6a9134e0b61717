"""`hyperalign export`: a frozen program in another tool's format."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, frozen_folder, json_option, model_option, quiet, shelf_option


@click.command("export")
@click.argument("target", default="authorship", metavar="NAME|PATH")
@model_option
@click.option("--to", "form", required=True, help="messages, script, dspy, promptfoo, hub, or MODULE:CLASS.")
@click.option(
    "--out", type=click.Path(), help="The file to write, or the folder (it ends in /); a file's text is printed else."
)
@click.option("--upload", metavar="USER/REPO", help="Send it to this repository of the Hugging Face Hub (--to hub).")
@shelf_option
@json_option
def export_command(target: str, model: str, form: str, out: str | None, upload: str | None, as_json: bool) -> None:
    """Write a frozen program as chat messages, a script, or for DSPy, promptfoo or the Hugging Face Hub.

    Every format but DSPy's renders the very bytes that the program sends: it is checked before anything is written.
    """
    quiet()
    from hyperalign_dspy.artifacts.export.formats import exported, write_export
    from hyperalign_dspy.artifacts.frozen import load_frozen
    from hyperalign_dspy.errors import UsageError
    from hyperalign_dspy.lm.connect import slug

    if upload and form != "hub":
        raise UsageError("Only a folder for the Hub is uploaded.", fix="Add --to hub.")
    frozen = load_frozen(frozen_folder(target, model))
    files = exported(frozen, form)
    if out is None and len(files) == 1 and not as_json:
        click.echo(next(iter(files.values())), nl=False)
        return
    name = f"{frozen.manifest['program']}-{slug(frozen.manifest['model']['name'])}"
    place = out or (next(iter(files)) if len(files) == 1 else f"{name}-{slug(form)}")
    paths = write_export(files, Path(place), folder=place.endswith(("/", os.sep)))
    address = ""
    if upload:
        from hyperalign_dspy.artifacts.export.formats import upload as send

        address = send(paths[0].parent, upload, frozen.manifest)
    result = {"schema": "hyperalign/export/1", "to": form, "paths": [str(p) for p in paths], "uploaded": address}
    said = [str(p) for p in paths] + ([f"Uploaded: {address}"] if address else [])
    emit(result, "\n".join(said), as_json=as_json)
