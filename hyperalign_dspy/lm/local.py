"""A GGUF model in this process, as a DSPy engine.

The same request has the same text, whatever was asked before or is being asked beside it: see
`hyperalign_dspy.lm.replicas`. Drafts that differ only in the seed are made at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from dspy.lm15 import (
    ContextLengthError,
    InvalidRequestError,
    Message,
    Request,
    Response,
    ServerError,
    Usage,
)

from hyperalign_dspy.lm.listening import Tell, listener
from hyperalign_dspy.lm.messages import config_of, key_of, messages_of
from hyperalign_dspy.lm.models import local_path
from hyperalign_dspy.lm.replicas import CONCURRENCY, DRAFTS, cut_alike, replicas
from hyperalign_dspy.lm.siblings import expected
from hyperalign_dspy.markers import neutral

_MEMO = 512


class LocalEngine:
    """Answers `dspy.lm15.Request` from a GGUF file. Safe to call from many threads."""

    supports_response_schema = True
    supported_params = frozenset(
        {"temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "response_format", "frequency_penalty"}
    )
    concurrency = CONCURRENCY

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
        """How many drafts this request makes at once, for seeds in a row: see `siblings`."""
        return min(expected(), DRAFTS) if request.config.seed is not None else 1

    def close(self) -> None:
        """Nothing to do: replicas are shared and end with the process."""

    def dump_state(self) -> dict[str, str]:
        """Which model this is, without any path: the loader has its own file."""
        return {"model": self.model}

    @classmethod
    def load_state(cls, state: dict[str, str]) -> LocalEngine:
        """The engine of a saved state."""
        return cls(local_path(state["model"]), state["model"])

    def _ask(self, request: Request, count: int) -> list[Response]:
        body = {**_body(request), "n": count, "stream": True, "stream_options": {"include_usage": True}}
        prompt = "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
        with replicas(str(self.path)).server(prompt) as server:
            gathered = _Gathered(self.model, count, listener())
            reply = server.handle_chat_completions(
                {**body, "cache_prompt": True, "return_progress": True}, gathered.take
            )
            if gathered.spoilt:
                gathered = _Gathered(self.model, count, listener())
                reply = server.handle_chat_completions({**body, "cache_prompt": False}, gathered.take)
        return gathered.responses(reply)


class _Gathered:
    """The pieces of all siblings of one request, as they come; ``spoilt``: it was stopped before there were any, since
    they would depend on what was known of the prompt.
    """

    def __init__(self, model: str, count: int, tell: Tell | None) -> None:
        self.model, self._tell = model, tell
        self.texts = [""] * count
        self.reasons = ["stop"] * count
        self.usages: list[dict[str, Any]] = [{}] * count
        self._done: list[int] = []
        self._error: dict[str, Any] | None = None
        self.spoilt = False

    def take(self, chunk: Any) -> bool:
        """One piece from the runtime; True asks it to stop."""
        for part in chunk if isinstance(chunk, list) else [chunk]:
            self._error = self._error or part.get("error")
            read = part.get("prompt_progress")
            if read and not cut_alike(read["total"], read["cache"]):
                self.spoilt = True
                return True
            for choice in part.get("choices") or ():
                self._piece(choice)
            # A sibling's usage comes right after its end, without its number.
            if part.get("usage") and self._done:
                self.usages[self._done.pop(0)] = part["usage"]
        return False

    def responses(self, reply: Any) -> list[Response]:
        """One answer a sibling, in the order of their seeds."""
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
    messages = [{**m, "content": neutral(m["content"])} for m in messages_of(request)]
    config = config_of(request)
    schema = config.pop("response_format", None)
    body = {"messages": messages, **config}
    return {**body, **_held_to(schema)} if schema else body


def _held_to(response_format: dict[str, Any]) -> dict[str, Any]:
    """The grammar of a JSON schema, without the line breaks that a small model would spend half its tokens on."""
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
