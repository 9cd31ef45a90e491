"""A really running qbt-rules server on loopback, and ways to ask it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from tests.support.qbt import free_port, wait_for

KEY = "a-key-of-more-than-sixteen-characters"
NOBODY = "http://127.0.0.1:9"  # where no qBittorrent is
PROGRAM = (sys.executable, "-c", "from qbt_rules.cli import main; main()")


def environment(**names: str) -> dict[str, str]:
    """What a program of ours sees; nothing of the person who runs the tests."""
    measured = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    kept = ("PATH", "PYTHONPATH", "HOME", "LANG", *measured)
    return {name: os.environ[name] for name in kept if name in os.environ} | names


class RulesServer:
    """One server with a config folder of its own; `start` may be called again after `stop`."""

    def __init__(self, folder: Path, *flags: str, **names: str) -> None:
        """`names`: environment variables without QBT_RULES_."""
        self.folder = folder
        self.port = free_port()
        self._flags = flags
        settings = {
            "SERVER_API_KEY": KEY,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "CONFIG_DIR": str(folder),
            "QBITTORRENT_HOST": NOBODY,
        } | names
        self._environ = environment(**{f"QBT_RULES_{n}": value for n, value in settings.items()})
        self.variables: dict[str, str] = {}  # of others, like NOTIFY_SOCKET; for the next start
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def start(self) -> None:
        with (self.folder / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [*PROGRAM, "--serve", *self._flags],
                env=self._environ | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=self.folder,
            )
        wait_for(self._answers, f"the server to answer; it said: {self.log}", 60)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.log}"
        try:
            return requests.get(f"{self.url}/ping", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(35)
        finally:
            self.process.kill()
            self.process = None

    def ask(self, method: str, path: str, *, key: str | None = KEY, **more: Any) -> Any:
        headers = {"X-API-Key": key} if key is not None else {}
        return requests.request(
            method, self.url + path, headers=headers | more.pop("headers", {}), timeout=20, **more
        )

    def client(self, *words: str, **names: str) -> subprocess.CompletedProcess[str]:
        """Call `qbt-rules` as a person would who has set address and key."""
        given = {
            "CONFIG_DIR": str(self.folder),
            "CLIENT_SERVER_URL": self.url,
            "CLIENT_API_KEY": KEY,
        } | names
        return subprocess.run(
            [*PROGRAM, *words],
            env=environment(**{f"QBT_RULES_{name}": value for name, value in given.items()}),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def raw(self, sent: bytes, *, timeout_s: float = 15.0) -> bytes:
        """Everything that comes back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            connection.sendall(sent)
            received = b""
            while some := connection.recv(65536):
                received += some
            return received


@contextmanager
def running(folder: Path, *flags: str, **names: str) -> Iterator[RulesServer]:
    folder.mkdir(exist_ok=True)
    server = RulesServer(folder, *flags, **names)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop()
