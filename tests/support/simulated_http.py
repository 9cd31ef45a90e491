"""The HTTP side of the simulated client: forms, sessions, and faults on demand."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import json
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PREFIX = "/api/v2/"
BAN_AFTER = 5  # failed logins
Answer = str | bytes | list[Any] | dict[str, Any]


class Refusal(Exception):
    """An answer with an error status and the client's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass
class Form:
    """Parameters of a request; `blobs` are uploaded files."""

    values: dict[str, str] = field(default_factory=dict)
    blobs: list[bytes] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def need(self, name: str) -> str:
        if name not in self.values:
            raise Refusal(400, f"Missing required parameters: {name}")
        return self.values[name]

    def flag(self, name: str) -> bool:
        return self.get(name).lower() == "true"


@dataclass
class Fault:
    """Something that goes wrong with some requests of one endpoint."""

    endpoint: str  # "torrents/info"
    how: str  # see SimulatedClient.break_endpoint
    first: int = 1  # the first request it hits, counted from when the fault was set
    times: int = 1_000_000
    seen: int = 0

    def hits(self, endpoint: str) -> bool:
        if endpoint != self.endpoint:
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


class ApiServer(ThreadingHTTPServer):
    """Serves `answer(endpoint, form)` under /api/v2/ on a loopback port."""

    daemon_threads = True
    request_queue_size = 128  # many clients at once

    def __init__(
        self,
        port: int,
        answer: Callable[[str, Form], Answer],
        *,
        username: str,
        password: str,
    ) -> None:
        """With an empty password everybody on loopback is let in, as with LocalHostAuth=false."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self.username, self.password = username, password
        self.sessions: set[str] = set()
        self.failed_logins = 0
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self.connections: set[socket.socket] = set()
        self._loop = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._loop.start()

    def end(self) -> None:
        """Stop at once; requests under way get no answer."""
        self.over.set()
        self.shutdown()
        self._loop.join()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"  # a connection serves many requests, as the real client's do
    disable_nagle_algorithm = True  # head and body are written one after the other

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self._serve(Form(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._serve(_form(self.headers.get("Content-Type", ""), body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def _serve(self, form: Form) -> None:
        path = urlsplit(self.path).path
        endpoint = path.removeprefix(PREFIX)
        self.server.counts[endpoint] += 1
        self._new_session = ""
        fault = next((fault for fault in self.server.faults if fault.hits(endpoint)), None)
        if fault and self._fails_before(fault):
            return
        try:
            if not path.startswith(PREFIX):
                raise Refusal(404, "Not Found")
            status, answer = 200, self._answer(endpoint, form)
        except Refusal as why:
            status, answer = why.status, why.words
        if self.server.over.is_set() or (fault and fault.how == "after"):
            self.close_connection = True
            return
        self._send(status, _encoded(answer, fault))

    def _fails_before(self, fault: Fault) -> bool:
        """True when the request is over without having reached the client."""
        if fault.how.isdecimal():
            self._send(int(fault.how), HTTPStatus(int(fault.how)).phrase.encode())
        elif fault.how == "ignore":
            self._send(200, b"")
        elif fault.how == "hang":
            self.server.over.wait()
        elif fault.how != "drop":
            return False
        self.close_connection = True
        return True

    def _answer(self, endpoint: str, form: Form) -> Answer:
        if endpoint == "auth/login":
            return self._log_in(form)
        if self.server.password and not self._known():
            raise Refusal(403, "Forbidden")
        return self.server.answer(endpoint, form)

    def _log_in(self, form: Form) -> Answer:
        server = self.server
        if server.failed_logins >= BAN_AFTER:
            raise Refusal(
                403,
                "Your IP address has been banned after too many failed authentication attempts.",
            )
        right = (form.get("username"), form.get("password")) == (server.username, server.password)
        if server.password and not right:
            server.failed_logins += 1
            return "Fails."
        self._new_session = secrets.token_hex(16)
        server.sessions.add(self._new_session)
        return "Ok."

    def _known(self) -> bool:
        cookie = SimpleCookie(self.headers.get("Cookie", ""))
        return "SID" in cookie and cookie["SID"].value in self.server.sessions

    def _send(self, status: int, body: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            if self._new_session:
                self.send_header("Set-Cookie", f"SID={self._new_session}; HttpOnly; path=/")
            self.send_header("Content-Type", "text/plain; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def _encoded(answer: Answer, fault: Fault | None) -> bytes:
    if isinstance(answer, bytes):
        body = answer
    elif isinstance(answer, str):
        body = answer.encode()
    else:
        body = json.dumps(answer).encode()
    if fault is None:
        return body
    if fault.how == "half":
        return body[: len(body) // 2]
    return b"<html>502 gateway</html>" if fault.how == "garble" else fault.how.encode()


def _form(kind: str, body: bytes) -> Form:
    if not kind.startswith("multipart/form-data"):
        return Form(dict(parse_qsl(body.decode(), keep_blank_values=True)))
    form = Form()
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    for part in message.iter_parts():
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        name = part.get_param("name", header="Content-Disposition")
        if part.get_filename() is not None:
            form.blobs.append(data)
        else:
            form.values[str(name)] = data.decode()
    return form
