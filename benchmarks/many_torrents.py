"""A client of thousands of torrents that do nothing: enough of the Web API to read and label them.

Runs as a process of its own and counts requests by endpoint (`GET /count`).
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

NOW = 1_790_000_000
CATEGORIES = ("films", "series", "music", "books")


def rows(count: int) -> list[dict[str, Any]]:
    """The same torrents for the same count."""
    chance = random.Random(count)
    return [_row(number, chance) for number in range(count)]


def _row(number: int, chance: random.Random) -> dict[str, Any]:
    quality = chance.choice(["1080p", "720p", "2160p", "DVDRip"])
    size = chance.randrange(10**8, 6 * 10**10)
    digits = f"{number:040x}"
    return {
        "added_on": NOW - chance.randrange(10**8), "amount_left": 0, "auto_tmm": False,
        "availability": -1, "category": chance.choice(CATEGORIES), "completed": size,
        "completion_on": NOW - chance.randrange(10**7), "content_path": f"/stash/{number}",
        "dl_limit": 0, "dlspeed": 0, "download_path": "", "downloaded": size,
        "downloaded_session": 0, "eta": 8_640_000, "f_l_piece_prio": False, "force_start": False,
        "hash": digits, "inactive_seeding_time_limit": -2, "infohash_v1": digits,
        "infohash_v2": "", "last_activity": NOW, "magnet_uri": f"magnet:?xt=urn:btih:{digits}",
        "max_ratio": -1, "max_seeding_time": -1, "name": f"Title.{number}.2020.{quality}.WEB-GRP",
        "num_complete": chance.randrange(50), "num_incomplete": 0, "num_leechs": 0, "num_seeds": 0,
        "priority": 0, "progress": 1, "ratio": chance.random() * 4, "ratio_limit": -2,
        "save_path": "/stash", "seeding_time": chance.randrange(10**7), "seeding_time_limit": -2,
        "seen_complete": NOW, "seq_dl": False, "size": size, "state": "stalledUP",
        "super_seeding": False, "tags": chance.choice(["", "a", "a, b"]), "time_active": 1000,
        "total_size": size, "tracker": f"https://t{number % 5}.example/announce",
        "trackers_count": 1, "up_limit": 0, "uploaded": size, "uploaded_session": 0, "upspeed": 0,
    }  # fmt: skip


class Answers:
    def __init__(self, count: int) -> None:
        self.rows = rows(count)
        self.by_hash = {row["hash"]: row for row in self.rows}
        self.whole = json.dumps(self.rows).encode()
        self.counts: Counter[str] = Counter()

    def answer(self, endpoint: str, form: dict[str, list[str]]) -> bytes:
        self.counts[endpoint] += 1
        if endpoint == "torrents/info":
            hashes = form.get("hashes", [""])[0]
            if not hashes:
                return self.whole
            chosen = [self.by_hash[h] for h in hashes.split("|") if h in self.by_hash]
            return json.dumps(chosen).encode()
        text = {"auth/login": "Ok.", "app/version": "v5.1.0", "app/webapiVersion": "2.11.4"}
        if endpoint in text:
            return text[endpoint].encode()
        number = int(form.get("hash", ["0"])[0], 16)
        return json.dumps(self._json(endpoint, number)).encode()

    def _json(self, endpoint: str, number: int) -> Any:
        if endpoint == "torrents/files":
            return [
                {
                    "index": 0,
                    "name": f"{number}/film.mkv",
                    "size": 10,
                    "progress": 1,
                    "priority": 1,
                },
                {
                    "index": 1,
                    "name": f"{number}/film.nfo",
                    "size": 10,
                    "progress": 1,
                    "priority": 1,
                },
            ]
        if endpoint == "torrents/trackers":
            url = f"https://t{number % 5}.example/announce"
            return [{"url": url, "status": 2, "tier": 0, "msg": "", "num_peers": 1}]
        if endpoint == "sync/maindata":
            return {"rid": 1, "server_state": {}}
        return {"refresh_interval": 1500, "save_path": "/stash"}


def serve(count: int) -> None:
    answers = Answers(count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet, as qBittorrent sends them: two would wait 40 ms for each
        # other (Nagle's algorithm and the delayed acknowledgement).
        wbufsize = -1

        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _reply(self, body: bytes) -> None:
            address = urlsplit(self.path)
            form = parse_qs(address.query) | parse_qs(body.decode())
            if address.path == "/count":
                said = json.dumps(answers.counts).encode()
                answers.counts.clear()
            else:
                said = answers.answer(address.path.removeprefix("/api/v2/"), form)
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("Content-Type", "application/json")
            if address.path.endswith("/login"):
                self.send_header("Set-Cookie", "SID=1; path=/")
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def client_of(count: int) -> Iterator[str]:
    """The address of a running one."""
    command = [sys.executable, "-m", "benchmarks.many_torrents", str(count)]
    with Popen(command, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def requests_since(url: str) -> Counter[str]:
    """By endpoint, since the last call."""
    with urlopen(f"{url}/count") as answer:
        return Counter(json.load(answer))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
