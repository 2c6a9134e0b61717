"""Measured tables in a Markdown file, written from manifests: what stands between two comments.

<!-- measured: PROGRAM MODEL -->
(a table that nobody edits)
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hyperalign_dspy.artifacts.card import VERDICTS, compiled_row, unit_of
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.report.format import columns, estimate, wins_words
from hyperalign_dspy.report.table import cells_of

_BLOCK = re.compile(r"<!-- measured: (\S+) (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
_OPEN = re.compile(r"<!-- measured:")
_SHOWN = ("", "n", "drafts", "value", "gap to baseline*", "wins*", "harm", "harm rise*", "copied")
# What a reader of a table asks first: is it the samples alone, and is it the person?
_ASKED = ("raw k-shot", "wrong user")


def renewed(text: str, manifest_of: Callable[[str, str], Mapping[str, Any]]) -> str:
    """The text with every block as its manifest has it; all else stays. ``manifest_of`` takes a program and a model.

    Raises:
        UsageError: no block, or one that does not end.
    """
    found = len(_BLOCK.findall(text))
    if not found or found != len(_OPEN.findall(text)):
        raise UsageError(
            "There is no block for a measured table." if not found else "A block for a measured table does not end.",
            fix="Write it as two lines, <!-- measured: PROGRAM MODEL --> and <!-- end -->",
        )

    def block(match: re.Match[str]) -> str:
        program, model, _ = match.groups()
        return f"<!-- measured: {program} {model} -->\n{_measured_block(manifest_of(program, model))}<!-- end -->"

    return _BLOCK.sub(block, text)


def _measured_block(manifest: Mapping[str, Any]) -> str:
    """The table of a confirmation with its verdict, as the terminal shows it, in a block of Markdown."""
    measured, row = manifest["measured"], compiled_row(manifest)
    header, cells = cells_of({"facts": manifest["data"], "confirmation": measured})
    places = [place for place, name in enumerate(header) if name in _SHOWN]
    table = columns([header[p] for p in places], [[line[p] for p in places] for line in cells])
    harm = f", rise of harm {estimate(row['harm_rise'])}" if row.get("harm_rise") else ""
    lines = [
        f"{row['gap']['n_users']} sealed users, {row['gap']['n_instances']} instances; values: {unit_of(manifest)}; "
        "* is the baseline at equal drafts; [95% intervals over users]",
        "",
        table,
        "",
        VERDICTS[measured["verdict"]],
        f"  {estimate(row['gap'])} {unit_of(manifest)}, {wins_words(row['wins'], row.get('answered'))}{harm}",
        *(f"  over {name}: {estimate(measured['margins'][name][0])}" for name in _ASKED if name in measured["margins"]),
        f"  frozen: {manifest['frozen']}; {_searched(manifest)}",
    ]
    return "```\n" + "\n".join(lines) + "\n```\n"


def _searched(manifest: Mapping[str, Any]) -> str:
    """What stands in the slots that were searched."""
    return ", ".join(f"{slot}={manifest['configuration'][slot]}" for slot in sorted(manifest["recipe"]["slots"]))
