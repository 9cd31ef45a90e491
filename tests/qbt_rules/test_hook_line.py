"""The line that qBittorrent runs for each torrent: nobody looks when it fails."""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qbt_rules.hooks import hook_line


class BusyOnce(HTTPServer):
    """Says 503 first, as a server whose queue another program keeps locked."""

    asked: int = 0


class Answers(BaseHTTPRequestHandler):
    server: BusyOnce

    def do_POST(self) -> None:
        self.server.asked += 1
        self.send_response(503 if self.server.asked == 1 else 202)
        self.send_header("Retry-After", "1")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """A test says what is wrong by itself."""


@pytest.fixture
def server() -> Iterator[BusyOnce]:
    with BusyOnce(("127.0.0.1", 0), Answers) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_hook_asks_again_when_the_server_cannot_take_the_job_now(server: BusyOnce) -> None:
    line = hook_line(f"http://127.0.0.1:{server.server_port}", "on_added")
    done = subprocess.run(shlex.split(line), check=False, capture_output=True, text=True)

    assert (done.returncode, server.asked) == (0, 2), done.stderr
