"""torrents/files of many torrents, over a few connections that stay open.

The library needs a millisecond of its own for each call, qBittorrent less than half of one.  What
goes wrong here is only reported: the caller asks again through the library, which logs in anew,
repeats and explains.  Of thousands, `qbittorrent_reader` reads in a process of its own.
"""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from seedkeep.errors import SeedError
from seedkeep.qbittorrent_rows import Row, read_file, rows_of
from seedkeep.torrent_client import TorrentFile

CONNECTIONS = 3
IDS_AT_ONCE = 25  # taken and handed over together, since each hand-over costs as much as a row
WAITING = 8  # batches that may wait to be taken: memory stays small when the taker is slow
PATIENCE = 3  # failures in a row on one connection, after which it gives up

_WHERE = "torrents/files"

PlainFile = tuple[str, int, float, bool]  # the fields of a `TorrentFile`, quick to hand over


class Read(NamedTuple):
    """What came for one torrent: its files, or the reason why a second way has to be tried."""

    torrent_id: str
    files: tuple[PlainFile, ...] | None
    why: str = ""
    silent: bool = False  # it was waited for in vain: a second wait would not be better


@dataclass(frozen=True)
class Address:
    """Where to ask, and as whom."""

    url: str  # with scheme, maybe with a path
    cookie: str
    timeout_s: float
    verify: bool | str  # as requests takes it

    def connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        return http.client.HTTPSConnection(
            host, port, timeout=self.timeout_s, context=_context(self.verify)
        )

    def path(self, torrent_id: str) -> str:
        return f"{urlsplit(self.url).path.rstrip('/')}/api/v2/{_WHERE}?hash={torrent_id}"


def _context(verify: bool | str) -> ssl.SSLContext:
    import certifi  # what requests trusts: both ways must agree

    context = ssl.create_default_context(
        cafile=verify if isinstance(verify, str) else certifi.where()
    )
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def read_with_threads(address: Address, ids: Sequence[str]) -> Iterator[list[Read]]:
    """Each torrent once, about in this order.  Stops its threads when the caller stops taking."""
    todo: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
    for start in range(0, len(ids), IDS_AT_ONCE):
        todo.put(ids[start : start + IDS_AT_ONCE])
    done: queue.Queue[list[Read] | None] = queue.Queue(WAITING)
    stop = threading.Event()
    threads = [
        threading.Thread(target=_work, args=(address, todo, done, stop), daemon=True)
        for _ in range(min(CONNECTIONS, todo.qsize()))
    ]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            batch = done.get()
            if batch is None:
                running -= 1
            else:
                yield batch
    finally:
        stop.set()
        while running:  # a thread may be waiting for room
            running -= done.get() is None
        for thread in threads:
            thread.join()


def _work(
    address: Address,
    todo: queue.SimpleQueue[Sequence[str]],
    done: queue.Queue[list[Read] | None],
    stop: threading.Event,
) -> None:
    line = _Line(address)
    try:
        while not stop.is_set():
            try:
                ids = todo.get_nowait()
            except queue.Empty:
                return
            done.put([line.read(torrent_id) for torrent_id in ids])
    finally:
        line.close()
        done.put(None)


class _Line:
    """One connection."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._headers = {"Cookie": address.cookie} if address.cookie else {}
        self._connection: http.client.HTTPConnection | None = None
        self._failed = 0
        self._last = ""

    def read(self, torrent_id: str) -> Read:
        if self._failed >= PATIENCE:
            return Read(torrent_id, None, self._last, silent=True)
        try:
            status, body = self._ask(torrent_id)
        except (OSError, http.client.HTTPException) as why:
            self.close()
            self._failed += 1
            self._last = str(why) or type(why).__name__
            return Read(torrent_id, None, self._last, silent=isinstance(why, TimeoutError))
        self._failed = 0
        if status != http.HTTPStatus.OK:
            return Read(torrent_id, None, f"HTTP {status}")
        try:
            return Read(torrent_id, _plain_files(json.loads(body)))
        except (ValueError, RecursionError) as why:
            return Read(torrent_id, None, str(why))

    def _ask(self, torrent_id: str) -> tuple[int, bytes]:
        fresh = self._connection is None
        if self._connection is None:
            self._connection = self._address.connection()
        try:
            return self._once(self._connection, torrent_id)
        except (ConnectionError, http.client.BadStatusLine):
            if fresh:
                raise
            # It was open for a while, and the server may close such a connection at any time.
            self.close()
            self._connection = self._address.connection()
            return self._once(self._connection, torrent_id)

    def _once(self, connection: http.client.HTTPConnection, torrent_id: str) -> tuple[int, bytes]:
        connection.request("GET", self._address.path(torrent_id), headers=self._headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_files(answer: Any) -> tuple[TorrentFile, ...]:
    """Raises `ValueError` for anything that is not a whole file list."""
    return files_of(_plain_files(answer))


def files_of(plain: Iterable[PlainFile]) -> tuple[TorrentFile, ...]:
    return tuple([TorrentFile(*file) for file in plain])


def _plain_files(answer: Any) -> tuple[PlainFile, ...]:
    try:
        return tuple([_file(row.values) or _strict(row) for row in rows_of(_WHERE, answer)])
    except SeedError as why:
        raise ValueError(why.detail or why.brief) from why


def _file(values: Any) -> PlainFile | None:
    """What `read_file` gives; None where a row is not as usual."""
    try:
        name, size, progress = values["name"], values["size"], values["progress"]
        priority = values["priority"]
    except (KeyError, TypeError):
        return None
    usual = type(name) is str and type(size) is int and type(priority) is int
    if usual and type(progress) in (int, float) and 0 <= progress <= 1:  # NaN is not
        return name, size, progress, priority > 0
    return None


def _strict(row: Row) -> PlainFile:
    file = read_file(row)
    return file.name, file.size, file.progress, file.wanted
