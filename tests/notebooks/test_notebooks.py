"""Notebooks run offline as they stand, and what is committed of them is a whole and clean run."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import hyperalign_dspy

HERE = Path(__file__).parents[2] / "notebooks"
BOOKS = sorted(HERE.glob("*.ipynb"))
# A path from the root or of Windows, as no text of a notebook has one.
PATH = re.compile(r"(?<![\w.<:/])/(?:[\w.~-]+/)+[\w.~-]*|\b[A-Z]:\\")
TROUBLE = re.compile(r"Traceback|Warning|WARNING|\berror\b", re.IGNORECASE)
every_book = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


def test_there_are_three() -> None:
    assert [path.stem[:2] for path in BOOKS] == ["01", "02", "03"]


@every_book
def test_what_is_committed_is_one_run_from_top_to_bottom(path: Path) -> None:
    found = cells(path, "code")
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs(path))


@every_book
def test_every_picture_is_a_whole_drawing(path: Path) -> None:
    drawn = [output["data"]["image/svg+xml"] for output in outputs(path) if "image/svg+xml" in output.get("data", {})]
    assert drawn
    for picture in drawn:
        assert ElementTree.fromstring("".join(picture)).tag == "{http://www.w3.org/2000/svg}svg"


@every_book
def test_no_output_tells_of_a_machine_or_of_trouble(path: Path) -> None:
    for output in outputs(path):
        parts = [output.get("text", []), *output.get("data", {}).values()]
        text = "\n".join("".join(part) for part in parts)
        assert not PATH.search(text), PATH.search(text)
        assert not TROUBLE.search(text), TROUBLE.search(text)


def test_a_path_and_trouble_would_be_found() -> None:
    assert all(PATH.search(text) for text in ("in /home/me/x.py", "/tmp/a", "at C:\\Users"))
    assert not any(PATH.search(text) for text in ("with/without, and/or", "http://www.w3.org/2000/svg", "3 / 4 / 5"))
    assert all(TROUBLE.search(text) for text in ("UserWarning: no", "[WARNING] x", "Traceback (most recent call last)"))


@every_book
def test_a_notebook_takes_only_public_names(path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells(path, "code"))
    taken = re.findall(r"^from (hyperalign_dspy\S*) import (?:\(([^)]*)\)|(.*))$", code, flags=re.MULTILINE)
    assert taken
    for home, wrapped, plain in taken:
        assert home == "hyperalign_dspy"
        names = [name.strip() for name in (wrapped or plain).split(",") if name.strip()]
        assert set(names) <= set(hyperalign_dspy.__all__)


@pytest.mark.notebooks
@every_book
def test_it_runs(path: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    # Without a notebook's own widgets a progress bar says so, to nobody's use.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    copied = Path(shutil.copy(path, tmp_path))
    book = nbformat.read(copied, as_version=4)
    start = time.monotonic()
    quiet = ["--IPKernelApp.log_level=40"]
    place = {"metadata": {"path": tmp_path}}
    NotebookClient(book, timeout=300, kernel_name="python3", resources=place, extra_arguments=quiet).execute()
    print(f"{path.stem}: {time.monotonic() - start:.0f} s")
    nbformat.write(book, copied)
    assert not [output for output in outputs(copied) if output.get("name") == "stderr"]
    test_every_picture_is_a_whole_drawing(copied)
    test_no_output_tells_of_a_machine_or_of_trouble(copied)
