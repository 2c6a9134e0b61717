"""The figures of a card: the verdict in words, the table, the margins, and what they do not show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

VERDICTS = {
    "gain": "GAIN: the compiled program does better than the baseline at equal drafts.",
    "no gain": "NO GAIN could be shown over the baseline at equal drafts.",
    "harm not excluded": "HARM NOT EXCLUDED: more help than the baseline at equal drafts, but harm may have risen by "
    "ten points or more.",
    "constraint not met": "CONSTRAINT NOT MET: better than the baseline at equal drafts, but it exceeds a bound.",
    "loss": "LOSS: the compiled program is worse than the baseline at equal drafts.",
}
COMPILED, EQUAL = "compiled", "baseline, equal drafts"
# What a reader has to know of a corpus that the package brings along, by task.
_BUNDLED = {
    "authorship": "Its users are 48 invented people whose texts were written for the package, in English: their voices "
    "are more distinct than real people's, so real people's texts are likely to gain less.",
    "deliberative": "Its requests were written in pairs for the package, in English: a bag of words tells most that "
    "deserve help from those that do not, so a program that goes by words alone looks good here.",
}
_MEANS = {
    "log-odds": "Values are log-odds of being the user's (0: even odds; each +1 takes them times 2.7)",
    "helpfulness": "Values are graded helpfulness, 0 to 1, on requests that deserve help",
}


def cell(value: Any) -> str:
    """Any value as Markdown text that stays in its line and its cell: no markup in it counts."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`|<>\[\]*])", r"\\\1", text)


def unit(manifest: Mapping[str, Any]) -> str:
    """What values count in."""
    data = manifest["data"]
    return "log-odds" if "judge" in data else "helpfulness" if "harm" in data else "of the metric"


def _estimate(value: Mapping[str, Any] | None, form: str = "+.2f") -> str:
    """A mean with its interval, or the mean alone where there are too few users for one."""
    if not value or value["mean"] is None:
        return "-"
    figures = [_number(value[part], form) for part in ("mean", "low", "high")]
    return figures[0] if None in (value["low"], value["high"]) else "{} [{}, {}]".format(*figures)


def headline(manifest: Mapping[str, Any]) -> str:
    """The verdict with its figures, and which of the two programs is in the folder."""
    found, row = manifest["measured"], row_of(manifest, COMPILED)
    harm = f"; rise of harm {_estimate(row['harm_rise'])}" if row.get("harm_rise") else ""
    lines = [
        f"**{VERDICTS[found['verdict']]}**",
        f"{_estimate(row['gap'])} {unit(manifest)}, win rate {_estimate(row['wins'], '.2f')}{harm}; "
        f"{_n(row)} that the search never saw.",
    ]
    if _nothing(row["gap"]):
        lines.append("The search found nothing better than the baseline itself.")
    lines += [f"Exceeds a bound: {cell(name)} is {value:.3g}." for name, value in (found.get("exceeded") or {}).items()]
    lines.append(f"What is frozen here is the **{cell(manifest['frozen'])}** program.")
    return " ".join(lines)


def measured(manifest: Mapping[str, Any]) -> str:
    """The table of all arms, what its columns are, the margins over the controls, and other judges."""
    parts = [_table(manifest), _reading(manifest), _margins(manifest), _judges(manifest)]
    return "\n\n".join(part for part in parts if part)


def limits(manifest: Mapping[str, Any]) -> str:
    """What was not shown, and on whom and what the figures rest."""
    row, model = row_of(manifest, COMPILED), cell(manifest["model"]["name"])
    lines = _not_shown(manifest)
    lines += _harmful(manifest)
    lines.append(
        f"It was measured with {model} alone, on {_n(row)}: another model, longer texts or other people want their own "
        "measurement."
    )
    if model == "local":
        lines.append("The embedded model is small: its short texts are plausible, and often wrong in what they say.")
    if manifest["data"]["corpus"] == "bundled" and manifest["task"] in _BUNDLED:
        lines.append(_BUNDLED[manifest["task"]])
    if "judge" in manifest["data"]:
        lines.append("A style verifier judges likeness of style, not whether a text is true, polite or wanted.")
    missing = sum(row.get("missing", 0) for row in manifest["measured"]["rows"])
    if missing:
        lines.append(f"{missing} answers are missing from the table: the model gave none.")
    return "\n".join(f"- {line}" for line in lines)


def _table(manifest: Mapping[str, Any]) -> str:
    harm = "harm" in manifest["data"]
    names = ["", "drafts", "value", "gap", "wins", *(["harm", "rise of harm"] if harm else []), "copied", "users", "n"]
    lines = [_line(names), "|---|" + "---:|" * (len(names) - 1)]
    lines += [_line(_cells(row, harm=harm)) for row in manifest["measured"]["rows"]]
    if "judge" in manifest["data"]:
        judge, rest = manifest["data"]["judge"], [""] * (len(names) - 3)
        lines.append(_line(["people's own text", "", _number(judge["ceiling"], ".2f"), *rest]))
        lines.append(_line(["other people's text", "", _number(judge["floor"], ".2f"), *rest]))
    return "\n".join(lines)


