"""The `hyperalign` command: its table of contents, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hyperalign_dspy.errors import HyperalignError, MissingFolder, ModelError, UsageError

# name -> (module, one line). Static, so that --help imports no command.
_COMMANDS = {
    "compile": ("compile", "Search for a better program, prove it on sealed users, and freeze it."),
    "run": ("run", "Write with a program as the author of some samples would."),
    "eval": ("evaluate", "Measure a frozen program on a corpus, beside its controls."),
    "port": ("compile", "Take a frozen program to another model."),
    "matrix": ("evaluate", "Measure every frozen program on every model."),
    "list": ("programs", "Programs, recipes and frozen programs, and where they lie."),
    "show": ("programs", "A frozen program: its settings, its card, or its exact messages."),
    "verify": ("programs", "Check that a frozen program is what it claims to be."),
    "export": ("programs", "A frozen program as messages, a script, or for another tool."),
    "runs": ("runs", "Show, resume, freeze or remove runs."),
    "report": ("runs", "A run on one page, with plots and texts side by side."),
    "judge": ("judge", "Try judges on what people wrote and decided."),
    "profile": ("profile", "What is kept of users: their samples, and what is believed of them."),
    "models": ("doctor", "Get the embedded model's weights."),
    "bench": ("bench", "Compare optimisers on a model, and searchers on recorded scores."),
    "init": ("programs", "Start a program and a recipe of your own."),
    "doctor": ("doctor", "What is installed, set and writable here, and whether a model answers."),
}

# A full or guarded disk can meet any command anywhere.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


class _Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"hyperalign_dspy.cli.{_COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HYPERALIGN"}
)
@click.option(
    "--shelf",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder with programs/ and optimizers/ that comes before all others; frozen programs go there.",
)
@click.option(
    "--display",
    type=click.Choice(["none", "plain", "live", "json"]),
    help="How progress is shown. [default: live on a terminal, else plain]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Calls in flight at once. [default: 8 at a server; an engine in this process takes 4 at most]",
)
@click.option("--prices", type=click.Path(path_type=Path), help="A TOML file of models' prices.")
@click.version_option(package_name="hyperalign-dspy")
@click.pass_context
def cli(context: click.Context, /, shelf: Path | None, **how: Any) -> None:
    """Tune, prove and ship prompts that make a language model write as one person writes.

    Begin with: hyperalign compile authorship

    The options here stand before a command's name; HYPERALIGN_SHELF and the like set them too.
    """
    from hyperalign_dspy.cli.common import quiet
    from hyperalign_dspy.cli.options import Top

    quiet()
    context.obj = replace(context.find_object(Top) or Top(), **how)
    context.with_resource(_shelf_first(shelf))


@contextmanager
def _shelf_first(folder: Path | None) -> Iterator[None]:
    """Within, a folder is the first where programs and recipes are looked for and frozen ones put."""
    before = os.environ.get("HYPERALIGN_SHELF")
    if folder:
        os.environ["HYPERALIGN_SHELF"] = str(folder)
    try:
        yield
    finally:
        if folder and before is None:
            del os.environ["HYPERALIGN_SHELF"]
        elif before is not None:
            os.environ["HYPERALIGN_SHELF"] = before


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 unexpected, 2 usage, 3 missing, 4 budget, 5 gate, 130 interrupted."""
    from dotenv import find_dotenv, load_dotenv

    load_dotenv(find_dotenv(usecwd=True))
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        if isinstance(error, click.NoSuchOption) and any(error.option_name in each.opts for each in cli.params):
            click.echo(f"It stands before a command's name: hyperalign {error.option_name} ...", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted. The same command goes on where this stopped.", err=True)
        # Calls in flight would keep the process for seconds; what is recorded is on disk already.
        sys.stderr.flush()
        os._exit(130)
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        click.echo(f"\n{known.message}", err=True)
        if known.fix:
            click.echo(known.fix, err=True)
        sys.exit(known.exit_code)


def _known(error: Exception) -> HyperalignError | None:
    """What a user can act on; None of a mistake in this package, which keeps its traceback."""
    if isinstance(error, HyperalignError):
        return error
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = f" {error.filename}" if error.filename else ""
        return MissingFolder(
            f"Cannot write{where}: {error.strerror}.",
            fix="Free some room, or go to a folder that you may write; the same command then goes on.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(error.filename)[:60]
        return UsageError(f"{name}... is longer than a file's name may be.", fix="Give the path of a file or folder.")
    if type(error).__module__.startswith("dspy."):
        # Whoever raised it has imported all this already.
        from hyperalign_dspy.lm.thread_pool import root_cause

        cause = root_cause(error)
        return cause if isinstance(cause, HyperalignError) else ModelError(f"{type(cause).__name__}: {cause}")
    return None
