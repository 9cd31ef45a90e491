"""A simulated qBittorrent with tens of thousands of torrents, in a process of its own.

It answers what a reader asks, from answers that are made once; nothing in it works on a disk.  What
the real ones say is kept: the fields of torrents/info by version, their order, and kept-open
connections.  Run it with `LibraryServer`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import requests
from tests.support.qbt import free_port

VERSIONS = {"4.5": ("v4.5.2", "2.8.19"), "5.1": ("v5.1.0", "2.11.4"), "5.2": ("v5.2.0", "2.14.1")}
ADDED = 1_700_000_000


def names_of(number: int, files: int) -> list[str]:
    """File names of torrent `number`: a season folder, every tenth torrent without a folder."""
    if number % 10 == 0:
        return [f"Film.{number:06}.part{at:02}.mkv" for at in range(files)]
    top = f"Some.Show.{number:06}.1080p.WEB-DL"
    return [f"{top}/Some.Show.{number:06}.E{at:02}.1080p.mkv" for at in range(files)]


def id_of(number: int) -> str:
    return hashlib.sha1(b"%d" % number).hexdigest()


@dataclass
class Library:
    """`torrents` × `files`, all of `size` bytes, below `root/NN` for each hundred torrents."""

    version: str
    root: str
    torrents: int
    files: int
    size: int = 0  # bytes of each file
    counts: Counter[str] = field(default_factory=Counter)
    _rows: list[bytes] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _whole: bytes = b""

    def __post_init__(self) -> None:
        for number in range(self.torrents):
            self._numbers[id_of(number)] = number
            self._rows.append(_encoded(self.row(number)))
        self._join()

    def save_path(self, number: int) -> str:
        return f"{self.root}/{number // 100:04}"

    def row(self, number: int, category: str = "tv", moved: str = "") -> dict[str, Any]:
        name = names_of(number, 1)[0].partition("/")[0]
        infohash, total = id_of(number), self.size * self.files
        place = self.save_path(number)
        content = place if number % 10 == 0 else f"{place}/{name}"
        row = {
            **{"added_on": ADDED + number, "amount_left": 0, "auto_tmm": False},
            **{"availability": -1, "category": category, "completed": total},
            **{"completion_on": ADDED + number + 60, "content_path": content, "dl_limit": 0},
            **{"dlspeed": 0, "download_path": moved, "downloaded": total},
            **{"downloaded_session": 0, "eta": 8_640_000, "f_l_piece_prio": False},
            **{"force_start": False, "hash": infohash, "infohash_v1": infohash, "infohash_v2": ""},
            **{"last_activity": ADDED + number, "magnet_uri": f"magnet:?xt=urn:btih:{infohash}"},
            **{"max_ratio": -1, "max_seeding_time": -1, "name": name, "num_complete": 3},
            **{"num_incomplete": 1, "num_leechs": 0, "num_seeds": 0, "priority": 0, "progress": 1},
            **{"ratio": 1.25, "ratio_limit": -2, "save_path": place, "seeding_time": 90_000},
            **{"seeding_time_limit": -2, "seen_complete": ADDED, "seq_dl": False, "size": total},
            **{"state": "stalledUP", "super_seeding": False, "tags": "hd, tv"},
            **{"time_active": 90_060, "total_size": total, "up_limit": 0, "uploaded": total},
            **{"tracker": "https://tracker.example/announce", "trackers_count": 1},
            **{"uploaded_session": 0, "upspeed": 0},
        }
        if self.version != "4.5":
            row |= {
                **{"comment": "", "created_by": "mktorrent", "has_metadata": True},
                **{"inactive_seeding_time_limit": -2, "max_inactive_seeding_time": -1},
                **{"popularity": 0.5, "private": True, "reannounce": 1200, "root_path": content},
            }
        return row

    def list_of(self, number: int) -> list[dict[str, Any]]:
        return [
            {
                **{"availability": 1, "index": at, "is_seed": True, "name": name},
                **{"piece_range": [at, at + 1], "priority": 1, "progress": 1, "size": self.size},
            }
            for at, name in enumerate(names_of(number, self.files))
        ]

    def change(self, count: int) -> None:
        """Give some another path for unfinished data: such a torrent has to be asked about."""
        for number in range(0, self.torrents, max(1, self.torrents // count))[:count]:
            moved = f"{self.root}/incomplete-{time.monotonic_ns()}"
            self._rows[number] = _encoded(self.row(number, moved=moved))
        self._join()

    def _join(self) -> None:
        self._whole = b"[" + b",".join(self._rows) + b"]"

    def answer(self, endpoint: str, form: dict[str, str]) -> tuple[int, bytes]:
        self.counts[endpoint] += 1
        serve = self._endpoints().get(endpoint)
        if serve is None:
            return 404, b""
        try:
            return 200, serve(form)
        except KeyError:  # no such torrent
            return 404, b""

    def _endpoints(self) -> dict[str, Callable[[dict[str, str]], bytes]]:
        app, api = VERSIONS[self.version]
        return {
            "auth/login": lambda _: b"Ok.",
            "app/version": lambda _: app.encode(),
            "app/webapiVersion": lambda _: api.encode(),
            "torrents/info": self._info,
            "torrents/files": lambda form: _encoded(self.list_of(self._numbers[form["hash"]])),
            "torrents/properties": lambda _: _encoded({"save_path": self.root}),
            "test/change": self._change,
            "test/counts": self._counts,
        }

    def _change(self, form: dict[str, str]) -> bytes:
        self.change(int(form["count"]))
        return b""

    def _counts(self, _: dict[str, str]) -> bytes:
        counts = dict(self.counts)
        self.counts.clear()
        return _encoded(counts)

    def _info(self, form: dict[str, str]) -> bytes:
        wanted = form.get("hashes")
        with_files = form.get("includeFiles", "").lower() == "true" and self.version == "5.2"
        if not wanted and not with_files:
            return self._whole
        numbers = [self._numbers[h] for h in (wanted or "").split("|") if h in self._numbers]
        if not with_files:
            return b"[" + b",".join(self._rows[number] for number in numbers) + b"]"
        rows = [self.row(number) | {"files": self.list_of(number)} for number in numbers]
        return _encoded(rows)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Handler(socketserver.StreamRequestHandler):
    """As little HTTP as a client needs: what is measured is the client."""

    disable_nagle_algorithm = True
    library: Library

    def handle(self) -> None:
        try:
            while self._one():
                pass
        except OSError:
            pass

    def _one(self) -> bool:
        first = self.rfile.readline().split()
        if len(first) < 2:
            return False
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        parts = urlsplit(first[1].decode())
        text = parts.query + "&" + self.rfile.read(length).decode()
        form = {key: values[-1] for key, values in parse_qs(text).items()}
        endpoint = parts.path.removeprefix("/api/v2/")
        status, body = self.library.answer(endpoint, form)
        cookie = b"Set-Cookie: SID=simulated; path=/\r\n" if endpoint == "auth/login" else b""
        kind = b"application/json" if body[:1] in (b"[", b"{") else b"text/plain; charset=UTF-8"
        head = b"HTTP/1.1 %d X\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (
            *(status, cookie, kind, len(body)),
        )
        self.connection.sendall(head + body)
        return True


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def served(library: Library) -> Iterator[str]:
    """The same within this process, for a test that looks inside; yields the address."""
    handler = type("Handler", (_Handler,), {"library": library})
    with _Server(("127.0.0.1", free_port()), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class LibraryServer:
    """The same in another process, so that its work is not counted as ours."""

    def __init__(self, version: str, root: Path, torrents: int, files: int, size: int = 0) -> None:
        self._arguments = [version, str(root), str(torrents), str(files), str(size)]
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._port), *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def change(self, count: int) -> None:
        self._ask("test/change", count=count)

    def counts(self) -> dict[str, int]:
        """Requests by endpoint since the last time this was asked."""
        found: dict[str, int] = self._ask("test/counts").json()
        return {endpoint: n for endpoint, n in found.items() if not endpoint.startswith("test/")}

    def _ask(self, endpoint: str, **values: Any) -> requests.Response:
        return requests.post(f"{self.url}/api/v2/{endpoint}", data=values, timeout=60)


def fill(root: Path, torrents: int, files: int) -> Iterator[Path]:
    """Make the library's files, all empty; yields each folder that got some."""
    for number in range(torrents):
        place = root / f"{number // 100:04}"
        names = names_of(number, files)
        folder = place / (names[0].partition("/")[0] if "/" in names[0] else "")
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (place / name).touch()
        yield folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("version")
    parser.add_argument("root")
    for name in ("torrents", "files", "size"):
        parser.add_argument(name, type=int)
    found = parser.parse_args()
    _Handler.library = Library(found.version, found.root, found.torrents, found.files, found.size)
    server = _Server(("127.0.0.1", found.port), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
