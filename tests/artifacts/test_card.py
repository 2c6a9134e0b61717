"""Cards and a README's measured tables say what manifests say, and nothing else."""

from __future__ import annotations

import copy
import json
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hyperalign_dspy
from hyperalign_dspy.artifacts.card import card
from hyperalign_dspy.artifacts.frozen import freeze, read_manifest
from hyperalign_dspy.cli.main import cli
from hyperalign_dspy.errors import FrozenMismatch, UsageError
from hyperalign_dspy.lm import connect
from hyperalign_dspy.program.locate import PROGRAMS, packaged
from hyperalign_dspy.report.table import renewed
from tests.artifacts.test_frozen import HyPerAlign, load_program, provenance

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.parent for path in packaged(PROGRAMS).glob("*/frozen/*/manifest.json"))
HOSTILE = "a | b\n\n# c `d` <img src=x> [e](f)"


def manifest_of(program: str) -> dict[str, Any]:
    return read_manifest(packaged(PROGRAMS) / program / "frozen" / "local")


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parents[1].name} {folder.name}")
def test_a_shipped_card_is_what_its_manifest_gives(folder: Path) -> None:
    assert (folder / "CARD.md").read_text(encoding="utf-8") == card(read_manifest(folder))


def test_both_tasks_have_a_shipped_card() -> None:
    assert {"authorship", "deliberative"} <= {folder.parents[1].name for folder in SHIPPED}


def test_the_readmes_table_is_what_the_manifest_gives() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- measured: authorship local -->") == 1
    assert renewed(text, lambda program, model: manifest_of(program)) == text


@pytest.mark.parametrize("program", ["authorship", "deliberative"])
def test_every_figure_of_the_table_is_in_the_card_and_in_the_readmes_block(program: str) -> None:
    manifest = manifest_of(program)
    written = card(manifest)
    block = renewed(f"<!-- measured: {program} local -->\n<!-- end -->", lambda *_: manifest)
    for row in manifest["measured"]["rows"]:
        paired = [] if row["name"] == "baseline, equal drafts" else [row["gap"], row["wins"]]
        figures = [*paired, *([row["harm"]] if row["harm"] else [])]
        mine, theirs = one_line(written, rf"\| (\*\*)?{row['name']}\b(?!,)"), one_line(block, rf"{row['name']}  ")
        assert all(in_line(mine, figure) and in_line(theirs, figure) for figure in figures)
        assert in_line(mine, row["value"])
        assert f"{abs(row['value']['mean']):.2f}" in theirs
        assert f"| {row['gap']['n_users']} | {row['gap']['n_instances']} |" in mine


def test_help_is_never_in_a_table_without_harm() -> None:
    table = [line for line in card(manifest_of("deliberative")).splitlines() if line.startswith("|")]
    assert "| harm | rise of harm |" in table[0]
    assert "It is no guard" in card(manifest_of("deliberative"))
    assert "harm" not in card(manifest_of("authorship"))


def test_what_was_not_shown_is_said() -> None:
    manifest = deepcopy(manifest_of("authorship"))
    told = card(manifest)
    assert "Not shown: that the compiled program beats *raw k-shot*" in told
    nothing = {"mean": 0.0, "low": 0.0, "high": 0.0}
    for estimate in manifest["measured"]["margins"]["raw k-shot"]:
        estimate.update(nothing)
    assert "The compiled program wrote the same texts as *raw k-shot*" in card(manifest)
    assert "Not shown: that the compiled program beats" in card(manifest_of("deliberative"))
    assert "beats *wrong user*" not in told
    assert "A gain over the baseline was **not** shown." not in told
    assert "A gain over the baseline was **not** shown." in card(manifest_of("deliberative"))


