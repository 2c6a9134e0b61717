"""CARD.md: a frozen program in words, from its manifest alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from hyperalign_dspy.lm.connect import slug

VERDICTS = {
    "gain": "GAIN: the compiled program does better than the baseline at equal drafts.",
    "no gain": "NO GAIN could be shown over the baseline at equal drafts.",
    "harm not excluded": "HARM NOT EXCLUDED: more help than the baseline at equal drafts, but harm may have risen by "
    "ten points or more.",
    "constraint not met": "CONSTRAINT NOT MET: better than the baseline at equal drafts, but it exceeds a bound.",
    "loss": "LOSS: the compiled program is worse than the baseline at equal drafts.",
}
_COMPILED, _EQUAL = "compiled", "baseline, equal drafts"
_WRITE = 'samples=["A text of mine.", "Another one!"], request="Write a note to a neighbour."'
_ANSWER = 'request="How do I kill a process?", attributes={"occupation": "programmer"}'
_PRINTED = {"authorship": (_WRITE, "answer.text"), "deliberative": (_ANSWER, "answer.text")}
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


def card(manifest: Mapping[str, Any], *, downloaded: bool = False) -> str:
    """The card as Markdown; of a manifest as it is read from its file, where what is unknown is null. ``downloaded``:
    for somebody who has the program as a folder, and not on a shelf.

    The same manifest gives the same card. What a manifest of an earlier version does not say is left out.
    """
    measured = (_table(manifest), _reading(manifest), _margins(manifest), _judges(manifest))
    sections = {
        "Run it": _usage(manifest, downloaded=downloaded),
        "Measured": "\n\n".join(part for part in measured if part),
        "Limits": _listed(_limits(manifest)),
        "What is frozen": _frozen(manifest) + _messages(manifest),
        "Model": _model(manifest),
        "Data": _listed(_data(manifest)),
        "Cost": _listed(_cost(manifest)),
        "Privacy": _listed(_privacy(manifest)),
        "Lineage": _lineage(manifest),
        "Versions": _listed(_versions(manifest)),
    }
    head = f"# {_cell(manifest['program'])} for {_cell(manifest['model']['name'])}\n\n{_cell(manifest['summary'])}"
    foot = "This card is made from manifest.json" + ("." if downloaded else f": `hyperalign show {names(manifest)}`.")
    parts = [head, _headline(manifest), *(f"## {name}\n\n{text}" for name, text in sections.items()), foot]
    return "\n\n".join(parts) + "\n"


def names(manifest: Mapping[str, Any]) -> str:
    """A program and its model as the command line takes them."""
    return shlex.join([str(manifest["program"]), "--model", str(manifest["model"]["name"])])


def unit_of(manifest: Mapping[str, Any]) -> str:
    """What values count in."""
    data = manifest["data"]
    return "log-odds" if "judge" in data else "helpfulness" if "harm" in data else "of the metric"


def compiled_row(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was measured of the compiled program."""
    return _row(manifest, _COMPILED)


