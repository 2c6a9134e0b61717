"""A single Python file that needs only the openai package and does all that the frozen program does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.artifacts.export.bundle import flatten
from hyperalign_dspy.artifacts.export.document import document
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import UsageError
from hyperalign_dspy.lm.connect import slug

# What the command line runs, by task.
_RUNS = {"authorship": "as_writer", "deliberative": "as_counsel"}


class Script:
    """One file: the program as data, the code that was measured, and a command line."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """NAME_MODEL.py."""
        name = f"{frozen.manifest['program']}_{slug(frozen.manifest['model']['name'])}".replace("-", "_")
        program = document_of(frozen)
        run = _RUNS[program["task"]]
        text = script(program, _doc(frozen, name), "main", run)
        return {f"{name}.py": f'{text}\n\nif __name__ == "__main__":\n    main(PROGRAM, {run})\n'}


def document_of(frozen: Frozen) -> dict[str, Any]:
    """The document of a program whose stages the script can run.

    Raises:
        UsageError: what stands between its predictors is code of its own.
    """
    if frozen.manifest["task"] not in _RUNS:
        raise UsageError(
            f"{frozen.manifest['program']} runs code of its own between its calls, which no script holds.",
            fix="Export its messages (--to messages), or the program for DSPy (--to dspy).",
        )
    return document(frozen)


def script(program: Mapping[str, Any], doc: str, *names: str) -> str:
    """A module's text: the program as ``PROGRAM``, and some names of the runtime with all that they need."""
    data = {key: value for key, value in program.items() if key not in ("how", "schema")}
    # JSON in a raw string: no quote in it stands beside two others, and it ends in no backslash.
    literal = f'json.loads(r"""\n{json.dumps(data, ensure_ascii=False, indent=1)}\n""")'
    imports, _, code = flatten("hyperalign_dspy.artifacts.export.runtime", *names).partition("\n\n\n")
    head = f'"""{doc}"""\n\nfrom __future__ import annotations\n\n{imports}\n\n'
    return f"{head}# What was measured, as data.\nPROGRAM = {literal}\n\n\n{code}"


def _doc(frozen: Frozen, name: str) -> str:
    manifest = frozen.manifest
    weights = manifest["model"].get("weights_sha256")
    measured = f"{manifest['model'].get('weights', manifest['model']['name'])}"
    given = "--samples FOLDER" if manifest["task"] == "authorship" else '--known "occupation=nurse"'
    lines = [
        str(manifest["summary"]),
        "",
        f'    python {name}.py --model NAME --base-url http://localhost:8080/v1 {given} --request "..."',
        "",
        f"A frozen program for {measured}, verdict: {manifest['measured']['verdict']}. It needs the openai package and",
        "any server of that interface; OPENAI_API_KEY and OPENAI_BASE_URL are read from the environment.",
        *([f"Its weights have the SHA-256 {weights}."] if weights else []),
        "Samples are a .txt, .md or .jsonl file, or a folder of the first two.",
        "Left out: the leniency with which DSPy mends broken JSON (an answer that cannot be read is an error), other",
        "files of samples, and hypotheses edited by hand.",
        f"Manifest: {manifest['manifest_sha256']}.",
    ]
    return "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''") + "\n"
