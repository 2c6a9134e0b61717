"""A GGUF model in this process, as a DSPy engine.

Flash attention and the prompt cache are off: with either, a text depends on what else was asked before or at the
same time. The prompt's work is shared where it can be shared without that: between drafts that differ only in the
seed. Prompts are read one at a time, while earlier requests are being answered.

The runtime cannot do without listening somewhere, and nobody asked for that: see `_unreachable`.
"""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from dspy.lm15 import ContextLengthError, InvalidRequestError, Message, Request, Response, ServerError, Usage

from hyperalign_dspy.errors import BadWeights, MissingWeights
from hyperalign_dspy.lm.engine import (
    Engine,
    TokenCallback,
    completions_expected,
    config_of,
    key_of,
    messages_of,
    token_callback,
)
from hyperalign_dspy.lm.escape import escape_control_tokens

_SLOTS = 8
_CONTEXT = 4096  # tokens a slot
_MEMO = 512
# Bytes of a socket's name that every system takes.
_LONGEST_SOCKET = 100


class LocalEngine(Engine):
    """Answers `dspy.lm15.Request` from a GGUF file. Safe to call from many threads; one server a file a process."""

    supports_response_schema = True
    supported_params = frozenset(
        {"temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "response_format", "frequency_penalty"}
    )
    # Requests in flight; each may hold several drafts, and the server queues what does not fit its slots.
    concurrency = 4

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = Path(path), model
        self._memo: OrderedDict[tuple[str, int], Response] = OrderedDict()
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Response:
        """One answer.

        Raises:
            ContextLengthError: the prompt does not fit, with both numbers. ServerError: the runtime failed.
            BadWeights: the file is no model. MissingWeights: it is not there.
        """
        seed = request.config.seed
        family = key_of(self.model, request, without_seed=True)
        if seed is not None:
            with self._lock:
                known = self._memo.pop((family, seed), None)
            if known is not None:
                return known
        answers = self._ask(request, self.drafts(request))
        with self._lock:
            for place, answer in enumerate(answers[1:], 1):
                self._memo[family, (seed or 0) + place] = answer
            while len(self._memo) > _MEMO:
                self._memo.popitem(last=False)
        return answers[0]

    def drafts(self, request: Request) -> int:
        """As many as are expected and fit; one where no seed tells them apart."""
        return min(completions_expected(), _SLOTS) if request.config.seed is not None else 1

    def _ask(self, request: Request, count: int) -> list[Response]:
        body = {**_body(request), "n": count, "stream": True, "stream_options": {"include_usage": True}}
        gathered = _Gathered(self.model, count, token_callback())
        server = _server(self.path)
        gate = _Gate()
        try:
            reply = server.handle_chat_completions(body, lambda chunk: gathered.take(chunk, gate))
        finally:
            gate.open()
        return gathered.responses(reply)


class _Gate:
    """Holds other prompts back until this one's prompt has been read.

    Two prompts read in one batch are cut to equal lengths, and a piece of a single token is computed by another kernel:
    then a text would depend on its neighbours. Drafts being written do no such harm, so they go on meanwhile.
    """

    _READING = threading.Lock()

    def __init__(self) -> None:
        self._READING.acquire()
        self._closed = True

    def open(self) -> None:
        """Let the next prompt in; again is harmless."""
        if self._closed:
            self._closed = False
            self._READING.release()


class _Gathered:
    """The pieces of all siblings of one request, as they come."""

    def __init__(self, model: str, count: int, tell: TokenCallback | None) -> None:
        self.model, self._tell = model, tell
        self.texts = [""] * count
        self.reasons = ["stop"] * count
        self.usages: list[dict[str, Any]] = [{}] * count
        self._done: list[int] = []
        self._error: dict[str, Any] | None = None

    def take(self, chunk: Any, gate: _Gate) -> bool:
        """One piece from the runtime; False asks it to go on."""
        gate.open()
        for part in chunk if isinstance(chunk, list) else [chunk]:
            self._error = self._error or part.get("error")
            for choice in part.get("choices") or ():
                self._piece(choice)
            # A sibling's usage comes right after its end, without its number.
            if part.get("usage") and self._done:
                self.usages[self._done.pop(0)] = part["usage"]
        return False

    def responses(self, reply: Any) -> list[Response]:
        error = self._error or (reply or {}).get("error")
        if error:
            raise _error(error)
        return [self._response(place) for place in range(len(self.texts))]

    def _piece(self, choice: dict[str, Any]) -> None:
        place = int(choice["index"])
        piece = (choice.get("delta") or {}).get("content") or ""
        self.texts[place] += piece
        if self._tell and piece and place == 0:
            self._tell(piece)
        if choice.get("finish_reason"):
            self.reasons[place] = choice["finish_reason"]
            self._done.append(place)

    def _response(self, place: int) -> Response:
        usage = self.usages[place]
        return Response(
            id=None,
            model=self.model,
            message=Message.assistant(self.texts[place]),
            finish_reason="length" if self.reasons[place] == "length" else "stop",
            usage=Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)),
        )


def _body(request: Request) -> dict[str, Any]:
    messages = [{**m, "content": escape_control_tokens(m["content"])} for m in messages_of(request)]
    config = config_of(request)
    schema = config.pop("response_format", None)
    body = {"messages": messages, "cache_prompt": False, **config}
    return {**body, **_held_to(schema)} if schema else body


def _held_to(response_format: dict[str, Any]) -> dict[str, Any]:
    """The grammar of a JSON schema, without line breaks: they would take half a small model's tokens."""
    if response_format.get("type") != "json_schema":
        return {"response_format": response_format}
    import xllamacpp as runtime

    schema = response_format.get("schema") or response_format["json_schema"]["schema"]
    compact = {**schema, "x-guidance": {"whitespace_flexible": False}}
    return {"grammar": runtime.json_schema_to_grammar(compact)}


def _error(error: dict[str, Any]) -> Any:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        tokens, room = error.get("n_prompt_tokens"), error.get("n_ctx")
        return ContextLengthError(f"The prompt has {tokens} tokens; the context holds {room}.")
    if error.get("code") in (400, 422):
        return InvalidRequestError(message)
    return ServerError(message)


@lru_cache(maxsize=2)
def _started(path: str) -> Any:
    import xllamacpp as runtime

    params = runtime.CommonParams()
    params.model.path = path
    params.n_parallel, params.n_ctx, params.kv_unified = _SLOTS, _CONTEXT * _SLOTS, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(_cores(), 4)
    params.n_ubatch = params.n_batch
    params.flash_attn_type = runtime.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_ram_mib, params.warmup, params.verbosity = 0, False, -1
    try:
        with _unreachable(params):
            return runtime.Server(params)
    except (RuntimeError, ValueError) as error:
        raise BadWeights(
            f"The runtime cannot load {path}: {error}.",
            fix="Check it with `hyperalign doctor --model local`, or get it again.",
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


_STARTING = threading.Lock()


def _server(path: Path) -> Any:
    """The one server of a file; what is plainly no GGUF file never meets the runtime."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise MissingWeights(
            f"There are no weights at {path}.", fix="Fetch the embedded model with `hyperalign models pull`."
        ) from error
    if magic != b"GGUF":
        raise BadWeights(f"{path} is not a GGUF file.", fix="Give another file, or `hyperalign models pull`.")
    with _STARTING:
        return _started(str(path))


def _cores() -> int:
    """How many cores this process may use: more threads wait for each other at every step."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
