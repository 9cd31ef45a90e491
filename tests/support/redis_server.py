"""A private Redis for tests: on loopback, on a free port, with an append-only file of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from tests.support.qbt import free_port

START_TIMEOUT_S = 30.0


class RedisServer:
    """`with RedisServer() as server: server.url`; survives `kill` and `start`.

    With "always", what it has answered is in its append-only file: it syncs before each answer.
    """

    def __init__(self, appendfsync: str = "always") -> None:
        self._appendfsync = appendfsync
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "Redis is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start, on the data that is there; returns once it answers."""
        assert self._process is None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("redis-server", "--bind", "127.0.0.1", "--port", str(self._port)),
                    *("--dir", str(self._folder), "--save", ""),
                    *("--appendonly", "yes", "--appendfsync", self._appendfsync),
                ],
                stdout=log,
                stderr=log,
            )
        client = redis.Redis.from_url(self.url, protocol=2)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.02)
        client.close()

    def kill(self) -> None:
        """SIGKILL, as the power would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def empty(self) -> None:
        client = redis.Redis.from_url(self.url, protocol=2)
        client.flushall()
        client.close()
