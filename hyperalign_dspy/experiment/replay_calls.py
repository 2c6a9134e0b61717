"""Recorded calls of a run, sent again: does the model here still answer as it did when a program was measured?"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dspy.lm15 import Config, Message, Request

from hyperalign_dspy.artifacts.frozen import Check, read_manifest
from hyperalign_dspy.errors import FrozenMismatch
from hyperalign_dspy.lm.connect import connect, describe_model
from hyperalign_dspy.lm.models import GGUF, LOCAL, SCRIPTED
from hyperalign_dspy.lm.records import CallRow, read_calls
from hyperalign_dspy.runs import Run, all_runs

_NAME = "recorded calls"


def replay_calls(manifest: Mapping[str, Any], model: str, count: int, seed: int = 0) -> Check:
    """Send ``count`` recorded calls of the run that made a frozen program again, drawn by ``seed``.

    Skipped, with the reason, where the run's calls are not here, or where the model need not answer alike: a
    provider's, other weights, or another runtime than the one that was measured.
    """
    reason = _unlike(manifest, model)
    run = None if reason else _run_of(manifest)
    if run is None:
        fix = "" if reason else "Verify where the program was compiled: its calls lie in .hyperalign/runs."
        return Check(_NAME, "skipped", reason or "the run that made this program is not here", fix)
    rows = [r for r in read_calls(run.path("calls.jsonl")) if "failed" not in r and r["model"] == model]
    chosen = random.Random(seed).sample(rows, min(count, len(rows)))
    if not chosen:
        return Check(_NAME, "skipped", f"the run {run.run_id} holds no call of {model}")
    engine = connect(model).engine
    other = [row for row in chosen if (engine.complete(_request(row)).message.text or "") != row["text"]]
    if other:
        about = f"{len(other)} of {len(chosen)} are answered with another text, the call {other[0]['key'][:12]} first"
        return Check(_NAME, "refused", about, "Texts agree on equal runtime and processor; compile again on this one.")
    return Check(_NAME, "ok", f"{len(chosen)} of {len(rows)} sent again: the same texts")


def _unlike(manifest: Mapping[str, Any], model: str) -> str:
    """Why a model need not answer as the one that was measured did; empty where it must."""
    if not (model in (LOCAL, SCRIPTED) or model.startswith(GGUF)):
        return "a provider need not answer the same request alike"
    here, there = describe_model(model), manifest["model"]
    for name in ("weights_sha256", "runtime"):
        if here.get(name) != there.get(name):
            return f"{model} here has another {name.removesuffix('_sha256')} than the one that was measured"
    return ""


def _run_of(manifest: Mapping[str, Any]) -> Run | None:
    """The run that ended with this very program, by its manifest's hash."""
    for run in all_runs():
        with suppress(FrozenMismatch):
            if read_manifest(run.path("frozen"))["manifest_sha256"] == manifest["manifest_sha256"]:
                return run
    return None


def _request(row: CallRow) -> Request:
    """The request of a recorded call."""
    messages = row["request"]["messages"]
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    make = {"user": Message.user, "assistant": Message.assistant}
    turns = tuple(make[m["role"]](m["content"]) for m in messages if m["role"] != "system")
    config = _in_order(row["request"]["config"])
    config["stop"] = tuple(config.get("stop", ()))
    return Request(model=row["model"], messages=turns, system=system, config=Config(**config))


def _in_order(value: Any) -> Any:
    """A schema with its properties in the order in which they are to be written; a record sorts them by name."""
    if isinstance(value, list):
        return [_in_order(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {name: _in_order(item) for name, item in value.items()}
    if "properties" in made and "required" in made:
        made["properties"] = {name: made["properties"][name] for name in made["required"]}
    return made
