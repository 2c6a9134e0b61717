"""An OpenAI-compatible server on this machine whose answers follow from messages and seed, whatever else is sent."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.resume.server import answer_to


class ChatServer:
    """Serves on a free port; ``bodies`` are the requests in the order in which they came, each answered after so many
    seconds.
    """

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.bodies: list[dict[str, Any]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def heard(self) -> list[dict[str, Any]]:
        """The requests since the last time."""
        found = list(self.bodies)
        self.bodies.clear()
        return found

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer goes out at once, and not after the client has confirmed its header.
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            time.sleep(server.latency)
            said = json.dumps(answer_to(json.dumps([body["messages"], body.get("seed")]))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