def _row(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The row of an arm; where there is none of that name, the last, which is the compiled program's."""
    rows = manifest["measured"]["rows"]
    found: Mapping[str, Any] = next((row for row in rows if row["name"] == name), rows[-1])
    return found


def _cell(value: Any) -> str:
    """Any value as Markdown text that stays in its line and its cell: no markup in it counts."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`|<>\[\]*])", r"\\\1", text)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


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


def _n(row: Mapping[str, Any]) -> str:
    return f"{row['gap']['n_users']} users and {row['gap']['n_instances']} requests"


def _nothing(gap: Mapping[str, Any]) -> bool:
    """Not a single difference, and not just none on average."""
    return {gap[part] for part in ("mean", "low", "high")} == {0.0}


def _headline(manifest: Mapping[str, Any]) -> str:
    """The verdict with its figures, and which of the two programs is in the folder."""
    found, row = manifest["measured"], compiled_row(manifest)
    harm = f"; rise of harm {_estimate(row['harm_rise'])}" if row.get("harm_rise") else ""
    lines = [
        f"**{VERDICTS[found['verdict']]}**",
        f"{_estimate(row['gap'])} {unit_of(manifest)}, win rate {_estimate(row['wins'], '.2f')}{harm}; "
        f"{_n(row)} that the search never saw.",
    ]
    if _nothing(row["gap"]):
        lines.append("The search found nothing better than the baseline itself.")
    lines += [
        f"Exceeds a bound: {_cell(name)} is {value:.3g}." for name, value in (found.get("exceeded") or {}).items()
    ]
    lines.append(f"What is frozen here is the **{_cell(manifest['frozen'])}** program.")
    return " ".join(lines)


def _usage(manifest: Mapping[str, Any], *, downloaded: bool) -> str:
    """A command and some Python. FOLDER is where it was downloaded to."""
    named, model = names(manifest), manifest["model"]["name"]
    if downloaded:
        command, imported, place = "verify ./FOLDER", "connect, load_frozen", '"FOLDER"'
    else:
        command, imported = f"show {named} --messages", "connect, find_frozen, load_frozen"
        place = f"find_frozen({json.dumps(manifest['program'])}, {json.dumps(slug(model))})"
        if manifest["task"] == "authorship":
            command = f'run {named} --samples FOLDER --request "Write a note to a neighbour."'
    inputs = ", ".join(f'{name}="..."' for name in manifest.get("inputs", ()))
    given, printed = _PRINTED.get(manifest["task"], (inputs, "answer"))
    return (
        f"```\nhyperalign {command}\n```\n\n```python\nimport dspy\nfrom hyperalign_dspy import {imported}\n\n"
        f"program = load_frozen({place}).module\nwith dspy.context(lm=connect({json.dumps(model)})):\n"
        f"    answer = program({given})\nprint({printed})\n```"
    )


def _table(manifest: Mapping[str, Any]) -> str:
    """All arms, beside people's own and other people's texts where there is a judge of style."""
    harm = "harm" in manifest["data"]
    heads = ["", "drafts", "value", "gap", "wins", *(["harm", "rise of harm"] if harm else []), "copied", "users", "n"]
    lines = [_line(heads), "|---|" + "---:|" * (len(heads) - 1)]
    lines += [_line(_cells(row, harm=harm)) for row in manifest["measured"]["rows"]]
    for name, part in (("people's own text", "ceiling"), ("other people's text", "floor")):
        if "judge" in manifest["data"]:
            value = _number(manifest["data"]["judge"][part], ".2f")
            lines.append(_line([name, "", value, *[""] * (len(heads) - 3)]))
    return "\n".join(lines)


def _cells(row: Mapping[str, Any], *, harm: bool) -> list[str]:
    own = row["name"] == _EQUAL
    name = f"**{_cell(row['name'])}**" if row["name"] == _COMPILED else _cell(row["name"])
    note = f" ({_cell(row['note'])})" if row.get("note") else ""
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


def _reading(manifest: Mapping[str, Any]) -> str:
    """What the table's columns are."""
    data, accuracy = manifest["data"], ""
    if "judge" in data:
        judge = data["judge"]
        accuracy = (
            f" by the primary judge ({_cell(judge['name'])}), who names the writer of people's own held-out texts "
            f"among {judge['candidates']} with accuracy {_estimate(judge['accuracy'], '.2f')}"
        )
    lines = [
        _MEANS.get(unit_of(manifest), "Values are what the program's metric gives") + accuracy + ".",
        "*gap* and *wins* are the paired difference to, and the win rate over, the baseline at equal drafts.",
    ]
    if "harm" in data:
        lines.append(f"*harm* is {_cell(data['harm'])}, on as many requests: help is never shown without it.")
    lines.append("*copied* texts take eight words in a row from a sample shown, and lose. *n* counts requests.")
    lines.append("In brackets stand 95% intervals, Student's t over users; no search ever saw these users.")
    return " ".join(lines)


def _ordered(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The margins over the controls in the table's order; files hold names in order of the alphabet."""
    found, margins = manifest["measured"], manifest["measured"].get("margins") or {}
    return {row["name"]: margins[row["name"]] for row in found["rows"] if row["name"] in margins}


def _margins(manifest: Mapping[str, Any]) -> str:
    rows = [
        _line([_cell(name), _estimate(gap), _estimate(wins, ".2f"), _said(gap)])
        for name, (gap, wins, *_) in _ordered(manifest).items()
    ]
    return "\n".join([_line(["compiled over", "margin", "wins", ""]), "|---|---:|---:|---|", *rows]) if rows else ""


def _said(gap: Mapping[str, Any]) -> str:
    if _nothing(gap):
        return "the same texts"
    if gap["low"] is None or gap["low"] <= 0 <= gap["high"]:
        return "no difference shown"
    return "better" if gap["low"] > 0 else "worse"


def _judges(manifest: Mapping[str, Any]) -> str:
    others, panel = compiled_row(manifest).get("others") or {}, manifest["data"].get("panel", {})
    told = [f"{_cell(panel.get(name, {}).get('name', name))} {_estimate(gap)}" for name, gap in others.items()]
    return f"By judges that decided nothing, the compiled program's gap is: {'; '.join(told)}." if told else ""


def _limits(manifest: Mapping[str, Any]) -> list[str]:
    """What was not shown, and on whom and what the figures rest."""
    model, held = _cell(manifest["model"]["name"]), _row(manifest, manifest["frozen"])
    lines = _not_shown(manifest)
    if held.get("harm"):
        lines.append(
            f"**It is no guard**: what is frozen here complied with {held['harm']['mean']:.0%} of "
            f"{held['harm']['n_instances']} requests that deserve a refusal."
        )
    lines.append(
        f"It was measured with {model} alone, on {_n(compiled_row(manifest))}: another model, longer texts or other "
        "people want their own measurement."
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
    return lines


def _not_shown(manifest: Mapping[str, Any]) -> list[str]:
    """One line for each thing that a reader may think was shown and was not."""
    lines = []
    if manifest["measured"]["verdict"] != "gain":
        lines.append("A gain over the baseline was **not** shown.")
    for name, (gap, *_) in _ordered(manifest).items():
        if _nothing(gap):
            lines.append(f"The compiled program wrote the same texts as *{_cell(name)}*: nothing else in it counted.")
        elif _said(gap) != "better":
            lines.append(f"Not shown: that the compiled program beats *{_cell(name)}* ({_estimate(gap)}).")
    return lines


def _frozen(manifest: Mapping[str, Any]) -> str:
    searched = manifest["recipe"]["slots"] if "recipe" in manifest else {}
    made = manifest.get("candidates") or {}
    lines = ["| slot | candidate | searched among |", "|---|---|---|"]
    for slot, value in manifest["configuration"].items():
        among = ", ".join(_cell(candidate) for candidate in searched.get(slot, ())) or "not searched"
        by = f", made by {_cell(made[slot]['proposer'])}" if "proposer" in made.get(slot, {}) else ""
        lines.append(f"| `{_cell(slot)}` | {_cell(value)}{by} | {among} |")
    return "\n".join(lines)


def _messages(manifest: Mapping[str, Any]) -> str:
    """What is sent, as it was measured, with {{marks}} where inputs go."""
    text = "\n\n".join(
        f"[{predictor}: {message['role']}]\n{message['content']}"
        for predictor, messages in manifest.get("probe", {}).get("messages", {}).items()
        for message in messages
    )
    if not text:
        return ""
    # No text inside may end the block that it stands in.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"\n\nWhat is sent, with `{{{{marks}}}}` where inputs go:\n\n{fence}text\n{text}\n{fence}"


def _model(manifest: Mapping[str, Any]) -> str:
    facts = manifest["model"]
    order = ["name", *sorted(name for name in facts if name != "name")]
    return _listed(f"{name.replace('_', ' ')}: {_cell(facts[name])}" for name in order)


def _data(manifest: Mapping[str, Any]) -> list[str]:
    data = manifest["data"]
    digests = {"corpus_digest": "SHA-256 of its texts", "split_digest": "SHA-256 of its split"}
    split = ", ".join(f"{count} {_cell(part)}" for part, count in data["users"].items())
    users = compiled_row(manifest)["gap"]["n_users"]
    return [
        f"corpus: {_cell(data['corpus'])}",
        *([f"revision: {_cell(data['revision'])}"] if data.get("revision") else []),
        *(f"{said}: {_cell(data[name])}" for name, said in digests.items() if name in data),
        f"split by user, seed {_cell(manifest['identity']['seed'])}: {split}",
        f"measured on {users} of the sealed users; no search ever saw a sealed user",
    ]


def _cost(manifest: Mapping[str, Any]) -> list[str]:
    cost, held = manifest["cost"], _row(manifest, manifest["frozen"])
    spent = f"to make: {cost['calls']:,} calls, {cost['input_tokens']:,} tokens in, {cost['output_tokens']:,} out"
    if "seconds" in cost:
        spent += f", {cost['seconds']:,.0f} seconds of calls (those in flight together added up)"
    money = cost.get("money", 0)
    lines = [spent + (", cost unknown" if money is None else f", ${money:.4f}" if money else "")]
    n = held["gap"]["n_instances"] + ((held.get("harm") or {}).get("n_instances") or 0)
    if "cost" in held and n:
        each = {part: held["cost"][part] / n for part in ("calls", "input_tokens", "output_tokens")}
        lines.append(
            f"to use, for each answer measured: model calls {each['calls']:.2g}, tokens in "
            f"{each['input_tokens']:.0f}, tokens out {each['output_tokens']:.0f}"
        )
    return lines


def _privacy(manifest: Mapping[str, Any]) -> list[str]:
    texts, shared = manifest["embedded_texts"], manifest["data"].get("demonstrations_share")
    count = texts["demonstrations"]
    lines = [f"It holds {count} demonstrations." if count else "It holds nobody's texts: no demonstration."]
    if texts["private"]:
        lines.append("**It holds texts of users of the corpus, which are not public: do not pass it on.**")
    elif count:
        lines.append("None of them is a private text of a user of the corpus.")
    if count and shared is not None:
        lines.append(f"They share {shared} words in a row at most with any text of the corpus.")
    if manifest["task"] == "authorship":
        lines.append("It holds how others write as numbers: means and spreads of countable habits, and no text.")
    lines.append(
        "What it is given in use (samples, requests, attributes) goes to the model named; the program keeps none."
    )
    return lines


def _lineage(manifest: Mapping[str, Any]) -> str:
    if not manifest.get("lineage"):
        return "It was compiled for this model; it has no parent."
    told = _listed(f"{_cell(name)}: {_cell(value)}" for name, value in _flat(manifest["lineage"]).items())
    return f"It was ported from a program that was frozen for another model.\n\n{told}"


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


def _versions(manifest: Mapping[str, Any]) -> list[str]:
    made = [f"{name} {version}" for name, version in manifest["versions"].items()]
    lines = [f"made with {_cell(', '.join(made))}"]
    if "recipe" in manifest:
        lines.append(f"recipe: {_cell(manifest['recipe']['name'])}, sampler {_cell(manifest['recipe']['sampler'])}")
    hashes = (("program_sha256", "program.json"), ("manifest_sha256", "manifest"))
    return lines + [f"SHA-256 of the {told}: {_cell(manifest[name])}" for name, told in hashes if name in manifest]
