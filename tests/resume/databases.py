"""Storages' servers: PostgreSQL, installed from Debian's packages where it is missing, and Optuna's gRPC proxy."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "tess", "p@ss/w:rd%"
# The password as a URL has it.
QUOTED = "p%40ss%2Fw%3Ard%25"
PROXY = """
import sys, optuna
from hyperalign_dspy.search.workers.storages import open_storage
optuna.storages.run_grpc_proxy_server(open_storage("journal:" + sys.argv[1]), host="localhost", port=int(sys.argv[2]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binaries() -> Path:
    """Where initdb is; skips where it cannot be had."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "postgresql"], capture_output=True, check=False)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not here, and cannot be installed from Debian's packages")
    return found[-1].parent


class Postgres:
    """A server of its own, in a folder, on a free port; `start` and `stop` as often as one likes."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.data, self.port = binaries(), folder / "data", free_port()
        folder.mkdir(parents=True)
        # It refuses to run as root.
        self.owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(folder, self.owner)
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", str(self.data), "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", str(self.data / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words]
        user = {"user": self.owner, "extra_groups": []} if os.geteuid() == 0 else {}
        # Not to a pipe: the server would keep it open.
        with (self.data.parent / f"{program}.log").open("w") as log:
            done = subprocess.run(command, cwd="/", stdout=log, stderr=log, check=False, **user)  # type: ignore[call-overload]
        assert done.returncode == 0, (self.data.parent / f"{program}.log").read_text()


@contextmanager
def proxy(folder: Path) -> Iterator[str]:
    """Optuna's gRPC proxy before a journal file; its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROXY, str(folder / "proxied.journal"), str(port)]
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"grpc://localhost:{port}"
    finally:
        process.kill()
        process.wait()
