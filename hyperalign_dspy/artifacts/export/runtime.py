"""What a frozen program does at run time, from its document alone: fill templates, ask, read answers, choose a draft.

Only the standard library and openai are needed. `hyperalign_dspy.artifacts.export.bundle` puts this file, and what it
takes from the package, into one script; so what ships is the code that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from hyperalign_dspy.artifacts.export.answers import read_answer
from hyperalign_dspy.data.load import USUAL
from hyperalign_dspy.lm.escape import escape_labels, on_one_line
from hyperalign_dspy.metrics.features import Background, measured_hypotheses, reward
from hyperalign_dspy.program.adapters import sentences_of
from hyperalign_dspy.program.deliberate import asker_description
from hyperalign_dspy.program.generate import UNKNOWN_REQUEST, chosen_hypotheses
from hyperalign_dspy.program.infer import claims_topic, cut
from hyperalign_dspy.types import FACETS, Hypothesis, Sample

# One call: the stage, what its template is filled with, and the seed (None: the stage is greedy).
Ask = Callable[[Mapping[str, Any], Mapping[str, Any], int | None], dict[str, Any]]


def render(stage: Mapping[str, Any], values: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of a stage. ``values``: slot -> a text, a list of texts, or a list of turns (each slot -> text).

    Raises:
        ValueError: an empty text where there must be one, or a text that holds a mark of the format.
    """
    empty = [name for name in stage["needed"] if not values.get(name)]
    if empty:
        raise ValueError(f"{empty[0]} is empty.")
    given = [name for name in stage["lists"] if values.get(name)]
    template = next(t for t in stage["templates"] if t["given"] == given)
    messages = []
    for item in template["messages"]:
        rows = values.get(item["each"]) or () if "each" in item else (values,)
        messages += [_message(stage, message, row) for row in rows for message in item.get("messages", (item,))]
    return messages


def _message(stage: Mapping[str, Any], message: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, str]:
    pieces = [p if isinstance(p, str) else _filled(stage, p, row[p["slot"]]) for p in message["content"]]
    return {"role": message["role"], "content": "".join(pieces)}


def _filled(stage: Mapping[str, Any], piece: Mapping[str, Any], value: Any) -> str:
    items = value if isinstance(value, (list, tuple)) else [value]
    return str(piece.get("join", "")).join(_safe(stage, piece, str(item)) for item in items)


def _safe(stage: Mapping[str, Any], piece: Mapping[str, Any], text: str) -> str:
    held = [mark for mark in stage["refused"] if mark in text]
    if held:
        raise ValueError(f"The input {piece['slot']!r} holds {held[0].strip()!r}, by which fields are told apart.")
    for word, harmless in stage["neutral"]:
        text = text.replace(word, harmless)
    text = escape_labels(text, piece.get("labels", ()))
    if piece.get("one_line"):
        text = on_one_line(text)
    if piece.get("trim") == "end":
        text = text.rstrip()
    if piece.get("escape") == "json":
        return json.dumps(text, ensure_ascii=False)[1:-1]
    return text.replace("&", "&amp;").replace("<", "&lt;") if piece.get("escape") == "xml" else text


def write_as(
    program: Mapping[str, Any], ask: Ask, samples: Sequence[Sample], request: str, seed: int = 0
) -> dict[str, Any]:
    """Write on request as the author of the samples would: the text kept, all drafts, and the hypotheses.

    Raises:
        ValueError: no samples, no request, or an answer that cannot be read.
    """
    if not any(sample.text.strip() for sample in samples) or not request.strip():
        raise ValueError("Give samples and a request.")
    settings = SimpleNamespace(**program["settings"])
    texts = [sample.text for sample in samples]
    known = [*_inferred(program, ask, texts, settings), *_measured(program, texts)]
    values = _writing_values(program, known, samples, request)
    count = settings.drafts if settings.temperature > 0 else 1
    stage = program["stages"]["generate.write"]
    drafts = [str(ask(stage, values, seed + place)["text"]) for place in range(count)]
    kept = max(drafts, key=lambda draft: reward(draft, known))
    return {"text": kept, "drafts": drafts, "hypotheses": [asdict(hypothesis) for hypothesis in known]}


