"""Which files are a user's own code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperalign_dspy.program.code_hash import _files_digest, own_code, package_digest
from hyperalign_dspy.program.specs import ProgramSpec, load_program, load_recipe
from hyperalign_dspy.tasks.protocol import Job

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
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_code_is_what_is_named_and_what_that_imports_of_the_same_folder() -> None:
    wanted = {name: text for name, text in FILES.items() if name not in ("ballad/unused.py", "datasets/rows.txt")}
    program = replace(load_program("authorship"), module="ballad.song:Song", metric="score:rhymes")
    assert own_code(program)["code"] == {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in wanted.items()
    }


def job(program: ProgramSpec, **recipe: Any) -> Job:
    return Job(program, replace(load_recipe("quick", program.name), **recipe), "bundled")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("part", ["task", "metric", "adapter", "candidate adapter", "proposer", "sampler"])
def test_whatever_of_ones_own_a_run_depends_on_is_part_of_it(part: str) -> None:
    program, own = load_program("authorship"), "score:rhymes"
    given = {
        "task": job(replace(program, task=own)),
        "metric": job(replace(program, metric=own)),
        "adapter": job(replace(program, baseline={**program.baseline, "adapter": own})),
        "candidate adapter": job(program, slots={"adapter": ("chat", own)}),
        "proposer": job(program, candidates={"generate.write": {own: 1}}),
        "sampler": job(program, sampler=own),
    }
    assert list(own_code(given[part].program, given[part].recipe)["code"]) == ["score.py"]


@pytest.mark.parametrize("name", ["authorship", "deliberative"])
def test_a_shipped_program_brings_no_code(name: str) -> None:
    assert own_code(load_program(name), load_recipe("quick", name)) == {}


def test_what_is_installed_is_nobodys_own_code() -> None:
    program = replace(load_program("authorship"), module="dspy:ChainOfThought", metric="operator:eq")
    assert own_code(program) == {}


def test_an_optimiser_of_ones_own_is_part_of_its_run_and_a_file_that_does_not_parse_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "better.py").write_text("try:\n    import newer\nexcept SyntaxError:\n    pass\nclass Mine: ...\n")
    (tmp_path / "newer.py").write_text("this is no Python\n")
    found = own_code(load_program("authorship"), optimizer="better:Mine")
    assert list(found["code"]) == ["better.py", "newer.py"]


def test_files_are_told_apart_by_name_and_content(tmp_path: Path) -> None:
    seen = set()
    for name, text in (("a.py", "x"), ("a.py", "y"), ("b.py", "y"), ("c/b.py", "y"), ("data.txt", "z")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.add(_files_digest(tmp_path))
    assert len(seen) == 4
    assert package_digest() == package_digest() != _files_digest(tmp_path)
