"""CARD.md: a frozen program in words, from its manifest alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.artifacts.card_figures import cell, headline, limits, measured, row_of
from hyperalign_dspy.lm.connect import slug

_WRITE = 'samples=["A text of mine.", "Another one!"], request="Write a note to a neighbour."'
_ANSWER = 'request="How do I kill a process?", attributes={"occupation": "programmer"}'
_PRINTED = {"authorship": (_WRITE, "answer.text"), "deliberative": (_ANSWER, "answer.text")}


def card(manifest: Mapping[str, Any], *, downloaded: bool = False) -> str:
    """The card as Markdown; of a manifest as it is read from its file, where what is unknown is null. ``downloaded``:
    for somebody who has the program as a folder, and not on a shelf.

    The same manifest gives the same card. What a manifest of an earlier version does not say is left out.
    """
    sections = {
        "Run it": _usage_of_folder(manifest) if downloaded else _usage(manifest),
        "Measured": measured(manifest),
        "Limits": limits(manifest),
        "What is frozen": _frozen(manifest),
        "Model": _model(manifest),
        "Data": _data(manifest),
        "Cost": _cost(manifest),
        "Privacy": _privacy(manifest),
        "Lineage": _lineage(manifest),
        "Versions": _versions(manifest),
    }
    head = f"# {cell(manifest['program'])} for {cell(manifest['model']['name'])}\n\n{cell(manifest['summary'])}"
    foot = "This card is made from manifest.json." if downloaded else _foot(manifest)
    parts = [head, headline(manifest), *(f"## {name}\n\n{text}" for name, text in sections.items()), foot]
    return "\n\n".join(parts) + "\n"


def names(manifest: Mapping[str, Any]) -> str:
    """A program and its model as the command line takes them."""
    return shlex.join([str(manifest["program"]), "--model", str(manifest["model"]["name"])])


def _usage(manifest: Mapping[str, Any]) -> str:
    named = names(manifest)
    command = f"show {named} --messages"
    if manifest["task"] == "authorship":
        command = f'run {named} --samples FOLDER --request "Write a note to a neighbour."'
    place = f"find_frozen({json.dumps(manifest['program'])}, {json.dumps(slug(manifest['model']['name']))})"
    return f"```\nhyperalign {command}\n```\n\n" + _code(manifest, "connect, find_frozen, load_frozen", place)


def _usage_of_folder(manifest: Mapping[str, Any]) -> str:
    """FOLDER is where it was downloaded to."""
    return "```\nhyperalign verify ./FOLDER\n```\n\n" + _code(manifest, "connect, load_frozen", '"FOLDER"')


def _code(manifest: Mapping[str, Any], imported: str, place: str) -> str:
    given, printed = _PRINTED.get(manifest["task"], (_inputs(manifest), "answer"))
    model = json.dumps(manifest["model"]["name"])
    return (
        f"```python\nimport dspy\nfrom hyperalign_dspy import {imported}\n\n"
        f"program = load_frozen({place}).module\n"
        f"with dspy.context(lm=connect({model})):\n    answer = program({given})\nprint({printed})\n```"
    )


def _inputs(manifest: Mapping[str, Any]) -> str:
    return ", ".join(f'{name}="..."' for name in manifest.get("inputs", ()))


def _frozen(manifest: Mapping[str, Any]) -> str:
    searched = manifest["recipe"]["slots"] if "recipe" in manifest else {}
    made = manifest.get("candidates") or {}
    lines = ["| slot | candidate | searched among |", "|---|---|---|"]
    for slot, value in manifest["configuration"].items():
        among = ", ".join(cell(candidate) for candidate in searched.get(slot, ())) or "not searched"
        by = f", made by {cell(made[slot]['proposer'])}" if "proposer" in made.get(slot, {}) else ""
        lines.append(f"| `{cell(slot)}` | {cell(value)}{by} | {among} |")
    return "\n".join(lines) + _messages(manifest)


def _messages(manifest: Mapping[str, Any]) -> str:
    """What is sent, as it was measured, with {{marks}} where inputs go."""
    rendered = manifest.get("probe", {}).get("messages", {})
    turns = [
        f"[{predictor}: {message['role']}]\n{message['content']}"
        for predictor, messages in rendered.items()
        for message in messages
    ]
    if not turns:
        return ""
    text = "\n\n".join(turns)
    # No text inside may end the block that it stands in.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"\n\nWhat is sent, with `{{{{marks}}}}` where inputs go:\n\n{fence}text\n{text}\n{fence}"


def _model(manifest: Mapping[str, Any]) -> str:
    facts = manifest["model"]
    told = [f"- name: {cell(facts['name'])}"]
    told += [f"- {name.replace('_', ' ')}: {cell(facts[name])}" for name in sorted(facts) if name != "name"]
    return "\n".join(told)


def _data(manifest: Mapping[str, Any]) -> str:
    data, row = manifest["data"], row_of(manifest, "compiled")
    lines = [f"- corpus: {cell(data['corpus'])}"]
    if data.get("revision"):
        lines.append(f"- revision: {cell(data['revision'])}")
    lines += [
        f"- {told}: {cell(data[name])}"
        for name, told in (("corpus_digest", "SHA-256 of its texts"), ("split_digest", "SHA-256 of its split"))
        if name in data
    ]
    split = ", ".join(f"{count} {cell(part)}" for part, count in data["users"].items())
    lines.append(f"- split by user, seed {cell(manifest['identity']['seed'])}: {split}")
    lines.append(f"- measured on {row['gap']['n_users']} of the sealed users; no search ever saw a sealed user")
    return "\n".join(lines)


def _cost(manifest: Mapping[str, Any]) -> str:
    cost, held = manifest["cost"], row_of(manifest, manifest["frozen"])
    lines = [
        f"- to make: {cost['calls']:,} calls, {cost['input_tokens']:,} tokens in, {cost['output_tokens']:,} out"
        f"{_seconds(cost)}{_money(cost)}"
    ]
    n = held["gap"]["n_instances"] + ((held.get("harm") or {}).get("n_instances") or 0)
    if "cost" in held and n:
        each = {part: held["cost"][part] / n for part in ("calls", "input_tokens", "output_tokens")}
        lines.append(
            f"- to use, for each answer measured: model calls {each['calls']:.2g}, tokens in "
            f"{each['input_tokens']:.0f}, tokens out {each['output_tokens']:.0f}"
        )
    return "\n".join(lines)


def _seconds(cost: Mapping[str, Any]) -> str:
    return f", {cost['seconds']:,.0f} seconds of calls (those in flight together added up)" if "seconds" in cost else ""


def _money(cost: Mapping[str, Any]) -> str:
    if not cost.get("money", 0):
        return ", cost unknown" if cost.get("money", 0) is None else ""
    return f", ${cost['money']:.4f}"


def _privacy(manifest: Mapping[str, Any]) -> str:
    texts, shared = manifest["embedded_texts"], manifest["data"].get("demonstrations_share")
    count = texts["demonstrations"]
    lines = [f"- It holds {count} demonstrations." if count else "- It holds nobody's texts: no demonstration."]
    if texts["private"]:
        lines.append("- **It holds texts of users of the corpus, which are not public: do not pass it on.**")
    elif count:
        lines.append("- None of them is a private text of a user of the corpus.")
    if count and shared is not None:
        lines.append(f"- They share {shared} words in a row at most with any text of the corpus.")
    if manifest["task"] == "authorship":
        lines.append("- It holds how others write as numbers: means and spreads of countable habits, and no text.")
    lines.append(
        "- What it is given in use (samples, requests, attributes) goes to the model named; the program keeps none."
    )
    return "\n".join(lines)


def _lineage(manifest: Mapping[str, Any]) -> str:
    lineage = manifest.get("lineage")
    if not lineage:
        return "It was compiled for this model; it has no parent."
    told = _flat(lineage)
    return "It was ported from a program that was frozen for another model.\n\n" + "\n".join(
        f"- {cell(name)}: {cell(value)}" for name, value in told.items()
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


def _versions(manifest: Mapping[str, Any]) -> str:
    made = [f"{name} {version}" for name, version in manifest["versions"].items()]
    lines = [f"- made with {cell(', '.join(made))}"]
    if "recipe" in manifest:
        lines.append(f"- recipe: {cell(manifest['recipe']['name'])}, sampler {cell(manifest['recipe']['sampler'])}")
    hashes = (("program_sha256", "program.json"), ("manifest_sha256", "manifest"))
    lines += [f"- SHA-256 of the {told}: {cell(manifest[name])}" for name, told in hashes if name in manifest]
    return "\n".join(lines)


def _foot(manifest: Mapping[str, Any]) -> str:
    return f"This card is made from manifest.json: `hyperalign card {names(manifest)}`."
