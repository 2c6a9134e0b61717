"""A provider on this machine: an OpenAI-compatible server whose answers follow from the request alone."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

WORDS = (
    "rain again fine we walk anyway and the dog is wet so what nothing ends here I said but perhaps it does not matter "
    "much because someone always brings bread and salt to a table with no chairs"
).split()


@dataclass(frozen=True)
class Trouble:
    """What becomes of a request in place of an answer; ``drop``: the connection is closed without a word."""

    status: int = 429
    retry_after: str | None = None
    drop: bool = False


Mood = Callable[[int], Trouble | None]


def calm(number: int) -> None:
    """Every request is answered."""


class Server:
    """Serves on a free port. ``mood`` says what becomes of the n-th request, from 1; an answer takes ``delay`` seconds.

    ``answered`` counts the answers made for each request's body, also those whose client was gone; ``requests`` counts
    what came in, refused or not, and ``times`` says when (monotonic seconds); ``most`` is how many were here at once.
    """

    def __init__(self, mood: Mood = calm, delay: float = 0.0) -> None:
        self.mood, self.delay = mood, delay
        # Of a streamed answer: so many words are told before the connection breaks (None: all), each after a pause.
        self.told: int | None = None
        self.pause = 0.0
        self.requests = self.here = self.most = 0
        self.answered: Counter[str] = Counter()
        self.times: list[float] = []
        self._came = threading.Condition()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def environment(self) -> dict[str, str]:
        """What makes `--model openai/NAME` come here."""
        address = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        return {"OPENAI_API_BASE": address, "OPENAI_API_KEY": "sk-nobody"}

    @property
    def calls(self) -> int:
        """How many answers were made: what a provider would bill."""
        return sum(self.answered.values())

    def wait_for(self, count: int, alive: Callable[[], bool]) -> bool:
        """Until so many requests have come in all; False if ``alive`` ends first."""
        with self._came:
            while self.requests < count:
                if not alive():
                    return False
                self._came.wait(0.02)
        return True

    def came(self) -> int:
        """One more request; returns its number."""
        with self._came:
            self.requests += 1
            self.here += 1
            self.most = max(self.most, self.here)
            self.times.append(time.monotonic())
            self._came.notify_all()
            return self.requests

    def left(self) -> None:
        """One request less that is here."""
        with self._came:
            self.here -= 1

    def made(self, body: str) -> None:
        """One more answer to this request."""
        with self._came:
            self.answered[body] += 1

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed resets its connections, which is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def text_of(body: str) -> str:
    """Some sentences that follow from the request."""
    chance = random.Random(hashlib.sha256(body.encode()).hexdigest())
    sentences = (" ".join(chance.choices(WORDS, k=chance.randint(3, 9))).capitalize() for _ in range(4))
    return " ".join(sentence + chance.choice(".!?") for sentence in sentences)


def answer_to(body: str) -> dict[str, Any]:
    """A whole answer as the provider's interface has it."""
    text = text_of(body)
    given, made = len(body) // 4, len(text.split())
    return {
        "id": "answer",
        "object": "chat.completion",
        "created": 0,
        "model": "small",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made},
    }


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = self.rfile.read(size).decode()
            if len(body.encode()) < size:
                # Killed in the middle of a request: there is none.
                self.close_connection = True
                return
            trouble = server.mood(server.came())
            try:
                self._reply(body, trouble)
            finally:
                server.left()

        def _reply(self, body: str, trouble: Trouble | None) -> None:
            if trouble is None:
                server.made(body)
                time.sleep(server.delay)
                if json.loads(body).get("stream"):
                    self._stream(body)
                else:
                    self._send(200, answer_to(body))
            elif trouble.drop:
                self.close_connection = True
            else:
                headers = {} if trouble.retry_after is None else {"Retry-After": trouble.retry_after}
                self._send(trouble.status, {"error": {"message": "not now", "type": "trouble", "code": None}}, headers)

        def _stream(self, body: str) -> None:
            """A word at a time; what a server may cut off is its last words."""
            head = {"id": "answer", "object": "chat.completion.chunk", "created": 0, "model": "small"}
            words = re.findall(r"\S+\s*", text_of(body))
            last = {"choices": [], "usage": answer_to(body)["usage"]}
            choices = [{"index": 0, "delta": {"role": "assistant", "content": word}} for word in words]
            rows = [{"choices": [choice]} for choice in choices[: server.told]]
            if server.told is None:
                rows += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, last]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for row in rows:
                self._chunk(f"data: {json.dumps({**head, **row})}\n\n")
                time.sleep(server.pause)
            if server.told is None:
                self._chunk("data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def _chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def _send(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            data = json.dumps(content).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                # The client was killed meanwhile.
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
