"""DSPy's own saved state, which plain DSPy loads into the module."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.files import dump
from hyperalign_dspy.program.plain import Plain


class PlainDspy:
    """program.json as DSPy's ``save`` writes it, what was measured, and how to load it."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """program.json, measured.json (the manifest) and README.md."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "program.json"
            frozen.module.save(str(path))
            state = path.read_text(encoding="utf-8")
        return {
            "program.json": state,
            # By its own name it would make this folder a frozen program, which another program.json belongs to.
            "measured.json": dump(frozen.manifest),
            "README.md": _readme(frozen.module, frozen.manifest),
        }


def _readme(module: Any, manifest: Mapping[str, Any]) -> str:
    place, _, name = manifest["module"].partition(":")
    lines = ["import dspy", f"from {place} import {name}", "", f"program = {name}()", 'program.load("program.json")']
    if isinstance(module, Plain):
        settings = module.settings.value
        lines.insert(1, "from hyperalign_dspy.program.adapters import adapter")
        set_ = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        options = "".join(f", {key}={value!r}" for key, value in set_.items() if value is not None)
        lines.append(f'with dspy.context(lm=dspy.LM("PROVIDER/NAME"{options}), adapter=adapter("{settings.adapter}")):')
        lines.append(f"    answer = program({', '.join(f'{field}=...' for field in manifest['inputs'])})")
        note = "The adapter, temperature and length are not in DSPy's state: they are set as below."
    else:
        given = 'samples=["..."], request="..."' if manifest["task"] == "authorship" else 'request="..."'
        lines.append('with dspy.context(lm=dspy.LM("PROVIDER/NAME", cache=False)):')
        lines.append(f"    text = program({given}).text")
        note = "Adapter, temperature, drafts and the rest are parameters of this module, and so in the state."
    code = "\n".join(lines)
    return (
        f"# {manifest['program']} for {manifest['model']['name']}, as DSPy state\n\n{manifest['summary']}\n\n{note} "
        f"It was made with dspy {manifest['versions']['dspy']}.\n\n```python\n{code}\n```\n\n"
        "DSPy loads a state into any module with as many fields, without a word: load it into this one.\n\n"
        "measured.json is the manifest of the frozen program that this state was taken from: what it is, and what was "
        "measured. Its hashes are those of the frozen program's files; `hyperalign verify` checks these, where they "
        "lie, and not this folder.\n"
    )
