"""CARD.md: a frozen program in words, from its manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.lm.connect import slug


def card(manifest: Mapping[str, Any]) -> str:
    """The card as Markdown; of a manifest as it is read from its file, where what is unknown is null."""
    measured = manifest["measured"]
    parts = [
        f"# {manifest['program']} for {manifest['model']['name']}",
        str(manifest["summary"]),
        f"Verdict: **{measured['verdict']}**. Frozen here: the {manifest['frozen']} program.",
        "## Run it\n\n" + _usage(manifest),
        "## Measured\n\n" + _table(measured["rows"]),
        "Values are the primary judge's; gaps and wins are against the baseline at equal drafts; intervals are 95%, "
        "Student's t over users. None of these users was seen by the search.",
        "## Settings\n\n" + "\n".join(f"- `{slot}`: {value}" for slot, value in manifest["configuration"].items()),
        "## Made from\n\n" + _made(manifest),
        "## Limits\n\n" + _limits(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _usage(manifest: Mapping[str, Any]) -> str:
    name, model = manifest["program"], manifest["model"]["name"]
    if manifest["task"] == "authorship":
        return f'```\nhyperalign run {name} --model {model} --samples FOLDER --request "..."\n```'
    return (
        "```python\nimport dspy\nfrom hyperalign_dspy import connect, load_frozen\n\n"
        f'program = load_frozen("programs/{name}/frozen/{slug(model)}").module\n'
        f'with dspy.context(lm=connect("{model}")):\n    answer = program({_inputs(manifest)})\n```'
    )


def _inputs(manifest: Mapping[str, Any]) -> str:
    return ", ".join(f'{name}="..."' for name in manifest["inputs"])


def _table(rows: Any) -> str:
    lines = [
        "| | drafts | value | gap | wins | copied | n users | n instances |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['drafts']} | {_estimate(row['value'])} | {_estimate(row['gap'])} "
            f"| {_estimate(row['wins'])} | {row['copied']:.0%} "
            f"| {row['gap']['n_users']} | {row['gap']['n_instances']} |"
        )
    return "\n".join(lines)


def _estimate(value: Mapping[str, float | None]) -> str:
    if value["low"] is None:
        return f"{value['mean']:.2f}"
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _made(manifest: Mapping[str, Any]) -> str:
    cost, data = manifest["cost"], manifest["data"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return (
        f"- corpus: {data['corpus']} ({', '.join(f'{n} {part}' for part, n in data['users'].items())})\n"
        f"- recipe: {manifest['recipe']['name']}, seed {manifest['identity']['seed']}\n"
        f"- cost: {cost['calls']} calls, {cost['input_tokens']} tokens in, {cost['output_tokens']} out\n"
        f"- versions: {versions}; runtime: {manifest['model'].get('runtime', 'remote')}"
    )


def _limits(manifest: Mapping[str, Any]) -> str:
    texts = manifest["embedded_texts"]
    held = f"holds {texts['demonstrations']} demonstrations" if texts["demonstrations"] else "holds nobody's texts"
    if texts["private"]:
        held += ", and texts of users of the corpus, which are not public: do not pass it on"
    shared = manifest["data"].get("demonstrations_share")
    if texts["demonstrations"] and shared is not None:
        held += f" (they share {shared} words in a row at most with any text of the corpus)"
    return (
        f"It {held}. It was measured on the corpus above and on this model only; another model wants its own search. "
        "A style verifier judges likeness of style, not whether a text is true, polite or wanted."
    )