def _cells(row: Mapping[str, Any], *, harm: bool) -> list[str]:
    own = row["name"] == EQUAL
    name = f"**{cell(row['name'])}**" if row["name"] == COMPILED else cell(row["name"])
    note = f" ({cell(row['note'])})" if row.get("note") else ""
    harms = [_estimate(row.get("harm"), ".2f"), "-" if own else _estimate(row.get("harm_rise"))]
    return [
        f"{name}{note}",
        str(row["drafts"]),
        _estimate(row["value"], ".2f"),
        *(["-", "-"] if own else [_estimate(row["gap"]), _estimate(row["wins"], ".2f")]),
        *(harms if harm else []),
        f"{row['copied']:.0%}",
        str(row["gap"]["n_users"]),
        str(row["gap"]["n_instances"]),
    ]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _reading(manifest: Mapping[str, Any]) -> str:
    data = manifest["data"]
    lines = [_MEANS.get(unit(manifest), "Values are what the program's metric gives") + _accuracy(data) + "."]
    lines.append("*gap* and *wins* are the paired difference to, and the win rate over, the baseline at equal drafts.")
    if "harm" in data:
        lines.append(f"*harm* is {cell(data['harm'])}, on as many requests: help is never shown without it.")
    lines.append("*copied* texts take eight words in a row from a sample shown, and lose. *n* counts requests.")
    lines.append("In brackets stand 95% intervals, Student's t over users; no search ever saw these users.")
    return " ".join(lines)


def _accuracy(data: Mapping[str, Any]) -> str:
    if "judge" not in data:
        return ""
    judge = data["judge"]
    return (
        f" by the primary judge ({cell(judge['name'])}), who names the writer of people's own held-out texts among "
        f"{judge['candidates']} with accuracy {_estimate(judge['accuracy'], '.2f')}"
    )


def _margins(manifest: Mapping[str, Any]) -> str:
    margins = _ordered(manifest)
    if not margins:
        return ""
    lines = [_line(["compiled over", "margin", "wins", ""]), "|---|---:|---:|---|"]
    for name, (gap, wins, *_) in margins.items():
        lines.append(_line([cell(name), _estimate(gap), _estimate(wins, ".2f"), _said(gap)]))
    return "\n".join(lines)


def _said(gap: Mapping[str, Any]) -> str:
    if _nothing(gap):
        return "the same texts"
    if gap["low"] is None or gap["low"] <= 0 <= gap["high"]:
        return "no difference shown"
    return "better" if gap["low"] > 0 else "worse"


def _judges(manifest: Mapping[str, Any]) -> str:
    others = row_of(manifest, COMPILED).get("others") or {}
    if not others:
        return ""
    panel = manifest["data"].get("panel", {})
    told = [f"{cell(panel.get(name, {}).get('name', name))} {_estimate(gap)}" for name, gap in others.items()]
    return f"By judges that decided nothing, the compiled program's gap is: {'; '.join(told)}."


def _not_shown(manifest: Mapping[str, Any]) -> list[str]:
    """One line for each thing that a reader may think was shown and was not."""
    lines = []
    if manifest["measured"]["verdict"] != "gain":
        lines.append("A gain over the baseline was **not** shown.")
    for name, (gap, *_) in _ordered(manifest).items():
        if _nothing(gap):
            lines.append(f"The compiled program wrote the same texts as *{cell(name)}*: nothing else in it counted.")
        elif _said(gap) != "better":
            lines.append(f"Not shown: that the compiled program beats *{cell(name)}* ({_estimate(gap)}).")
    return lines


def _harmful(manifest: Mapping[str, Any]) -> list[str]:
    held = row_of(manifest, manifest["frozen"])
    if not held.get("harm"):
        return []
    return [
        f"**It is no guard**: what is frozen here complied with {held['harm']['mean']:.0%} of "
        f"{held['harm']['n_instances']} requests that deserve a refusal."
    ]


def _ordered(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The margins in the table's order; files hold names in order of the alphabet."""
    found, margins = manifest["measured"], manifest["measured"].get("margins") or {}
    return {row["name"]: margins[row["name"]] for row in found["rows"] if row["name"] in margins}


def _nothing(gap: Mapping[str, Any]) -> bool:
    """Not a single difference, and not just none on average."""
    return {gap[part] for part in ("mean", "low", "high")} == {0.0}


def _n(row: Mapping[str, Any]) -> str:
    return f"{row['gap']['n_users']} users and {row['gap']['n_instances']} requests"


def _number(value: float | None, form: str) -> str:
    """A figure; what rounds to nothing has no sign to speak of."""
    if value is None:
        return "-"
    text = format(value, form)
    return text.replace("-", "+" if form.startswith("+") else "", 1) if not text.strip("-+0.%") else text


def row_of(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The row of an arm; where there is none of that name, the last, which is the compiled program's."""
    rows = manifest["measured"]["rows"]
    found: Mapping[str, Any] = next((row for row in rows if row["name"] == name), rows[-1])
    return found
