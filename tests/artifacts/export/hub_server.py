"""The few addresses of the Hub that an upload of small files asks, on this machine."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class HubServer:
    """Takes one repository. ``asked`` are the paths, ``made`` what it was made with, ``files`` what was committed."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[str] = []
        self.made: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """What the Hub says to a request."""
        self.asked.append(path)
        where = {"url": f"{self.address}/me/mine", "name": "me/mine", "id": "me/mine"}
        if path.endswith("/repos/create"):
            self.made = json.loads(body)
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in path:
            rows = [json.loads(line)["value"] for line in body.decode().splitlines()]
            self.files = {row["path"]: base64.b64decode(row["content"]) for row in rows if "path" in row}
            return {"commitUrl": f"{self.address}/me/mine/commit/{'0' * 40}", "commitOid": "0" * 40}
        return where


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _say(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = json.dumps(hub.answer(self.path, body) if hub.status == 200 else {"error": "no"}).encode()
            self.send_response(hub.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = _say

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler
