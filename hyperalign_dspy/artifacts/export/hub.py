"""A repository folder for the Hugging Face Hub: the frozen program, its messages, a script, and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperalign_dspy.artifacts.card import card
from hyperalign_dspy.artifacts.export.messages import Messages
from hyperalign_dspy.artifacts.export.script import Script
from hyperalign_dspy.artifacts.frozen import Frozen
from hyperalign_dspy.errors import GateFailed, MissingKey, ModelError, UsageError
from hyperalign_dspy.files import dump


class Hub:
    """What `load_frozen` reads, and what needs no package, side by side."""

    def files(self, frozen: Frozen) -> Mapping[str, str]:
        """README.md, manifest.json, program.json, and messages.json and a script where there can be any."""
        return {
            "README.md": _front(frozen.manifest) + card(frozen.manifest, downloaded=True),
            "manifest.json": dump(frozen.manifest),
            "program.json": (frozen.folder / "program.json").read_text(encoding="utf-8"),
            **_said(Messages(), frozen),
            **_said(Script(), frozen),
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


def _front(manifest: Mapping[str, Any]) -> str:
    """The card's metadata, as the Hub reads it."""
    tags = ["dspy", "prompt-optimization", "personalization", manifest["task"]]
    lines = ["library_name: dspy", "pipeline_tag: text-generation", f"tags: {json.dumps(tags)}"]
    return "---\n" + "\n".join(lines) + "\n---\n\n"


def _said(exporter: Any, frozen: Frozen) -> Mapping[str, str]:
    """The files of another format; none where this program cannot be said in it."""
    try:
        return dict(exporter.files(frozen))
    except UsageError:
        return {}
