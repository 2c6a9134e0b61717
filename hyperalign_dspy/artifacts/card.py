"""CARD.md: a frozen program in words, from its manifest alone. The words are in card.md beside this file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hyperalign_dspy.lm.models import slug

VERDICTS = {
    "gain": "GAIN: the compiled program does better than the baseline at equal drafts.",
    "no gain": "NO GAIN could be shown over the baseline at equal drafts.",
    "harm not excluded": "HARM NOT EXCLUDED: more help than the baseline at equal drafts, but harm may have risen by "
    "ten points or more.",
    "constraint not met": "CONSTRAINT NOT MET: better than the baseline at equal drafts, but it exceeds a bound.",
    "loss": "LOSS: the compiled program is worse than the baseline at equal drafts.",
}


def card(manifest: Mapping[str, Any], *, downloaded: bool = False) -> str:
    """The card as Markdown; of a manifest as it is read from its file, where what is unknown is null. ``downloaded``:
    for somebody who has the program as a folder, and not on a shelf.

    The same manifest gives the same card. What a manifest of an earlier version does not say is left out.
    """
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    own = {"text": _text, "number": _number, "estimate": _estimate, "reading": _reading}
    environment.filters.update(own, flat=_flat, slug=slug, json=json.dumps)
    template = environment.from_string(Path(__file__).with_name("card.md").read_text(encoding="utf-8"))
    rows, margins = manifest["measured"]["rows"], manifest["measured"].get("margins") or {}
    sent = _sent(manifest)
    return template.render(
        m=manifest,
        verdicts=VERDICTS,
        downloaded=downloaded,
        names=names(manifest),
        unit=unit_of(manifest),
        # The last row is the compiled program's.
        compiled=rows[-1],
        held=next((row for row in rows if row["name"] == manifest["frozen"]), rows[-1]),
        # In the table's order; files hold names in order of the alphabet.
        margins={row["name"]: margins[row["name"]] for row in rows if row["name"] in margins},
        missing=sum(row.get("missing", 0) for row in rows),
        sent=sent,
        # No text inside may end the block that it stands in.
        fence="`" * max(3, 1 + max((len(run) for run in re.findall("`+", sent)), default=0)),
    )


def names(manifest: Mapping[str, Any]) -> str:
    """A program and its model as the command line takes them."""
    return shlex.join([str(manifest["program"]), "--model", str(manifest["model"]["name"])])


def unit_of(manifest: Mapping[str, Any]) -> str:
    """What values count in."""
    data = manifest["data"]
    return "log-odds" if "judge" in data else "helpfulness" if "harm" in data else "of the metric"


def _text(value: Any) -> str:
    """Any value as Markdown text that stays in its line and its cell: no markup in it counts."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`|<>\[\]*])", r"\\\1", text)


def _number(value: float | None, form: str) -> str:
    """A figure; what rounds to nothing has no sign to speak of."""
    if value is None:
        return "-"
    text = format(value, form)
    return text.replace("-", "+" if form.startswith("+") else "", 1) if not text.strip("-+0.%") else text


def _estimate(value: Mapping[str, Any] | None, form: str = "+.2f") -> str:
    """A mean with its interval, or the mean alone where there are too few users for one."""
    if not value or value["mean"] is None:
        return "-"
    figures = [_number(value[part], form) for part in ("mean", "low", "high")]
    return figures[0] if None in (value["low"], value["high"]) else "{} [{}, {}]".format(*figures)


def _reading(gap: Mapping[str, Any]) -> str:
    """What a paired difference shows."""
    if {gap[part] for part in ("mean", "low", "high")} == {0.0}:
        # Not a single difference, and not just none on average.
        return "the same texts"
    if gap["low"] is None or gap["low"] <= 0 <= gap["high"]:
        return "no difference shown"
    return "better" if gap["low"] > 0 else "worse"


def _sent(manifest: Mapping[str, Any]) -> str:
    """What is sent, as it was measured, with {{marks}} where inputs go."""
    return "\n\n".join(
        f"[{predictor}: {message['role']}]\n{message['content']}"
        for predictor, messages in manifest.get("probe", {}).get("messages", {}).items()
        for message in messages
    )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Mappings in mappings as one, "outer inner" -> value; what is unknown is left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{path} "))
        elif value not in (None, "", [], ()):
            found[path] = value
    return found
