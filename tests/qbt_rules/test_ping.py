"""The health check of the container: whether the web process answers, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.qbt import free_port

from qbt_rules import ping


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/ping" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as it is inherited
        """Not into the test's output."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_answers_is_alive_wherever_its_port_was_set(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QBT_RULES_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config.yml").write_text(f"server: {{host: 0.0.0.0, port: {port}}}\n")
    assert ping.main() == 0
    monkeypatch.setattr(Answering, "status", 500)
    assert ping.main() == 1
    assert capsys.readouterr().err == f"127.0.0.1, port {port} answers with 500\n"


def test_a_server_that_is_not_there_or_not_to_be_found_is_not_alive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("QBT_RULES_SERVER_PORT", str(port))
    assert ping.main() == 1
    assert f"no answer from 127.0.0.1, port {port}: " in capsys.readouterr().err
    monkeypatch.setenv("QBT_RULES_SERVER_PORT", "five")
    assert ping.main() == 1
    assert "server.port: 'five' is not a whole number" in capsys.readouterr().err