def _writing_values(
    program: Mapping[str, Any], known: Sequence[Hypothesis], samples: Sequence[Sample], request: str
) -> dict[str, Any]:
    """What the writing stage is filled with."""
    settings = SimpleNamespace(**program["settings"])
    shown = [sample for sample in samples if sample.text.strip()][: settings.samples]
    turns = [{"request": s.request or UNKNOWN_REQUEST, "text": cut(s.text, settings.sample_words)} for s in shown]
    hypotheses = chosen_hypotheses(known, settings.shown_hypotheses, 3 * settings.hypotheses)
    return {"hypotheses": hypotheses, "samples": turns, "request": request}


def _measured(program: Mapping[str, Any], texts: Sequence[str]) -> list[Hypothesis]:
    return measured_hypotheses(texts, Background.from_json(program["background"]))


def _inferred(program: Mapping[str, Any], ask: Ask, texts: Sequence[str], settings: Any) -> list[Hypothesis]:
    if settings.shown_hypotheses not in ("inferred", "both"):
        return []
    shown = [cut(text, settings.sample_words) for text in texts[: settings.infer_samples]]
    answer = ask(program["stages"]["infer.read"], {"samples": shown}, None)
    claims = {
        claim: facet
        for facet in FACETS
        for claim in sentences_of(answer.get(facet))[: settings.hypotheses]
        if not claims_topic(claim, texts)
    }
    return [Hypothesis(claim, facet) for claim, facet in claims.items()]


