"""A model without weights, for testing plumbing: its answers come from a hash of the request."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage

from hyperalign_dspy.lm.engine import Engine, config_of, key_of, messages_of, token_callback
from hyperalign_dspy.lm.models import SCRIPTED

_WORDS = """the a of and to in it was on that for we they with as at by from but not had or all were when there
can out up about who get which go me make like time just know take into year your some them see other than then now
look only come over think also back after use two how our work first well way even new want because any give day most us
rain road bread window letter morning lamp river hand quiet?  really!  perhaps, however; so, yes. no.""".split()


class ScriptedEngine(Engine):
    """Deterministic words, or what ``answer`` returns; a JSON schema is obeyed. ``calls`` counts the calls;
    another ``name`` gives other words."""

    supports_response_schema = True
    supported_params = frozenset({"temperature", "max_tokens", "seed", "response_format", "stop", "top_p"})
    concurrency = 4

    def __init__(
        self, answer: Callable[[Request], str] | None = None, delay: float = 0.0, name: str = SCRIPTED
    ) -> None:
        self.calls = 0
        self._answer, self._delay, self._name = answer, delay, name
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Response:
        """An answer that depends on the request alone."""
        with self._lock:
            self.calls += 1
        time.sleep(self._delay)
        text = self._answer(request) if self._answer else _scripted(request, self._name)
        if tell := token_callback():
            for piece in re.findall(r"\s*\S+|\s+", text):
                tell(piece)
        asked = sum(len(m["content"].split()) for m in messages_of(request))
        return Response(
            None, SCRIPTED, Message.assistant(text), finish_reason="stop", usage=Usage(asked, len(text.split()))
        )


def _scripted(request: Request, name: str = SCRIPTED) -> str:
    digest = hashlib.sha256(key_of(name, request).encode()).digest()
    rng = random.Random(int.from_bytes(digest[:8], "big"))
    config = config_of(request)
    schema = config.get("response_format")
    if schema:
        inner = schema.get("schema") or schema.get("json_schema", {}).get("schema", {})
        return json.dumps(_value(inner, rng))
    return _words(rng, min(60, max(4, int(config.get("max_tokens") or 60) * 3 // 4)))


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def _value(schema: dict[str, Any], rng: random.Random) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    makers: dict[str, Callable[[], Any]] = {
        "object": lambda: {name: _value(part, rng) for name, part in schema.get("properties", {}).items()},
        "array": lambda: [_value(schema.get("items", {}), rng) for _ in range(schema.get("minItems", 1))],
        "integer": lambda: rng.randrange(10),
        "number": lambda: round(rng.random(), 3),
        "boolean": lambda: rng.random() < 0.5,
    }
    return makers.get(str(schema.get("type")), lambda: _words(rng, 8))()
