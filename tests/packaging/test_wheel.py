"""The wheel, installed in a new environment, has its programs and runs; so does an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.packaging


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_an_install_finds_its_programs(tmp_path: Path, editable: bool) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    # The dependencies are this environment's own: what is tested is our package, not the index.
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    site = subprocess.check_output([sys.executable, "-c", "import site; print(site.getsitepackages()[0])"], text=True)
    target = subprocess.check_output([str(python), "-c", "import site; print(site.getsitepackages()[0])"], text=True)
    (Path(target.strip()) / "borrowed.pth").write_text(site)
    options = ["-e", str(ROOT)] if editable else [str(ROOT)]
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", *options], check=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    listed = subprocess.check_output([str(python), "-m", "hyperalign_dspy", "list"], cwd=tmp_path, env=env, text=True)
    assert "authorship" in listed
    assert "quick" in listed
    where = subprocess.check_output(
        [str(python), "-c", "import hyperalign_dspy; print(hyperalign_dspy.__file__)"], cwd=tmp_path, env=env, text=True
    )
    assert where.startswith(str(ROOT)) is editable
