"""What a format is, the formats there are, and how a frozen program is put into one and written."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, StrictUndefined

from hyperalign_dspy import registry
from hyperalign_dspy.artifacts.card import card
from hyperalign_dspy.artifacts.export.bundle import flatten
from hyperalign_dspy.artifacts.export.document import document_of
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import GateFailed, MissingKey, ModelError, UsageError
from hyperalign_dspy.files import dump, write_folder, write_text
from hyperalign_dspy.lm.models import slug
from hyperalign_dspy.program.configuration import Plain

# Every format holds it in one of its files: what was exported here once, and may be replaced.
_MARK = re.compile(r'"manifest_sha256": "[0-9a-f]{64}"')
_ELSEWHERE = "Name a new place with --out, or remove what is there."


class _Exporter(Protocol):
    """A format of one's own, named as ``module:Class``."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """The export as texts by file name: one is a file of its own, several are a folder.

        Raises:
            UsageError: this program cannot be said in this format, with the one that can say it.
        """


@dataclass(frozen=True)
class _Runtime:
    """What `runtime` holds for a task: what a script runs and which options it takes for that; the stage that
    promptfoo tests, what renders its messages, and a test's variables.
    """

    run: str
    options: str
    stage: str
    renderer: str
    variables: Mapping[str, Any]


_RUNTIMES = {
    "authorship": _Runtime(
        "_as_writer",
        "--samples FOLDER",
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
    "deliberative": _Runtime(
        "_as_counsel",
        '--known "occupation=nurse"',
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


def exported(frozen: Frozen, name: str) -> dict[str, str]:
    """A frozen program in the named format, as texts by file name.

    Raises:
        UnknownName: no such format. UsageError: what is named is no format, or see `_Exporter.files`.
    """
    if name in _FORMATS:
        return _FORMATS[name](frozen)
    found = registry.resolve("format", name, dict.fromkeys(_FORMATS, ""))
    if not isinstance(found, type) or not callable(getattr(found, "files", None)):
        raise UsageError(
            f"{name} is no format: it is not a class with a method `files`.",
            fix=f"Known: {', '.join(_FORMATS)}; or MODULE:CLASS.",
        )
    exporter: _Exporter = found()
    return dict(exporter.files(frozen))


def _messages(frozen: Frozen) -> dict[str, str]:
    """OpenAI chat messages as templates, with settings and the answers' parsers: it says itself how it is read."""
    # In the order of the document: a model held to a schema writes its properties in the order given.
    return {"messages.json": json.dumps(document_of(frozen), ensure_ascii=False, indent=2) + "\n"}


def _script(frozen: Frozen) -> dict[str, str]:
    """One file that needs only the openai package: the program as data, the code that was measured, a command line."""
    name = f"{frozen.manifest['program']}_{slug(frozen.manifest['model']['name'])}".replace("-", "_")
    runtime = _runtime_of(frozen.manifest)
    text = _module_text(document_of(frozen), _about(frozen.manifest, name, runtime), "script_main", runtime.run)
    return {f"{name}.py": f'{text}\n\nif __name__ == "__main__":\n    script_main(PROGRAM, {runtime.run})\n'}


def _runtime_of(manifest: Mapping[str, Any]) -> _Runtime:
    if manifest["task"] not in _RUNTIMES:
        raise UsageError(
            f"{manifest['program']} runs code of its own between its calls, which no script holds.",
            fix="Export its messages (--to messages), or the program for DSPy (--to dspy).",
        )
    return _RUNTIMES[manifest["task"]]


