"""`hyperalign card`: what is said of frozen programs, from their manifests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.cli.common import emit, json_option, model_option, quiet, shelf_option


@click.command("card")
@click.argument("program", default="authorship")
@model_option
@click.option(
    "--readme",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Renew the measured tables of this Markdown file instead of a card.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 5 where it is not what the manifest gives.")
@shelf_option
@json_option
def card_command(program: str, model: str, readme: Path | None, check: bool, as_json: bool) -> None:
    """Write the CARD.md of a frozen PROGRAM again, from its manifest alone.

    In a Markdown file, the tables to renew stand between <!-- measured: PROGRAM MODEL --> and <!-- end -->.
    """
    quiet()
    from hyperalign_dspy.errors import GateFailed
    from hyperalign_dspy.files import write_text

    path, text = _readme(readme) if readme else _card(program, model)
    same = path.is_file() and path.read_bytes() == text.encode()
    if not same and check:
        again = f"--readme {readme}" if readme else f"{program} --model {model}"
        raise GateFailed(f"{path} is not what the manifest gives.", fix=f"hyperalign card {again}")
    if not same:
        write_text(path, text)
    told = f"{path} {'is as its manifest has it' if same else 'is written again'}."
    emit({"schema": "hyperalign/card/1", "path": str(path), "changed": not same}, told, as_json=as_json)


def _card(program: str, model: str) -> tuple[Path, str]:
    from hyperalign_dspy.artifacts.card import card
    from hyperalign_dspy.artifacts.frozen import find_frozen, read_manifest
    from hyperalign_dspy.lm.connect import slug

    folder = find_frozen(program, slug(model))
    return folder / "CARD.md", card(read_manifest(folder))


def _readme(path: Path) -> tuple[Path, str]:
    from hyperalign_dspy.artifacts.frozen import find_frozen, read_manifest
    from hyperalign_dspy.errors import DataError
    from hyperalign_dspy.lm.connect import slug
    from hyperalign_dspy.report.table import renewed

    def manifest_of(program: str, model: str) -> dict[str, Any]:
        return read_manifest(find_frozen(program, slug(model)))

    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from error
    return path, renewed(text, manifest_of)