def deliberate(
    program: Mapping[str, Any],
    ask: Ask,
    request: str,
    known: Sequence[str] = (),
    samples: Sequence[Sample] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Answer on request, knowing who asks: the text, the hypotheses and the deliberation. ``known``: "name: value"."""
    if not request.strip():
        raise ValueError("The request is empty.")
    settings, stages = SimpleNamespace(**program["settings"]), program["stages"]
    inferred: list[str] = []
    if settings.user_context in ("hypotheses", "both") and (known or samples):
        shown = [cut(sample.text, settings.sample_words) for sample in samples]
        inferred = _sentences(ask, stages["suppose"], {"samples": shown, "attributes": list(known), "request": request})
    told_of = asker_description(known, inferred, settings.user_context)
    weighed: list[str] = []
    if settings.deliberate:
        weighed = _sentences(ask, stages["weigh"], {"hypotheses": told_of, "request": request})
    values = {"hypotheses": told_of, "deliberation": weighed, "request": request}
    return {"text": str(ask(stages["answer"], values, seed)["text"]), "hypotheses": inferred, "deliberation": weighed}


def _sentences(ask: Ask, stage: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """One sentence for each list of an answer."""
    answer = ask(stage, values, None)
    found = [answer.get(name) or [] for name in stage["answer"]["fields"]]
    return [" ".join(str(said).split()) for listed in found for said in listed[:1]]


def asking(model: str, base_url: str | None = None, *, schema: bool = True) -> Ask:
    """Asks an OpenAI-compatible server. ``schema``: hold it to the schema where a stage has one.

    Raises:
        ConnectionError: the server cannot be reached, or says no. ValueError: an answer that cannot be read.
    """

    def ask(stage: Mapping[str, Any], values: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
        import openai

        body = {**stage["settings"], **(stage["held_to"] if schema else {})}
        if seed is not None:
            body["seed"] = seed
        messages: Any = render(stage, values)
        client = _client(base_url)
        try:
            said = client.chat.completions.create(model=model, messages=messages, **body)
        except openai.OpenAIError as error:
            raise ConnectionError(f"{client.base_url}: {error}") from error
        return read_answer(stage["answer"], said.choices[0].message.content or "")

    return ask


@cache
def _client(base_url: str | None) -> Any:
    _check_address(base_url or os.environ.get("OPENAI_BASE_URL") or "")
    # What is asked wrongly is said before openai is imported, which takes a second.
    import openai

    return openai.OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY") or "none")


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        # Asked for, since a port is read only then.
        known = (parts.scheme, parts.hostname, parts.port)
    except ValueError as error:
        raise ValueError(f"{address!r} is no server's address: {error}.") from error
    if address and not (known[0] in ("http", "https") and known[1] and address.isprintable()):
        raise ValueError(f"{address!r} is no server's address: write http://HOST:PORT/v1.")


def read_texts(source: Path) -> list[Sample]:
    """Samples as `hyperalign run` reads them: a .txt or .md file, a folder of them, or a .jsonl file with a column of
    texts and perhaps one of requests.

    Raises:
        ValueError: another file, or one that cannot be read, with the line.
    """
    if not source.exists():
        raise ValueError(f"There is no {source}.")
    if source.is_dir():
        found = [Sample(_decoded(p).strip()) for p in sorted([*source.glob("*.txt"), *source.glob("*.md")])]
    elif source.suffix.lower() == ".jsonl":
        found = _lines_of(source)
    elif source.suffix.lower() in (".txt", ".md"):
        found = [Sample(_decoded(source).strip())]
    else:
        raise ValueError(f"{source} is not read here: give a .txt, .md or .jsonl file, or a folder of .txt files.")
    found = [sample for sample in found if sample.text]
    if not found:
        raise ValueError(f"There are no texts in {source}.")
    return found


def _lines_of(source: Path) -> list[Sample]:
    lines = [(number, line) for number, line in enumerate(_decoded(source).split("\n"), 1) if line.strip()]
    rows = [(number, _object(line, f"Line {number} of {source}")) for number, line in lines]
    first = rows[0][1] if rows else {}
    column = next((name for name in USUAL["text"] if name in first), "text")
    request = next((name for name in USUAL["request"] if any(name in row for _, row in rows)), "")
    for number, row in rows:
        if column not in row:
            raise ValueError(f"Line {number} of {source} has no {column!r}.")
    return [Sample(_cell(row[column]), str(row.get(request) or "")) for _, row in rows]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} is not a JSON object.")
    return row


def _cell(value: Any) -> str:
    return "" if value is None else unicodedata.normalize("NFC", str(value)).strip()


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: byte {error.start} cannot be read.") from error
    if "\0" in text:
        raise ValueError(f"{path} is not text: it holds a zero byte.")
    return text


def _as_writer(program: Mapping[str, Any], ask: Ask, given: Any) -> dict[str, Any]:
    """Run `write_as` on what the command line was given."""
    return write_as(program, ask, read_texts(given.samples) if given.samples else [], given.request, given.seed)


def _as_counsel(program: Mapping[str, Any], ask: Ask, given: Any) -> dict[str, Any]:
    """Run `deliberate` on what the command line was given."""
    known = [": ".join(pair.split("=", 1)) for pair in given.known]
    samples = read_texts(given.samples) if given.samples else []
    return deliberate(program, ask, given.request, known, samples, given.seed)


def script_main(
    program: Mapping[str, Any], run: Callable[..., dict[str, Any]], words: Sequence[str] | None = None
) -> None:
    """The command line of an exported program. Exit codes: 1 the server failed, 2 what cannot be asked or read."""
    parser = argparse.ArgumentParser(description=str(program["summary"]))
    parser.add_argument("--request", required=True, help="What is asked; - reads it from standard input.")
    parser.add_argument("--samples", type=Path, help="The user's texts: a .txt, .md or .jsonl file, or a folder.")
    parser.add_argument("--known", action="append", default=[], metavar="NAME=VALUE", help="What is known of who asks.")
    parser.add_argument("--model", required=True, help="The model's name at the server.")
    parser.add_argument("--base-url", help="The server; OPENAI_BASE_URL or OpenAI's own by default.")
    parser.add_argument("--seed", type=int, default=0, help="Another seed, another text.")
    parser.add_argument("--no-schema", action="store_true", help="For a server that takes no JSON schema.")
    parser.add_argument("--json", action="store_true", help="All that was made, not the text alone.")
    given = parser.parse_args(words)
    given.request = sys.stdin.read() if given.request == "-" else given.request
    ask = asking(given.model, given.base_url, schema=not given.no_schema)
    try:
        made = run(program, ask, given)
    except ConnectionError as error:
        parser.exit(1, f"{error}\n")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write((json.dumps(made, ensure_ascii=False, indent=2) if given.json else made["text"]) + "\n")


def written(program: Mapping[str, Any], given: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of the writing stage for a test's variables: request, samples (texts, or text and request), and
    hypotheses (sentences).
    """
    samples = [Sample(**row) if isinstance(row, Mapping) else Sample(row) for row in given.get("samples", ())]
    inferred = [Hypothesis(text, "style") for text in given.get("hypotheses", ())]
    known = [*inferred, *_measured(program, [sample.text for sample in samples])]
    return render(program["stages"]["generate.write"], _writing_values(program, known, samples, given["request"]))


def answered(program: Mapping[str, Any], given: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of the answering stage for a test's variables: request, attributes ("name: value"), hypotheses and
    deliberation (sentences).
    """
    hypotheses = asker_description(
        given.get("attributes", ()), given.get("hypotheses", ()), program["settings"]["user_context"]
    )
    values = {"hypotheses": hypotheses, "deliberation": given.get("deliberation", ()), "request": given["request"]}
    return render(program["stages"]["answer"], values)
