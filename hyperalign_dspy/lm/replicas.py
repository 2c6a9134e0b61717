"""Replicas of one GGUF model in this process, each answering one request at a time on threads of its own.

What a replica has read it keeps, and a prompt that begins alike is read on from there; so a prompt goes to the replica
that knows most of it. No text depends on that: the runtime computes a token alike wherever the prompt is cut before it,
but for a piece of a single token, which another kernel computes. So nothing is read while something else is written,
which would cut it after its first token, and see `cut_alike`.

The runtime cannot do without listening somewhere, and nobody asked for that: see `_unreachable`.
"""

from __future__ import annotations

import bisect
import os
import secrets
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hyperalign_dspy.errors import BadWeights, MissingWeights

# Requests in flight that are worth having: every replica's next one waits for it.
CONCURRENCY = 4
DRAFTS = 4  # made of one prompt at once
CONTEXT = 4096  # tokens a draft
_BATCH = 2048  # tokens that are read at once
_MOST_REPLICAS, _MOST_THREADS = 2, 4
# MiB of what was read that all keep, beside each draft's last prompt; prompts that are looked through for a beginning.
_KEPT, _PROMPTS = 512, 64
# Bytes of a socket's name that every system takes.
_LONGEST_SOCKET = 100


class _Replica:
    """One server, who is with it, and what it has read lately."""

    def __init__(self, path: str, threads: int, kept: int) -> None:
        self.server = _start(path, threads, kept)
        self.turn = threading.Lock()
        self.requests = 0
        self.prompts: deque[str] = deque(maxlen=_PROMPTS)

    def knows(self, prompt: str) -> int:
        """Characters of the prompt's beginning that were read before; 0 if that is less than half of it."""
        most = max((_shared(prompt, other) for other in self.prompts), default=0)
        return most if 2 * most > len(prompt) else 0


class Replicas:
    """All replicas of one file. A request that is alone has one with all threads; as soon as requests come at once,
    there is one for each of two cores: threads of their own never wait for one another, whatever else keeps the machine
    busy.
    """

    def __init__(self, path: str, cores: int) -> None:
        self._path, self._cores = path, cores
        self._count = min(cores, _MOST_REPLICAS)
        self._changed = threading.Condition()
        self._all: list[_Replica] = []

    @property
    def address(self) -> str:
        """Where the first one's runtime says that it listens."""
        return str(self._all[0].server.listening_address)

    @contextmanager
    def server(self, prompt: str) -> Iterator[Any]:
        """A server that is about to read this prompt and does nothing else meanwhile."""
        replica = self._join(prompt)
        try:
            with replica.turn:
                yield replica.server
        finally:
            with self._changed:
                replica.requests -= 1
                self._changed.notify_all()

    def _join(self, prompt: str) -> _Replica:
        with self._changed:
            if not self._all:
                self._begin(1)
            if len(self._all) < self._count and self._requests:
                self._changed.wait_for(lambda: len(self._all) == self._count or not self._requests)
                # The one that has all threads becomes several that share them.
                if len(self._all) < self._count:
                    self._divide()
            self._changed.wait_for(self._open)
            replica = min(self._open(), key=lambda each: (-each.knows(prompt), each.requests))
            replica.requests += 1
            replica.prompts.append(prompt)
            return replica

    @property
    def _requests(self) -> int:
        return sum(replica.requests for replica in self._all)

    def _divide(self) -> None:
        try:
            self._begin(self._count)
        except BadWeights:
            # One could be loaded before: there is no room for several.
            self._count = 1
            self._begin(1)

    def _begin(self, count: int) -> None:
        """So many replicas in place of those that are there, whose memory goes first."""
        self._all.clear()
        threads = min(self._cores // count, _MOST_THREADS)
        self._all += [_Replica(self._path, threads, _KEPT // self._count) for _ in range(count)]

    def _open(self) -> list[_Replica]:
        """Those that take another request: its neighbours are to find one, too."""
        return [replica for replica in self._all if replica.requests < CONCURRENCY // self._count]


def cut_alike(tokens: int, known: int) -> bool:
    """Whether a prompt of so many tokens, of which the first ``known`` are not read again, has no piece of a single
    token, be it read whole or from there.
    """
    return 1 not in (tokens % _BATCH, (tokens - known) % _BATCH)


_STARTING = threading.Lock()


def replicas(path: str) -> Replicas:
    """The replicas of a file, the same for all of this process.

    Raises:
        MissingWeights: no such file. BadWeights: not a model.
    """
    with _STARTING:
        check_magic(Path(path))
        return _started(path)


@lru_cache(maxsize=2)
def _started(path: str) -> Replicas:
    return Replicas(path, _cores())


def check_magic(path: Path) -> None:
    """Refuse what is plainly no GGUF file before a runtime meets it.

    Raises:
        MissingWeights: no such file. BadWeights: not GGUF.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise MissingWeights(
            f"There are no weights at {path}.", fix="Fetch the embedded model with `hyperalign models pull`."
        ) from error
    if magic != b"GGUF":
        raise BadWeights(f"{path} is not a GGUF file.", fix="Give another file, or `hyperalign models pull`.")


def _start(path: str, threads: int, kept: int) -> Any:
    import xllamacpp as runtime

    params = runtime.CommonParams()
    params.model.path = path
    params.n_parallel, params.n_ctx, params.kv_unified = DRAFTS, CONTEXT * DRAFTS, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_ubatch = params.n_batch = _BATCH
    # With flash attention a text depends on how its prompt was cut.
    params.flash_attn_type = runtime.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_ram_mib, params.warmup, params.verbosity = kept, False, -1
    try:
        with _unreachable(params):
            return runtime.Server(params)
    except (RuntimeError, ValueError) as error:
        raise BadWeights(
            f"The runtime cannot load {path}: {error}.",
            fix="Check it with `hyperalign models check`, or get it again.",
        ) from error


@contextmanager
def _unreachable(params: Any) -> Iterator[None]:
    """Let a server that starts within listen where nobody can call it.

    On a socket in a folder of the user's alone, which is removed once the server stands: a socket without a name takes
    no connection. Where there are no such sockets, or their name would be too long, it is a loopback port that
    answers nothing without a secret key, and no page of another origin.
    """
    params.api_keys = [secrets.token_urlsafe(32)]
    params.cors_origins = ""
    params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = params.ui = False
    with tempfile.TemporaryDirectory(prefix="hyperalign-") as folder:
        name = os.path.join(folder, "llama.sock")
        if hasattr(socket, "AF_UNIX") and len(os.fsencode(name)) <= _LONGEST_SOCKET:
            params.hostnames = [name]
        yield


def _shared(one: str, other: str) -> int:
    """Characters of the beginning that two texts have in common."""
    shorter = min(len(one), len(other))
    return bisect.bisect_left(range(shorter), True, key=lambda end: one[: end + 1] != other[: end + 1])


def _cores() -> int:
    """How many cores this process may use: more threads than that wait for each other at every step."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