def _module_text(program: Mapping[str, Any], doc: str, *names: str) -> str:
    """A module: the program as ``PROGRAM``, and some names of the runtime with all that they need."""
    data = {key: value for key, value in program.items() if key not in ("how", "schema")}
    # JSON in a raw string: no quote in it stands beside two others, and it ends in no backslash.
    literal = f'json.loads(r"""\n{json.dumps(data, ensure_ascii=False, indent=1)}\n""")'
    imports, _, code = flatten("hyperalign_dspy.artifacts.export.runtime", *names).partition("\n\n\n")
    head = f'"""{doc}"""\n\nfrom __future__ import annotations\n\n{imports}\n\n'
    return f"{head}# What was measured, as data.\nPROGRAM = {literal}\n\n\n{code}"


def _about(manifest: Mapping[str, Any], name: str, runtime: _Runtime) -> str:
    """What a script says of itself."""
    model = manifest["model"]
    lines = [
        str(manifest["summary"]),
        "",
        f'    python {name}.py --model NAME --base-url http://localhost:8080/v1 {runtime.options} --request "..."',
        "",
        f"A frozen program for {model.get('weights', model['name'])}, verdict: {manifest['measured']['verdict']}. "
        "It needs the openai package and",
        "any server of that interface; OPENAI_API_KEY and OPENAI_BASE_URL are read from the environment.",
        *([f"Its weights have the SHA-256 {model['weights_sha256']}."] if model.get("weights_sha256") else []),
        "Samples are a .txt, .md or .jsonl file, or a folder of the first two.",
        "Left out: the leniency with which DSPy mends broken JSON (an answer that cannot be read is an error), other",
        "files of samples, and hypotheses edited by hand.",
        f"Manifest: {manifest['manifest_sha256']}.",
    ]
    return "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''") + "\n"


def _plain_dspy(frozen: Frozen) -> dict[str, str]:
    """program.json as DSPy's ``save`` writes it, what was measured, and how to load it."""
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
    plain, settings = isinstance(module, Plain), module.settings.value
    options = ""
    if plain:
        own = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        options = "".join(f", {key}={value!r}" for key, value in own.items() if value is not None)
        given = ", ".join(f"{field}=..." for field in manifest["inputs"])
    else:
        given = 'samples=["..."], request="..."' if manifest["task"] == "authorship" else 'request="..."'
    place, _, name = manifest["module"].partition(":")
    told = {"plain": plain, "settings": settings, "options": options, "given": given, "place": place, "name": name}
    return _filled("readme.md", m=manifest, **told)


def _filled(name: str, /, **values: Any) -> str:
    """A text that lies beside this file."""
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    return environment.from_string(Path(__file__).with_name(name).read_text(encoding="utf-8")).render(values)


def _promptfoo(frozen: Frozen) -> dict[str, str]:
    """promptfooconfig.yaml and a prompt function, which renders the very messages that the program sends."""
    runtime, program = _runtime_of(frozen.manifest), document_of(frozen)
    return {
        "promptfooconfig.yaml": _config(program, runtime),
        "prompt.py": _PROMPT.replace("RENDERER", runtime.renderer),
        "frozen_program.py": _module_text(program, "The messages of a frozen program.\n", runtime.renderer),
    }


def _config(program: Mapping[str, Any], runtime: _Runtime) -> str:
    """The last stage's messages as a prompt, the model as a provider, and a test."""
    model, text = program["model"]["name"], json.dumps
    settings = dict(program["stages"][runtime.stage]["settings"])
    if settings.get("temperature"):
        settings["seed"] = 0
    return _filled(
        "promptfooconfig.yaml",
        description=text(f"{program['program']} for {model}", ensure_ascii=False),
        provider=text(_provider(model)),
        settings=text(settings),
        vars=text({"input": runtime.variables}, ensure_ascii=False),
    )


def _provider(model: str) -> str:
    """A model's name as promptfoo has it; a model of this package is served by some OpenAI-compatible server."""
    provider, slash, name = model.partition("/")
    if provider == "openai" and slash:
        return f"openai:chat:{name}"
    return f"litellm:{model}" if slash else f"openai:chat:{model}"


