"""An HTTP server in front of a client that writes down what is asked, and fails when told to."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PASSED_ON = ("Cookie", "Content-Type", "Accept")


class RecordingProxy:
    """Passes each request on to `target`; without one, answers 200 with `answer` to all.

    While broken, nothing is passed on: "500" is answered at once, "hang" not before it is mended.
    What is asked of a path that ends in `loses` is done, and its answer lost.
    """

    def __init__(self, target: str | None, *, answer: bytes = b"") -> None:
        self.requests: list[str] = []  # "POST /api/v2/auth/login", in order
        self.fault, self.loses = "", ""
        self.healthy = threading.Event()
        self.healthy.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, target, answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def break_down(self, fault: str) -> None:
        self.fault = fault
        self.healthy.clear()

    def mend(self) -> None:
        self.fault = ""
        self.healthy.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.mend()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _pass_on(handler: _Handler, host: str, body: bytes, loses: str) -> None:
    handler.close_connection = True  # unless an answer came
    headers = {key: handler.headers[key] for key in PASSED_ON if key in handler.headers}
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request(handler.command, handler.path, body, headers)
        answered = connection.getresponse()
        if loses and urlsplit(handler.path).path.endswith(loses):
            return
        kept = {k: v for k, v in answered.getheaders() if k.lower() == "set-cookie"}
        kept["Content-Type"] = answered.getheader("Content-Type", "text/plain")
        handler.reply(answered.status, kept, answered.read())


def _handler(
    proxy: RecordingProxy, target: str | None, answer: bytes
) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.requests.append(f"{self.command} {urlsplit(self.path).path}")
            if proxy.fault == "hang":
                proxy.healthy.wait(60)
                self.close_connection = True  # what was asked is never done
            elif proxy.fault:
                self.reply(int(proxy.fault), {}, b"told to fail")
            elif target is None:
                self.reply(200, {}, answer)
            else:
                with suppress(OSError):  # the client behind is gone
                    _pass_on(self, urlsplit(target).netloc, body, proxy.loses)

    return Handler
