"""Where a run is shared: a journal file on one machine, PostgreSQL or Optuna's gRPC proxy for many.

A URL may hold credentials. They go to the driver and nowhere else: what is written, shown or raised has `bare` URLs.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages.journal import JournalFileBackend, JournalStorage

from hyperalign_dspy.errors import Missing, MissingStorage, UsageError
from hyperalign_dspy.lm.records import drop_torn_line
from hyperalign_dspy.registry import unknown

VARIABLE = "HYPERALIGN_STORAGE"
_READY = 10.0  # seconds that a proxy may take to be there
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


class Journal(JournalFileBackend):
    """Optuna's journal file among processes that may be killed at any moment.

    The lock is the kernel's, so it ends with the process that holds it; half a line that a killed process left is taken
    off before the next is written. Nothing waits for the disk: a line outlives its process, as in a run's record. A new
    file is its owner's alone to read: people's texts pass through it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        super().__init__(str(path))
        self._path, self._guard = path, FileLock(f"{path}.lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """One line each."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._guard.acquire(poll_interval=0.002):
            drop_torn_line(self._path)
            with self._path.open("ab") as file:
                file.write(lines.encode())

    def blank(self, study: int, trials: Container[int]) -> None:
        """Take out what the attributes of a deleted study and of its trials said.

        Every line keeps its length: whoever reads this file remembers where each begins.
        """
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with self._guard, os.fdopen(handle, "wb") as fresh, self._path.open("rb") as lines:
                fresh.writelines(_blanked(line, study, trials) for line in lines)
                fresh.flush()
                shutil.copymode(self._path, name)
                os.replace(name, self._path)
        finally:
            Path(name).unlink(missing_ok=True)


def _blanked(line: bytes, study: int, trials: Container[int]) -> bytes:
    """A line of a journal without attributes, if it is about these."""
    log = json.loads(line) if line.endswith(b"\n") else {}
    if log.get("study_id") != study and log.get("trial_id") not in trials:
        return line
    kept = {**log, **{name: dict.fromkeys(log[name], 0) for name in ("user_attr", "user_attrs") if name in log}}
    return json.dumps(kept, separators=(",", ":")).encode().ljust(len(line) - 1) + b"\n"


@dataclass(frozen=True)
class Place:
    """Where a study is kept, beside others: a storage and the study's name; ``url`` where others reach it too."""

    storage: Any
    name: str
    url: str = ""

    def reached(self) -> AbstractContextManager[None]:
        """For what is done there; see `reached`."""
        return reached(self.url) if self.url else nullcontext()

    def cleared(self) -> Place:
        """The same place, with no study of that name in it."""
        if self.name in [study.study_name for study in self.storage.get_all_studies()]:
            self.storage.delete_study(self.storage.get_study_id_from_name(self.name))
        return self


def open_storage(url: str) -> Any:
    """An Optuna storage: ``journal:PATH`` or a path, ``postgresql://...``, ``grpc://HOST:PORT``.

    Raises:
        UsageError: no such kind of storage, or no URL of its kind. MissingStorage: it cannot be reached.
        Missing: its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opener = _OPENERS[_kind(bare(url))]
    with reached(url), _heard(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return opener(url)


def bare(url: str) -> str:
    """A URL without what could be a credential: kind, host, port and database; of a journal, its absolute path.

    Raises:
        UsageError: see `open_storage`.
    """
    kind = _kind(url)
    if kind == "journal":
        return f"journal:{_path(url).absolute()}"
    parts = _split(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{kind}://{host}{parts.path if kind == 'postgresql' else ''}"


def whole(url: str) -> str:
    """The URL with the credentials that $HYPERALIGN_STORAGE has for the same place; a run keeps none."""
    given = os.environ.get(VARIABLE, "")
    return given if given and bare(given) == bare(url) else url


def forget(url: str, study: int, trials: Container[int]) -> None:
    """Leave no text of a deleted study behind where deleting alone does: a journal only grows."""
    if _kind(url) == "journal":
        Journal(_path(url)).blank(study, trials)


def remove_journal(url: str) -> None:
    """Delete a journal that holds nothing else."""
    _path(url).unlink(missing_ok=True)


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turns every way in which a storage can fail into one.

    Raises:
        MissingStorage: with the driver's own words, less the credentials.
    """
    try:
        yield
    except _troubles() as error:
        said = (str(error.__cause__ or "").strip() or str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingStorage(
            f"The storage {bare(url)} cannot be used: {_without_secrets(said, url)}",
            fix=f"See that it is there, and that --storage or ${VARIABLE} holds what it takes to get in; the same "
            "command then goes on.",
        ) from None


@cache
def _troubles() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import SQLAlchemyError

    found: list[type[Exception]] = [StorageInternalError, SQLAlchemyError, OSError]
    with suppress(ImportError):
        found.append(importlib.import_module("grpc").RpcError)
    return tuple(found)


def _without_secrets(text: str, url: str) -> str:
    """The driver's words, cut short and without the credentials in any spelling."""
    if _kind(url) == "journal":
        return text[:300]
    parts = _split(url)
    secrets = [parts.password or "", *(value for name, value in parse_qsl(parts.query) if name not in ("host", "port"))]
    for spelling in sorted({s for secret in secrets for s in _spellings(secret)}, key=len, reverse=True):
        text = text.replace(spelling, "...")
    for spelling in _spellings(parts.username or ""):
        text = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", "...", text)
    return text[:300]


def _spellings(secret: str) -> set[str]:
    plain = unquote(secret)
    return {secret, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)} - {""}


def _split(url: str) -> SplitResult:
    """The parts of a URL of a server.

    Raises:
        UsageError: it is none; or a password in it was not quoted, so that a piece could pass for something else.
    """
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        sound = False
    if not sound or "@" in parts.path + parts.query + parts.fragment:
        raise _no_url(_kind(url)) from None
    return parts


def _kind(url: str) -> str:
    match = _SCHEME.match(url)
    kind = match[1].partition("+")[0] if match else "journal"
    if kind not in _OPENERS:
        raise unknown("kind of storage", kind, list(_OPENERS))
    return kind


def _no_url(kind: str) -> UsageError:
    return UsageError(f"This is no URL of a {kind} storage.", fix=f"Give one like {_EXAMPLES[kind]}.")


def _path(url: str) -> Path:
    return Path(url.removeprefix("journal:")).expanduser()


def _journal(url: str) -> Any:
    return JournalStorage(Journal(_path(url)))


def _postgresql(url: str) -> Any:
    _demand("psycopg", "postgres")
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise _no_url("postgresql") from None
    return optuna.storages.get_storage(_tables(address.render_as_string(hide_password=False)))


def _tables(address: str) -> Any:
    """Optuna's storage there. In an empty database two processes may both be about to make its tables: one of them has
    to try again.
    """
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    # Every call in flight may be about to be written down.
    rooms = {"pool_size": 8, "max_overflow": 120, "pool_pre_ping": True}
    for _ in range(3):
        with suppress(IntegrityError, ProgrammingError):
            return optuna.storages.RDBStorage(address, engine_kwargs=rooms)
        time.sleep(1.0)
    return optuna.storages.RDBStorage(address, engine_kwargs=rooms)


def _grpc(url: str) -> Any:
    parts = urlsplit(bare(url))
    if not parts.hostname or not parts.port:
        raise _no_url("grpc")
    _demand("grpc", "grpc")
    proxy = optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)
    proxy.wait_server_ready(timeout=_READY)
    return proxy


def _demand(module: str, extra: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise Missing(
            f"This storage wants the package {module}, which is not installed.",
            fix=f"pip install 'hyperalign-dspy[{extra}]'",
        ) from error


@contextmanager
def _heard() -> Iterator[None]:
    """Optuna's relational storage sets logging up anew and silences all loggers, unless somebody did so before."""
    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addHandler(placeholder)
    try:
        yield
    finally:
        root.removeHandler(placeholder)


_EXAMPLES = {
    "postgresql": "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for an @ in the password and so on",
    "grpc": "grpc://HOST:PORT",
}
_OPENERS: dict[str, Callable[[str], Any]] = {"journal": _journal, "postgresql": _postgresql, "grpc": _grpc}
