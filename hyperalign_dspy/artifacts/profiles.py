"""What is kept of a user: their samples, and what is believed of them. Text files, which their owner alone may read.

`profiles/<user>/` in the user's data folder holds:

profile.json                          the name as it was given
samples.jsonl                         what they wrote, one a line: text, and the request that it answers where known
hypotheses/<program>--<model>.jsonl   what is believed, one a line; to be corrected by hand
hypotheses/<program>--<model>.json    what it was inferred by and from
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import dspy
from filelock import FileLock

from hyperalign_dspy.artifacts.hypotheses import lines_of, read_hypotheses
from hyperalign_dspy.data.load import read_samples
from hyperalign_dspy.errors import DataError, UnknownName, UsageError
from hyperalign_dspy.files import digest, read_json, write_guard, write_json, write_text
from hyperalign_dspy.lm.engine import TokenCallback, streaming
from hyperalign_dspy.lm.models import public_name, slug
from hyperalign_dspy.program.infer import as_sample
from hyperalign_dspy.program.locate import user_data
from hyperalign_dspy.registry import unknown
from hyperalign_dspy.types import Hypothesis, Sample

_CHANGED = {
    "samples": "the samples have changed since",
    "infers": "the program infers in another way by now",
    "model": "they were inferred by {model}",
}

_log = logging.getLogger(__name__)


def _profiles() -> Path:
    """Where profiles lie."""
    return user_data() / "profiles"


@dataclass(frozen=True)
class _Believed:
    """A file of hypotheses, and what made them."""

    path: Path

    @property
    def made(self) -> dict[str, str]:
        """Program, model, and digests of how it infers and of the samples, as far as they are known: they say only
        whether the hypotheses are out of date.
        """
        try:
            return self._made()
        except DataError:
            return {}

    @property
    def program(self) -> str:
        """The program that inferred them."""
        return str(self.made.get("program") or self.path.stem.partition("--")[0])

    @property
    def model(self) -> str:
        """The model that inferred them."""
        return str(self.made.get("model") or self.path.stem.partition("--")[2])

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """As they stand now.

        Raises:
            DataError: a file that was edited into something else, with its line and what to do.
        """
        return read_hypotheses(self.path)

    @property
    def damaged(self) -> bool:
        """Whether the hypotheses, or what made them, cannot be read."""
        try:
            read_hypotheses(self.path)
            self._made()
        except DataError:
            return True
        return False

    def _made(self) -> dict[str, str]:
        path = self.path.with_suffix(".json")
        found = read_json(path) if path.exists() else {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Profile:
    """One user's folder; make one with `Profile.add` or `Profile.load`.

    Example:
        ada = Profile.add("ada", ["A text of mine.", "Another one!"])
        with dspy.context(lm=connect("local")):
            text = ada.write(HyPerAlign(), "Write about the rain.").text
    """

    name: str
    folder: Path

    @classmethod
    def add(cls, name: str, samples: Iterable[Sample | str]) -> Profile:
        """Keep samples of a user: a new one, or more of one who is there; those that are kept already stay as they are.

        Raises:
            UsageError: a name that cannot be kept, or that differs from a kept one in case only. DataError: no samples.
            MissingFolder: the user's data folder cannot be written.
        """
        name = _checked(name)
        given = list({s.text: s for sample in samples if (s := as_sample(sample)).text.strip()}.values())
        if not given:
            raise DataError("There are no texts to keep.", fix="Give some: --samples PATH")
        folder = _profiles() / _folder_name(name)
        with _alone():
            found = cls._at(folder)
            # With neither file, a process was stopped before it had written any.
            if found is None or not any((folder / file).exists() for file in ("profile.json", "samples.jsonl")):
                _own_folder(folder)
                write_json(folder / "profile.json", {"schema": "hyperalign/profile/1", "user": name}, private=True)
                found = cls(name, folder)
            if found.name != name:
                raise UsageError(
                    f"{name!r} would share the profile of {found.name!r}.",
                    fix=f"The same person? Then add to {found.name!r}; else take another name.",
                )
            # Samples that were deleted by hand are none; those that cannot be read are for a person to mend.
            kept = found.samples if (folder / "samples.jsonl").exists() else ()
            texts = {sample.text for sample in kept}
            rows = [
                {"text": s.text, **({"request": s.request} if s.request else {})}
                for s in (*kept, *(sample for sample in given if sample.text not in texts))
            ]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            _write_lines(folder / "samples.jsonl", lines)
            return found

    @classmethod
    def load(cls, name: str) -> Profile:
        """The profile of a user, however the name is capitalised.

        Raises:
            UnknownName: there is none. UsageError: no name at all.
        """
        found = cls._at(_profiles() / _folder_name(name))
        if found is None:
            error: UnknownName = unknown("profile", _checked(name), [profile.name for profile in cls.all()])
            error.fix += f" Make one: hyperalign profile add {quote(_checked(name))} --samples PATH"
            raise error
        return found

    @classmethod
    def all(cls) -> list[Profile]:
        """Everybody's, by name."""
        folders = _profiles().iterdir() if _profiles().is_dir() else ()
        found = [cls._at(folder) for folder in folders if not folder.name.startswith(".")]
        return sorted((profile for profile in found if profile), key=lambda profile: profile.name)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What the user wrote, in the order in which it was added.

        Raises:
            DataError: a file that was edited into something else, with its line.
        """
        return read_samples(self.folder / "samples.jsonl")

    def believed(self) -> list[_Believed]:
        """All that is believed of the user, by program and model."""
        return [_Believed(path) for path in sorted((self.folder / "hypotheses").glob("*.jsonl"))]

    def hypotheses(self, module: Any, program: str = "authorship", model: str = "") -> list[Hypothesis]:
        """What a program believes of the user: as kept, and inferred and kept the first time.

        ``module`` infers where it has to, with the model that DSPy is set to; ``model`` is its name. What was made by
        another state of the program, or from other samples, is used as it stands, since a person may have corrected it
        by hand; the log says so. What came through `correct` is the person's own word, and is never out of date.

        Raises:
            UsageError: a program without a stage that infers. DataError: see `_Believed.hypotheses`.
        """
        stage = _inferring_stage(module)
        now = {
            "program": program,
            "model": public_name(model or str(dspy.settings.lm.model)),
            "infers": digest(stage.inference_fingerprint())[:12],
            "samples": digest([[s.text, s.request] for s in self.samples])[:12],
        }
        path = self.place(program, now["model"])
        if not path.is_file():
            found = list(stage(samples=self.samples).hypotheses)
            self._believe(found, path, now)
            return found
        known = _Believed(path)
        made = known.made
        changed = [
            said.format(model=known.model) for key, said in _CHANGED.items() if made.get(key, now[key]) != now[key]
        ]
        if changed:
            _log.warning(
                "The hypotheses about %s may be out of date: %s. `hyperalign profile edit %s --forget` drops them, and "
                "the next run infers anew.",
                self.name,
                " and ".join(changed),
                quote(self.name),
            )
        return known.hypotheses

    def correct(self, known: _Believed, hypotheses: Iterable[Hypothesis]) -> None:
        """Put what a person says in place of what is believed."""
        self._believe(hypotheses, known.path, {"program": known.program, "model": known.model})

    def write(
        self,
        module: Any,
        request: str,
        *,
        program: str = "authorship",
        seed: int = 0,
        tell: TokenCallback | None = None,
    ) -> dspy.Prediction:
        """What a program writes as the user, with what is kept of them; see `hypotheses`.

        ``tell`` hears each draft while it is being made; see `hyperalign_dspy.lm.engine.streaming`.
        """
        known = self.hypotheses(module, program)
        with streaming(tell) if tell else nullcontext():
            return module(samples=list(self.samples), request=request, hypotheses=known, seed=seed)

    def place(self, program: str, model: str) -> Path:
        """Where the hypotheses for a program and a model are kept."""
        return self.folder / "hypotheses" / f"{slug(program)}--{slug(model)}.jsonl"

    def forget(self) -> None:
        """Drop all hypotheses; the samples stay."""
        shutil.rmtree(self.folder / "hypotheses", ignore_errors=True)

    def remove(self) -> None:
        """Delete everything that is kept of the user here."""
        with _alone(), write_guard(self.folder):
            shutil.rmtree(self.folder)

    def _believe(self, hypotheses: Iterable[Hypothesis], path: Path, made: Mapping[str, str]) -> None:
        _own_folder(path.parent)
        write_json(path.with_suffix(".json"), {"schema": "hyperalign/believed/1", **made}, private=True)
        _write_lines(path, lines_of(hypotheses))

    @classmethod
    def _at(cls, folder: Path) -> Profile | None:
        """The profile in a folder; where what says the name cannot be read, the folder's own stands for it."""
        if not folder.is_dir():
            return None
        try:
            return cls(_checked(str(read_json(folder / "profile.json")["user"])), folder)
        except (DataError, UsageError, KeyError, TypeError):
            return cls(folder.name, folder)


