"""The promptfoo configuration, read by promptfoo itself, which npm installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperalign_dspy.artifacts.export.document import HOSTILE
from hyperalign_dspy.artifacts.export.formats import exported, write_export
from hyperalign_dspy.artifacts.frozen import Frozen, load_frozen
from hyperalign_dspy.types import Sample
from tests.artifacts.export.chat_server import ChatServer
from tests.artifacts.export.programs import PROGRAMS, live, shaped

pytestmark = pytest.mark.evidence
TEXTS = [*(t for t in HOSTILE if t.strip()), "file:///etc/hostname", "package:a:b", "{{input}}", "ends\n"]


@pytest.fixture(scope="session")
def promptfoo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command: $HYPERALIGN_PROMPTFOO, or a fresh install."""
    known = os.environ.get("HYPERALIGN_PROMPTFOO")
    if known:
        return known
    if not shutil.which("npm"):
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("promptfoo")
    subprocess.run(
        ["npm", "install", "promptfoo@0.121", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True
    )
    return str(folder / "node_modules" / ".bin" / "promptfoo")


def evaluated(command: str, folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that promptfoo sends for these inputs, all tests passed."""
    path = folder / "promptfooconfig.yaml"
    head, _, _ = path.read_text(encoding="utf-8").partition("tests:")
    tests = [{"vars": {"input": row}} for row in rows]
    path.write_text(f"{head}tests: {json.dumps(tests)}\n", encoding="utf-8")
    with ChatServer() as server:
        env = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "OPENAI_BASE_URL": server.address,
            "OPENAI_API_KEY": "sk-nobody",
            "PROMPTFOO_PYTHON": sys.executable,
            "PROMPTFOO_CONFIG_DIR": str(folder / ".config"),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
        }
        words = [
            command,
            "eval",
            "-c",
            path.name,
            "--no-cache",
            "--no-write",
            "--no-table",
            "-j",
            "1",
            "-o",
            "out.json",
        ]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return server.bodies


def test_promptfoo_asks_what_the_writer_asks(promptfoo: str, tmp_path: Path) -> None:
    frozen = load_frozen(PROGRAMS / "authorship" / "frozen" / "local")
    write_export(exported(frozen, "promptfoo"), tmp_path / "out")
    rows = [{"request": text, "samples": [text, {"text": f"{text} again", "request": text}]} for text in TEXTS]
    sent = evaluated(promptfoo, tmp_path / "out", rows)
    wanted = [live(frozen, samples=[Sample(t), Sample(f"{t} again", t)], request=t)[0][0] for t in TEXTS]
    assert [body["messages"] for body in sent] == wanted
    assert {(body["temperature"], body["max_tokens"], body["seed"]) for body in sent} == {(0.5, 56, 0)}


def test_promptfoo_asks_what_the_answerer_asks(promptfoo: str, tmp_path: Path) -> None:
    frozen: Frozen = shaped("answers after weighing")
    write_export(exported(frozen, "promptfoo"), tmp_path / "out")
    wanted, rows = [], []
    for text in TEXTS:
        sent, made = live(frozen, request=text, attributes={"name": text})
        wanted.append(sent[-1])
        told = {"hypotheses": made["hypotheses"], "deliberation": made["deliberation"]}
        rows.append({"request": text, "attributes": [f"name: {text}"], **told})
    assert [body["messages"] for body in evaluated(promptfoo, tmp_path / "out", rows)] == wanted
