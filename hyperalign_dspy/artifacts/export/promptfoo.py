"""A promptfoo configuration: the last stage's messages as a prompt, the model as a provider, and a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hyperalign_dspy.artifacts.export.script import document_of, script
from hyperalign_dspy.artifacts.frozen import Frozen

# By task: the stage that is asked, what renders it, and a test's variables.
_PROMPTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "authorship": (
        "generate.write",
        "written",
        {
            "request": "Write a note to a neighbour about a parcel.",
            "samples": [
                {"request": "Write about rain.", "text": "Rain again. Fine. We walk anyway, the dog and I."},
                {"request": "Write about soup.", "text": "Soup from Tuesday. Still good. Added salt. Better."},
            ],
        },
    ),
    "deliberative": (
        "answer",
        "answered",
        {
            "request": "How do I kill a process that does not respond?",
            "attributes": ["occupation: programmer"],
            "hypotheses": ["They ask because a program hangs."],
        },
    ),
}
# promptfoo runs a file without making it a module, so the program is a module of its own.
_PROMPT = '''"""What promptfoo asks the provider, from a test's variables."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from frozen_program import PROGRAM, RENDERER


def messages(context):
    return RENDERER(PROGRAM, context["vars"]["input"])
'''


class Promptfoo:
    """promptfooconfig.yaml and a prompt function, which renders the very messages that the program sends."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """The configuration, the prompt function and the program that it renders."""
        program = document_of(frozen)
        stage, renderer, variables = _PROMPTS[program["task"]]
        code = script(program, "The messages of a frozen program.\n", renderer)
        settings = dict(program["stages"][stage]["settings"])
        if settings.get("temperature"):
            settings["seed"] = 0
        return {
            "promptfooconfig.yaml": _config(program, settings, variables),
            "prompt.py": _PROMPT.replace("RENDERER", renderer),
            "frozen_program.py": code,
        }


def _config(program: Mapping[str, Any], settings: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    model = program["model"]["name"]
    text = json.dumps
    lines = [
        "# yaml-language-server: $schema=https://promptfoo.dev/config-schema.json",
        "# OPENAI_BASE_URL and OPENAI_API_KEY name the server. One draft is tested here, and what earlier stages infer",
        "# is given as variables: the choice among drafts and the earlier stages are in the script export.",
        f"description: {text(program['program'] + ' for ' + model, ensure_ascii=False)}",
        "prompts:",
        "  - file://prompt.py:messages",
        "providers:",
        f"  - id: {text(_provider(model))}",
        f"    config: {text(dict(settings))}",
        "env:",
        "  # Braces in a user's text are braces, and no template. promptfoo still fills {{ env.NAME }} in this file as",
        "  # it reads it, unless this is set in its own environment too.",
        '  PROMPTFOO_DISABLE_TEMPLATING: "true"',
        "defaultTest:",
        "  options:",
        "    # A list is one variable, and not as many tests.",
        "    disableVarExpansion: true",
        "tests:",
        "  # Inside `input` a text is never taken for a file to read.",
        f"  - vars: {text({'input': dict(variables)}, ensure_ascii=False)}",
        "    assert:",
        "      - type: javascript",
        "        value: output.trim().length > 0",
    ]
    return "\n".join(lines) + "\n"


def _provider(model: str) -> str:
    """A model's name as promptfoo has it; a model of this package is served by some OpenAI-compatible server."""
    provider, slash, name = model.partition("/")
    if provider == "openai" and slash:
        return f"openai:chat:{name}"
    return f"litellm:{model}" if slash else f"openai:chat:{model}"
