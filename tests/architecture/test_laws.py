"""The laws that a machine can check."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from importlinter.cli import lint_imports

import hyperalign_dspy
from hyperalign_dspy.cli.main import cli

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hyperalign_dspy"
FILES = sorted(PACKAGE.rglob("*.py"))


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_rooms_import_downwards_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(tree)
    for function in functions(tree):
        assert (function.end_lineno or 0) - function.lineno < 60, function.name
    if "cli" not in path.parts:
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [name for name in calls if isinstance(name, ast.Name) and name.id == "print"]
    assert "dspy.configure(" not in text


def test_data_folders_hold_no_code() -> None:
    assert not [p for folder in ("programs", "optimizers") for p in (ROOT / folder).rglob("*.py")]


def test_every_public_name_is_there() -> None:
    for name in hyperalign_dspy.__all__:
        assert getattr(hyperalign_dspy, name)
    with pytest.raises(AttributeError):
        hyperalign_dspy.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["hyperalign_dspy", "hyperalign_dspy.cli.main"])
def test_the_first_import_is_light(module: str) -> None:
    heavy = ("dspy", "optuna", "datasets", "openai", "sklearn", "numpy")
    code = f"import sys, {module}; print([n for n in {heavy!r} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def leaves(command: click.Command, context: click.Context) -> Iterator[click.Command]:
    """Every command that does something, from its group down."""
    if not isinstance(command, click.Group):
        yield command
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below
        yield from leaves(below, context)


def test_commands_and_their_options_are_few() -> None:
    context = click.Context(cli)
    found = list(leaves(cli, context))
    assert len(found) <= 26
    for command in found:
        options = [one for one in command.params if isinstance(one, click.Option)]
        assert len(options) <= 20, command.name


def test_help_is_quick() -> None:
    code = "import sys; sys.argv = ['hyperalign', '--help']; from hyperalign_dspy.cli.main import main; main()"
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def load(program: str) -> tuple[float, str]:
    """Seconds that loading a shipped program takes beyond importing dspy, and what it imports and should not."""
    code = f"""
import sys, time, dspy
start = time.perf_counter()
from hyperalign_dspy import load_frozen
load_frozen({str(ROOT / "programs" / program / "frozen" / "local")!r})
taken = time.perf_counter() - start
ours = ("hyperalign_dspy.optimize", "hyperalign_dspy.experiment", "hyperalign_dspy.data.voices")
heavy = ("optuna", "datasets", "xllamacpp", "sklearn", *ours)
print(taken, [name for name in heavy if name in sys.modules])
"""
    taken, heavy = subprocess.check_output([sys.executable, "-c", code], text=True).split(maxsplit=1)
    return float(taken), heavy.strip()


@pytest.mark.parametrize("program", ["authorship", "deliberative"])
def test_loading_a_frozen_program_imports_no_search(program: str) -> None:
    assert load(program)[1] == "[]"


@pytest.mark.evidence
@pytest.mark.parametrize("program", ["authorship", "deliberative"])
def test_loading_a_frozen_program_is_quick(program: str) -> None:
    times = sorted(load(program)[0] for _ in range(5))
    print(f"loading {program}: {times[0]:.3f} to {times[-1]:.3f} s beyond importing dspy")
    # The quickest of several: a busy machine can only add.
    assert times[0] < 0.1


def test_a_cut_text_is_no_news_on_a_users_screen() -> None:
    code = (
        "from hyperalign_dspy.cli.common import quiet; quiet(); import dspy, logging; "
        "print(logging.getLogger('dspy.clients.lm').isEnabledFor(logging.WARNING))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_every_module_can_be_imported_alone() -> None:
    for path in FILES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        importlib.import_module(name)
