"""`hyperalign init`: a program and a recipe of one's own, ready to compile and then to edit."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import click

from hyperalign_dspy.cli.common import emit
from hyperalign_dspy.cli.options import json_option
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.files import write_text

_TEMPLATE = Path(__file__).parent / "template"


@click.command("init")
@click.argument("name")
@json_option
def init_command(name: str, as_json: bool) -> None:
    """Write a small working program NAME into this folder: module, metric, rows, program.toml and recipe.

    It compiles as it is; then put your own module, metric and rows in their place.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UsageError(f"{name!r} is no name for a program.", fix="Lower-case letters, digits, - and _.")
    python = name.replace("-", "_")
    files = {
        Path(f"{python}.py"): "module.txt",
        Path(f"{python}.jsonl"): "rows.jsonl",
        Path("programs") / name / "program.toml": "program.toml",
        Path("optimizers") / f"{name}-quick.toml": "recipe.toml",
    }
    if there := [path for path in files if path.exists()]:
        raise UsageError(f"{there[0]} is there already; nothing was written.", fix="Take another name.")
    words = {"name": name, "python": python, "title": python.title().replace("_", "")}
    for path, template in files.items():
        write_text(path, Template((_TEMPLATE / template).read_text(encoding="utf-8")).substitute(words))
    text = "\n".join([*(f"wrote {path}" for path in files), f"Next: hyperalign compile {name}"])
    emit({"schema": "hyperalign/init/1", "files": [str(path) for path in files]}, text, as_json=as_json)