def _hub(frozen: Frozen) -> dict[str, str]:
    """A repository folder for the Hugging Face Hub: what `load_frozen` reads, a model card, and what needs no package
    where there can be any.
    """
    tags = ["dspy", "prompt-optimization", "personalization", frozen.manifest["task"]]
    lines = ["library_name: dspy", "pipeline_tag: text-generation", f"tags: {json.dumps(tags)}"]
    front = "---\n" + "\n".join(lines) + "\n---\n\n"
    files = {
        "README.md": front + card(frozen.manifest, downloaded=True),
        "manifest.json": dump(frozen.manifest),
        "program.json": (frozen.folder / "program.json").read_text(encoding="utf-8"),
    }
    for form in (_messages, _script):
        try:
            files |= form(frozen)
        except UsageError:
            # This program cannot be said in this format.
            continue
    return files


_FORMATS: Mapping[str, Callable[[Frozen], dict[str, str]]] = {
    "messages": _messages,
    "script": _script,
    "dspy": _plain_dspy,
    "promptfoo": _promptfoo,
    "hub": _hub,
}


def upload(folder: Path, repository: str, manifest: Mapping[str, Any]) -> str:
    """Send a folder to a repository of the Hub, made as a private one where there is none. Returns its address.

    Raises:
        GateFailed: the program holds texts that are not public. MissingKey: no token. ModelError: the Hub said no.
    """
    if manifest["embedded_texts"]["private"]:
        raise GateFailed(
            "This program holds texts of users, which are not public; it is not uploaded.",
            fix="Compile one without --allow-private-demos.",
        )
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        name = f"{manifest['program']} for {manifest['model']['name']}"
        done = api.upload_folder(folder_path=folder, repo_id=repository, commit_message=name)
    except LocalTokenNotFoundError as error:
        raise MissingKey("The Hub wants a token.", fix="export HF_TOKEN=...   (or: hf auth login)") from error
    except HFValidationError as error:
        raise UsageError(f"{repository!r} is no repository's name: {error}", fix="--upload USER/NAME") from error
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 401:
            raise MissingKey("The Hub did not take the token.", fix="export HF_TOKEN=...") from error
        raise ModelError(f"The Hub said no: {error}") from error
    except httpx.HTTPError as error:
        raise ModelError(f"The Hub cannot be reached: {error}.", fix=f"The folder stands: {folder}") from error
    return str(done.repo_url)


def write_export(files: Mapping[str, str], place: Path, *, folder: bool = False) -> list[Path]:
    """Write an export: one file to ``place`` (into it, if it is a folder or is to be one), several into the folder
    ``place``, whole or not at all. An export of before is replaced; returns the paths in full.

    Raises:
        UsageError: something else is there, which is left alone. MissingFolder: it cannot be written.
    """
    place = place.resolve()
    if len(files) > 1:
        _refuse_others(files, place)
        write_folder(place, files)
        return [place / name for name in files]
    name, text = next(iter(files.items()))
    path = place / name if folder or place.is_dir() else place
    if path.is_file() and not _is_ours(path):
        raise UsageError(f"{path} is there, and is no export of before.", fix=_ELSEWHERE)
    write_text(path, text)
    return [path]


def _refuse_others(files: Mapping[str, str], place: Path) -> None:
    """Only what is not there, an empty folder, or an export of before may be replaced."""
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file, and this export is a folder.", fix=_ELSEWHERE)
    there = sorted(place.iterdir()) if place.is_dir() else []
    strange = [path.name for path in there if path.name not in files]
    if strange or (there and not any(map(_is_ours, there))):
        raise UsageError(f"{place} holds something else: {(strange or [there[0].name])[0]}.", fix=_ELSEWHERE)
    if place.is_dir() and Path.cwd().resolve().is_relative_to(place):
        raise UsageError(f"{place} is where you are, and cannot be put in place whole.", fix=_ELSEWHERE)


def _is_ours(path: Path) -> bool:
    """Whether a file says which manifest it was exported from."""
    try:
        return bool(_MARK.search(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
