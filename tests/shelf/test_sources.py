"""Which files are a program's own code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from hyperalign_dspy.shelf.sources import code_of
from hyperalign_dspy.shelf.specs import ProgramSpec, load_program

FILES = {
    "ballad/__init__.py": "",
    "ballad/song.py": "import json\nimport dspy\nfrom . import words\nfrom .parts.metre import feet\nclass Song: ...\n",
    "ballad/words.py": "from hyperalign_dspy.errors import UsageError\n",
    "ballad/parts/metre.py": "def feet():\n    import chorus.refrain\n",
    "chorus/__init__.py": "try:\n    from .again import more\nexcept ImportError:\n    more = None\n",
    "chorus/refrain.py": "from ballad import song\n",
    "ballad/unused.py": "",
    "datasets/rows.txt": "",
    "score.py": "def rhymes(example, prediction):\n    return 1.0\n",
}


@pytest.fixture
def program(tmp_path: Path) -> ProgramSpec:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return replace(load_program("authorship"), module="ballad.song:Song", metric="score:rhymes")


def test_a_programs_code_is_its_module_its_metric_and_what_they_import_of_the_same_folder(program: ProgramSpec) -> None:
    wanted = {name: text for name, text in FILES.items() if name not in ("ballad/unused.py", "datasets/rows.txt")}
    assert code_of(program) == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in wanted.items()}


@pytest.mark.parametrize("name", ["authorship", "deliberative"])
def test_a_shipped_program_brings_no_code(name: str) -> None:
    assert code_of(load_program(name)) == {}


def test_what_is_installed_is_nobodys_own_code() -> None:
    program = replace(load_program("authorship"), module="dspy:ChainOfThought", metric="operator:eq")
    assert code_of(program) == {}
