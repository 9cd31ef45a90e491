"""A gunicorn worker that no slow client can stop.

Gunicorn's thread worker reads a request's head in a thread of its pool, which waits as long as the
client likes, and says goodbye to a client in its main loop, for up to two seconds each.  Here the
main loop collects the heads of all connections without waiting, and a thread starts when a head is
complete; farewells wait in the loop too.  Bodies are not read: nothing in the API looks at one.

Requests that change something wait for the queue, which somebody may keep locked; they have threads
of their own, so that whoever only reads, or asks whether the server lives, is answered meanwhile.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import secrets
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from qbt_rules.api_security import HEADERS
from qbt_rules.asked import asked_at
from seedkeep.text import printable

HEAD_S = 5.0  # for a complete head
SEND_S = 10.0  # for a client to take some of its answer
FAREWELL_S = 2.0  # for a client to close after its answer
LARGEST_HEAD = 32 * 1024  # bytes; gunicorn's own limits of lines and fields are lower
_END = b"\r\n\r\n"
_TOO_LARGE = "Request Header Fields Too Large"
_NEW_LIMITS = (66, 67)  # SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW: a 32-bit Python with 64-bit times


def time_limit(option: int, limit_s: float) -> bytes:
    """The struct timeval that the kernel wants for SO_SNDTIMEO or SO_RCVTIMEO."""
    return struct.pack("qq" if option in _NEW_LIMITS else "ll", int(limit_s), 0)


_ANSWERS: tuple[tuple[type[BaseException], tuple[int, str]], ...] = (
    (LimitRequestLine, (414, "URI Too Long")),
    (LimitRequestHeaders, (431, _TOO_LARGE)),
    (UnsupportedTransferCoding, (501, "Not Implemented")),
    (ParseException, (400, "Bad Request")),
)


class Kind(enum.Enum):
    """What a request needs a thread for."""

    CHANGE = enum.auto()  # waits for the queue to take something
    READ = enum.auto()
    ALIVE = enum.auto()  # waits for nothing


def kind_of(head: bytes) -> Kind:
    """By method and path; what is no request at all may be anything."""
    method, _, rest = head.partition(b" ")
    if method not in (b"GET", b"HEAD", b"OPTIONS"):
        return Kind.CHANGE
    path = rest.partition(b" ")[0].partition(b"?")[0]
    return Kind.ALIVE if path.endswith(b"/ping") else Kind.READ


class Threads:
    """In place of gunicorn's pool: one for each kind, which start when they are needed."""

    def __init__(self, most: int) -> None:
        """`most` of each kind; a client that takes no answer has one for up to `SEND_S`."""
        self._pools = {kind: ThreadPoolExecutor(most, kind.name.lower()) for kind in Kind}

    def submit(self, handle: Callable[[TConn], Any], conn: TConn) -> Future[Any]:
        return self._pools[conn.kind].submit(_begin, handle, conn)

    def shutdown(self, *, wait: bool = True) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=wait)


def _begin(handle: Callable[[TConn], Any], conn: TConn) -> Any:
    """In a thread of a pool, for which the request may have waited."""
    with asked_at(conn.asked_at):
        return handle(conn)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """States of a connection: head (pending), answering (in a thread), kept alive, farewell."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.farewells: deque[TConn] = deque()

    def get_thread_pool(self) -> Threads:
        return Threads(self.cfg.threads)

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as why:
            if why.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, time_limit(option, SEND_S))
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.init()
        self._await_head(conn, b"")

    # -- head

    def _await_head(self, conn: TConn, head: bytes) -> None:
        conn.head = head
        if _END in head:
            self._answer(conn)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEAD_S
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_head, conn))

    def _read_head(self, conn: TConn, client: socket.socket) -> None:
        try:
            some = client.recv(LARGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            some = b""
        conn.head += some
        complete = _END in conn.head
        if some and not complete and len(conn.head) < LARGEST_HEAD:
            return
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        if complete:
            self._answer(conn)
        elif some:
            self._refuse(client, conn.client, (431, _TOO_LARGE), f"more than {LARGEST_HEAD} bytes")
            self._say_goodbye(conn)
        else:
            self._drop(conn)

    def _answer(self, conn: TConn) -> None:
        conn.kind, conn.asked_at = kind_of(conn.head), time.monotonic()
        conn.parser.unreader.unread(conn.head)
        conn.head = b""
        self.enqueue_req(conn)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn, b"")
        # The bytes that made it readable are still there, and the poller tells again.

    # -- what is no request

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:  # noqa: ARG002
        """What the application never saw, as it would have answered."""
        bug = (500, "Internal Server Error")
        answer = next((answer for kind, answer in _ANSWERS if isinstance(exc, kind)), bug)
        self._refuse(client, addr, answer, type(exc).__name__, exc_info=answer is bug)

    def _refuse(
        self,
        client: socket.socket,
        caller: Any,
        answer: tuple[int, str],
        reason: str,
        *,
        exc_info: bool = False,
    ) -> None:
        status, error = answer
        trace_id = secrets.token_hex(8)
        self.log.warning(
            "no request from %s: %d %s (trace %s)",
            caller[0] if caller else "-",
            status,
            printable(reason[:300]),
            trace_id,
            exc_info=exc_info,
        )
        body = json.dumps({"error": error, "message": error, "trace_id": trace_id}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        lines = [
            f"{name}: {value}" for name, value in [*headers, ("Connection", "close"), *HEADERS]
        ]
        head = "\r\n".join([f"HTTP/1.1 {status} {error}", *lines, "", ""])
        with contextlib.suppress(OSError):
            client.send(head.encode() + body)

    # -- after the answer

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """A body, which nobody reads, ends the connection: where it ends is not known."""
        if getattr(getattr(req.body, "reader", None), "length", None) != 0:
            req.force_close()
        answered: bool = super().handle_request(req, conn)
        return answered

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:  # noqa: ARG002
        """Nothing to drain: see `handle_request`."""
        return keepalive

    def finish_request(self, conn: TConn, done: Any) -> None:
        try:
            again = done.result() if not done.cancelled() else False
        except Exception:
            again = False
        if not again:
            self._say_goodbye(conn)
            return
        rest = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        if rest:  # the client did not wait for the answer before its next request
            self._await_head(conn, rest)
            return
        conn.set_timeout()
        self.keepalived_conns.append(conn)
        self.poller.register(
            conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn)
        )

    def _say_goodbye(self, conn: TConn) -> None:
        """Half-close, and wait for the client to close: a hard end could cut off the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            conn.timeout = time.monotonic() + FAREWELL_S
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._last_words, conn))
        except (OSError, ValueError, KeyError):
            self._drop(conn)
            return
        self.farewells.append(conn)

    def _last_words(self, conn: TConn, client: socket.socket) -> None:
        try:
            if client.recv(LARGEST_HEAD):
                return  # it still sends; the time limit ends it
        except BlockingIOError:
            return
        except OSError:
            pass
        self.poller.unregister(client)
        self.farewells.remove(conn)
        self._drop(conn)

    def murder_pending(self) -> None:
        now = time.monotonic()
        for waiting in (self.pending_conns, self.farewells):
            while waiting and waiting[0].timeout <= now:
                conn = waiting.popleft()
                with contextlib.suppress(OSError, KeyError, ValueError):
                    self.poller.unregister(conn.sock)
                self._drop(conn)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()