@pytest.mark.parametrize("program", ["authorship", "deliberative"])
def test_the_cards_python_runs_as_it_stands(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = connect.connect
    monkeypatch.setattr(connect, "connect", lambda name: real({"local": "scripted"}[name]))
    assert hyperalign_dspy.connect is connect.connect
    code = re.search(r"```python\n(.*?)```", card(manifest_of(program)), re.DOTALL)
    assert code
    exec(compile(code[1], "CARD.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_no_text_of_a_manifest_breaks_out_of_its_place() -> None:
    plain = manifest_of("authorship")
    hostile = copy.deepcopy(plain)
    hostile["summary"] = hostile["data"]["corpus"] = hostile["model"]["weights"] = HOSTILE
    hostile["measured"]["rows"][0]["note"] = hostile["configuration"]["shown_hypotheses"] = HOSTILE
    hostile["probe"]["messages"]["generate.write"][0]["content"] = "```\n````\n# c"
    written = card(hostile)
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", written, flags=re.DOTALL | re.MULTILINE)
    assert "<img" not in outside.replace(r"\<img", "")
    assert headings(outside) == headings(re.sub(r"^```.*?^```$", "", card(plain), flags=re.DOTALL | re.MULTILINE))
    for rows in re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()}) == 1


def test_a_manifest_that_says_little_gives_a_card(tmp_path: Path) -> None:
    freeze(HyPerAlign(), provenance(dict(load_program("authorship").baseline)), tmp_path / "frozen")
    written = (tmp_path / "frozen" / "CARD.md").read_text(encoding="utf-8")
    assert written == card(read_manifest(tmp_path / "frozen"))
    assert "it has no parent" in written


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lineage": None}, "it has no parent"),
        ({"lineage": {"parent": {"model": "local", "program_sha256": "abc"}}}, "- parent program sha256: abc"),
        ({"embedded_texts": {"demonstrations": 2, "private": True}}, "do not pass it on"),
        ({"embedded_texts": {"demonstrations": 2, "private": False}}, "It holds 2 demonstrations"),
    ],
)
def test_lineage_and_privacy_are_said(change: dict[str, Any], told: str) -> None:
    assert told in card({**manifest_of("authorship"), **change})


@pytest.mark.parametrize("text", ["no block\n", "<!-- measured: authorship local -->\nnever ends\n"])
def test_a_file_without_a_whole_block_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="block for a measured table"):
        renewed(text, lambda *_: manifest_of("authorship"))


def test_only_the_block_changes() -> None:
    text = "before\r\n<!-- measured: authorship local -->\nold\n<!-- end -->\nafter {\\1} \\g<0>"
    new = renewed(text, lambda *_: manifest_of("authorship"))
    assert new.startswith("before\r\n<!-- measured: authorship local -->\n```\n24 sealed users")
    assert new.endswith("```\n<!-- end -->\nafter {\\1} \\g<0>")


def test_the_tables_of_a_readme_are_renewed_where_nothing_is_refused(tmp_path: Path) -> None:
    shutil.copytree(packaged(PROGRAMS) / "authorship", tmp_path / "programs" / "authorship")
    path = tmp_path / "programs" / "authorship" / "frozen" / "local" / "CARD.md"
    readme, empty = tmp_path / "README.md", "<!-- measured: authorship local -->\n<!-- end -->\n"
    readme.write_text(empty)
    words = ["verify", "--readme", "README.md", "--json"]

    def told() -> str:
        return str(json.loads(CliRunner().invoke(cli, words).stdout)["checks"][-1]["about"])

    assert "written again" in told()
    assert "24 sealed users" in readme.read_text()
    assert "as their manifests have them" in told()
    readme.write_text(empty)
    path.write_bytes(path.read_bytes().replace(b"log-odds", b"log-evens", 1))
    with pytest.raises(FrozenMismatch):
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert readme.read_text() == empty


def one_line(text: str, start: str) -> str:
    found = [line for line in text.splitlines() if re.match(start, line)]
    assert len(found) == 1 or start.startswith(r"\|"), (start, found)
    return found[0]


def in_line(line: str, figure: dict[str, Any]) -> bool:
    return all(f"{abs(figure[part]):.2f}" in line for part in ("mean", "low", "high"))


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]
