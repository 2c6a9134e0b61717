"""`hyperalign doctor`: what is installed, set and writable here. It names keys and never shows them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

import click

from hyperalign_dspy.cli.common import emit, json_option, shelf_option

_PACKAGES = ("hyperalign-dspy", "dspy", "optuna", "openai", "datasets", "scikit-learn", "xllamacpp")


@click.command("doctor")
@shelf_option
@json_option
def doctor_command(as_json: bool) -> None:
    """Print versions, weights, keys that are set (never their values) and folders that can be written."""
    from hyperalign_dspy.lm.connect import KEYS
    from hyperalign_dspy.lm.models import find_weights, weights_path
    from hyperalign_dspy.program.locate import writable_frozen
    from hyperalign_dspy.report.format import columns
    from hyperalign_dspy.runs import home

    rows = [["python", platform.python_version(), ""], ["cores", str(os.cpu_count()), ""]]
    rows += [[name, _version(name), ""] for name in _PACKAGES]
    rows.append(
        [
            "weights",
            "here" if find_weights() else "not here",
            str(weights_path()) if find_weights() else "hyperalign models pull",
        ]
    )
    rows += [[key, "set" if os.environ.get(key) else "not set", provider] for provider, key in KEYS.items()]
    folders = {"runs": home(), "shelf": writable_frozen("authorship", "local"), "cache": weights_path().parent}
    rows += [
        [f"{name} folder", "writable" if _writable(path) else "NOT writable", str(path)]
        for name, path in folders.items()
    ]
    plain = {
        "schema": "hyperalign/doctor/1",
        "facts": [{"what": w, "state": s, "about": a} for w, s, a in rows],
    }
    emit(plain, columns(["what", "state", ""], rows), as_json=as_json)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _writable(path: Path) -> bool:
    """Whether a file can be made there, or in the nearest folder above that exists."""
    while not path.exists():
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False
