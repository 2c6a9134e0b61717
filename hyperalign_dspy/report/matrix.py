"""A matrix in words and as a picture: programs down, models across."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.report.format import columns, estimate, money
from hyperalign_dspy.report.svg import Dot, intervals

_BASELINE = "baseline"


def matrix_table(result: Mapping[str, Any]) -> str:
    """Gaps and values, each with its interval, and help beside harm where a task has both; ``result`` as in
    result.json.
    """
    unit = result["unit"]
    head = (
        f"{result['program']}: programs down, by the model that each was made for; models measured on across.\n"
        f"Sealed users: {result['users']}; instances: {result['instances']}; [95% intervals over users]; "
        "* to the model's own baseline at equal drafts"
    )
    parts = [head, _grid(result, f"gap*, {unit}", "gap", "+.2f"), _grid(result, f"value, {unit}", "value", ".2f")]
    if "harm" in result["facts"]:
        parts += [_grid(result, "harm rise*", "harm_rise", "+.2f"), _grid(result, "harm", "harm", ".2f")]
    return "\n\n".join([*parts, *filter(None, [_notes(result), _cost(result)])])


def matrix_svg(result: Mapping[str, Any]) -> str:
    """Every program's gap on every model with its interval, model by model; harm's rise beside it where it has one."""
    measures = {"": "gap", **({", harm rise": "harm_rise"} if "harm" in result["facts"] else {})}
    dots = []
    for model in result["models"]:
        # A line without a mark, that says where the ones below it were measured.
        dots.append(Dot(f"on {_short(model)}", None, note=" "))
        dots += [
            Dot.of(f"made for {_short(cell['program'])}{said}", found, strong=(found["low"] or -1) > 0)
            for said, key in measures.items()
            for cell in result["cells"]
            if cell["model"] == model and cell["program"] != _BASELINE and cell["row"]
            for found in [cell["row"][key]]
            if found
        ]
    unit = f"gap to the model's own baseline at equal drafts, {result['unit']}"
    return intervals(f"{result['program']}: every program on every model", dots, unit)


def _short(model: str) -> str:
    return model.removeprefix("gguf:").removesuffix(".gguf")


def _grid(result: Mapping[str, Any], title: str, key: str, form: str) -> str:
    cells = {(cell["program"], cell["model"]): cell for cell in result["cells"]}
    difference = form.startswith("+")
    names = [_BASELINE, *(program["name"] for program in result["programs"])]
    lines = [
        [name, *(_cell(cells[name, model], key, form, result) for model in result["models"])]
        for name in names
        if not (difference and name == _BASELINE)
    ]
    return columns([title, *result["models"]], lines)


def _cell(cell: Mapping[str, Any], key: str, form: str, result: Mapping[str, Any]) -> str:
    row = cell["row"]
    if not row:
        return "no answer" if cell["error"] else "not measured"
    if not row[key]:
        return "-"
    fewer = f" n={result['instances'] - row['missing']}" if row["missing"] else ""
    return estimate(row[key], form) + fewer


def _notes(result: Mapping[str, Any]) -> str:
    itself = "the frozen program is the baseline itself."
    lines = [f"{p['name']}: {itself}" for p in result["programs"] if p["frozen"] == _BASELINE]
    lines += [
        f"{p['name']}: its program was made on another corpus ({p['corpus']})."
        for p in result["programs"]
        if not p["same_corpus"]
    ]
    lines += [f"{c['program']} on {c['model']}: {c['error']}" for c in result["cells"] if c["error"]]
    if result["capped"]:
        lines.append("CAPPED: a cap ended it early; the same command with a higher one goes on.")
    return "\n".join(lines)


def _cost(result: Mapping[str, Any]) -> str:
    cost = result["cost"]
    calls = f"Cost: {cost['calls']} calls recorded, {cost['recorded_calls']} answers reused in this session"
    return "; ".join(filter(None, (calls, money(cost["money"]), f"{result['seconds']:.0f} s.")))
