"""`hyperalign verify`: is a frozen program what it claims to be?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyperalign_dspy.cli.common import emit, frozen_folder, json_option, model_option, quiet, shelf_option

if TYPE_CHECKING:
    from hyperalign_dspy.artifacts.frozen import Check


@click.command("verify")
@click.argument("target", default="authorship", metavar="NAME|PATH")
@model_option
@click.option("--replay", default=0, type=click.IntRange(0), metavar="K", help="Send K of the run's calls again.")
@shelf_option
@json_option
def verify_command(target: str, model: str, replay: int, as_json: bool) -> None:
    """Check hashes, signatures, messages and versions of a frozen program: a NAME on the shelf, or a folder."""
    quiet()
    from hyperalign_dspy.artifacts.frozen import verify
    from hyperalign_dspy.errors import FrozenMismatch

    folder = frozen_folder(target, model)
    checks, frozen = verify(folder)
    if frozen and replay:
        from hyperalign_dspy.experiment.replay_calls import replay_calls

        checks.append(replay_calls(frozen.manifest, model, replay))
    refused = [check for check in checks if check.state == "refused"]
    result = {
        "schema": "hyperalign/verify/1",
        "path": str(folder),
        "verified": not refused,
        "checks": [asdict(check) for check in checks],
    }
    emit(result, _words(folder, checks), as_json=as_json)
    if refused:
        raise FrozenMismatch(f"{folder} is refused: see {refused[0].name}.", fix=refused[0].fix)


def _words(folder: Path, checks: list[Check]) -> str:
    lines = [f"{check.name:16} {check.state:8} {check.about}" for check in checks]
    notes = [f"{check.name}: {check.fix}" for check in checks if check.fix and check.state in ("differs", "skipped")]
    return "\n".join([str(folder), "", *lines, *([""] if notes else []), *notes])