def _write_lines(path: Path, lines: str) -> None:
    # JSON can spell half a character, which is no text that a file could hold.
    write_text(path, lines.encode("utf-8", "replace").decode("utf-8"), private=True)


def _inferring_stage(module: Any) -> Any:
    stage = getattr(module, "infer", None)
    if not hasattr(stage, "inference_fingerprint"):
        raise UsageError(
            f"{type(module).__name__} has no stage of its own that infers, so nothing can be kept for it.",
            fix="Give the samples themselves: --samples PATH",
        )
    return stage


def _own_folder(path: Path) -> None:
    """A folder that its owner alone may enter."""
    with write_guard(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time changes who has a profile."""
    _own_folder(_profiles())
    with write_guard(_profiles()), FileLock(_profiles() / ".lock"):
        yield


_LONGEST = 100  # characters of a name
_READABLE = 40  # characters of it that a folder's name shows
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*")
# Names that some systems keep for devices, whatever ending they have.
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))})


def _checked(name: str) -> str:
    """A name without white space around it, in one of the forms that Unicode has for it.

    Raises:
        UsageError: it is empty, too long, or holds characters that cannot be seen.
    """
    found = unicodedata.normalize("NFC", name).strip()
    if not found:
        raise UsageError("The user's name is empty.", fix="Give one, like: hyperalign profile add ada --samples PATH")
    if len(found) > _LONGEST:
        raise UsageError(
            f"The user's name has {len(found)} characters; {_LONGEST} is the most.", fix="Take a shorter one."
        )
    # Controls, marks that turn the writing direction, halves of characters: two such names may look like one.
    strange = next((sign for sign in found if unicodedata.category(sign).startswith("C")), "")
    if strange:
        raise UsageError(f"The user's name holds U+{ord(strange):04X}, which cannot be seen.", fix="Leave it out.")
    return found


def _folder_name(name: str) -> str:
    """One folder for all spellings that differ in case or width only, on any file system.

    A plain name is the folder's own; any other shows what can be shown of it and, after a ~, which no plain name has,
    a digest. Raises: see `_checked`.
    """
    same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _checked(name)).casefold())
    if _PLAIN.fullmatch(same) and len(same) <= _READABLE and same.partition(".")[0] not in _DEVICES:
        return same
    shown = re.sub(r"[^a-z0-9]+", "-", same).strip("-")[:_READABLE] or "user"
    return f"{shown}~{hashlib.sha256(same.encode()).hexdigest()[:8]}"
