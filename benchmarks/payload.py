"""`make bench-payload`: `payload sync` beside a bare HTTP client and the usual per-torrent way.

The client is simulated, in a process of its own; the files are real (empty, in memory) and in a
catalog that a scan would have made.  Each measured sync is a process of its own, too.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import qbittorrentapi
from tests.support.simulated_library import LibraryServer, fill, id_of

from hashall.catalog import open_catalog
from hashall.pathing import MountTable
from hashall.payload import hashes_of
from hashall.places import Places
from seedkeep.sqlite import transaction
from seedkeep.text import table

VERSIONS = ("4.5", "5.1", "5.2")
CHANGED = 20
USUAL = 600  # torrents that the usual way is measured with; the rest is reckoned
MIB = 2**20

SYNC = """
import json, resource, sys, time
from pathlib import Path
from hashall.catalog import open_catalog
from hashall.pathing import MountTable
from hashall.payload_sync import sync
from hashall.places import Places
from hashall.qbittorrent import PathMap
from seedkeep.qbittorrent import connect
begun = time.monotonic()
with open_catalog(Path(sys.argv[1]), create=False) as catalog:
    result = sync(connect(sys.argv[2]), Places(catalog, MountTable.read()), PathMap())
print(json.dumps({
    "seconds": time.monotonic() - begun,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "mapped": result.mapped, "unchanged": result.unchanged, "unread": len(result.unread),
    "problems": len(result.problems),
}))
"""


@dataclass(frozen=True)
class Line:
    what: str
    seconds: float
    requests: int
    note: str = ""
    bar: str = ""
    kept: bool | None = None

    def row(self) -> tuple[str, ...]:
        kept = "" if self.kept is None else "kept" if self.kept else "MISSED"
        return (self.what, f"{self.seconds:.2f} s", f"{self.requests}", self.note, self.bar, kept)


def timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def sync(catalog: Path, url: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", SYNC, str(catalog), url], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def bare(server: LibraryServer, torrents: int, *, with_files: bool) -> None:
    """The same answers, read and parsed and thrown away, over one kept connection."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))

    def ask(path: str) -> None:
        connection.request("GET", f"/api/v2/{path}")
        json.loads(connection.getresponse().read())

    ask("torrents/info")
    if with_files:
        for start in range(0, torrents, 200):
            some = "|".join(id_of(number) for number in range(start, min(torrents, start + 200)))
            ask(f"torrents/info?includeFiles=true&hashes={some}")
    else:
        for number in range(torrents):
            ask(f"torrents/files?hash={id_of(number)}")
    connection.close()


def usual(server: LibraryServer, torrents: int) -> None:
    """What scripts do: the list, then properties and files of each torrent, through the library."""
    api = qbittorrentapi.Client(host=server.url)
    api.torrents_info()
    for number in range(torrents):
        api.torrents_properties(torrent_hash=id_of(number))
        api.torrents_files(torrent_hash=id_of(number))


def catalogue(catalog_path: Path, root: Path, torrents: int, files: int) -> None:
    """Make the files and enter them with hashes of their own, as if they had content."""
    with open_catalog(catalog_path, create=True) as catalog:
        places = Places(catalog, MountTable.read())
        db = catalog.db
        root.mkdir(parents=True, exist_ok=True)
        home = places.find(root)
        table_, n = catalog.files(home.device.device_id), home.device.device_id
        old = int(time.time()) - 86_400
        with transaction(db):
            for folder in fill(root, torrents, files):
                relpath = str(folder.relative_to(root))
                dir_id = table_.ensure_dir(f"{home.place.relpath}/{relpath}")
                for entry in os.scandir(folder):
                    if entry.is_file(follow_symlinks=False):
                        os.utime(entry.path, (old, old))
                        seen = entry.stat(follow_symlinks=False)
                        digest = hashlib.sha256(b"%d" % seen.st_ino).hexdigest()
                        db.execute(
                            f"INSERT OR IGNORE INTO names_{n} (dir_id, name, inode, first_seen_at)"
                            " VALUES (?, ?, ?, '2026-01-01T00:00:00Z')",
                            (dir_id, entry.name, seen.st_ino),
                        )
                        db.execute(
                            f"INSERT OR REPLACE INTO inodes_{n} (inode, size, mtime_ns, ctime_ns,"
                            " nlink, mode, uid, gid, sha256) VALUES (?, 0, ?, ?, 1, 0, 0, 0, ?)",
                            (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, digest),
                        )
                os.utime(folder, (old, old))
        for folder in root.iterdir():
            os.utime(folder, (old, old))


def hash_all(catalog_path: Path) -> tuple[float, int]:
    """(seconds, members): every payload's three hashes from its rows in the catalog."""
    with open_catalog(catalog_path, create=False) as catalog:
        begun, members = time.monotonic(), 0
        for _, manifest in catalog.payloads.manifests():
            hashes_of(manifest)
            members += len(manifest)
        return time.monotonic() - begun, members


def measure(version: str, root: Path, home: Path, torrents: int, files: int) -> list[Line]:
    catalog = home / f"catalog-{version}.db"
    catalogue(catalog, root, torrents, files)
    lines = []
    with LibraryServer(version, root, torrents, files) as server:
        with_files = version == "5.2"
        least = min(timed(lambda: bare(server, torrents, with_files=with_files)) for _ in range(2))
        asked = sum(server.counts().values()) // 2
        lines.append(Line("bare HTTP client", least, asked))
        first = sync(catalog, server.url)
        ratio = first["seconds"] / least
        lines.append(
            Line(
                "first sync",
                first["seconds"],
                sum(server.counts().values()),
                f"{ratio:.1f} × bare, {first['peak'] / MIB:.0f} MiB, {first['mapped']:.0f} mapped",
                "≤ 3 × bare, ≤ 400 MiB" if not with_files else "≤ 400 MiB",
                first["peak"] <= 400 * MIB
                and first["mapped"] == torrents
                and (with_files or ratio <= 3),
            )
        )
        server.change(CHANGED)
        second = sync(catalog, server.url)
        requests_ = sum(server.counts().values())
        lines.append(
            Line(
                f"second sync, {CHANGED} changed",
                second["seconds"],
                requests_,
                f"{second['peak'] / MIB:.0f} MiB, {second['unchanged']:.0f} unchanged",
                "≤ 1 s, ≤ 50 requests",
                second["seconds"] <= 1
                and requests_ <= 50
                and second["unchanged"] == torrents - CHANGED,
            )
        )
        some = min(torrents, USUAL)
        spent = timed(lambda: usual(server, some)) * torrents / some
        server.counts()
        lines.append(
            Line("the usual way, each time", spent, 2 * torrents + 1, f"reckoned from {some}")
        )
    seconds, members = hash_all(catalog)
    rate = members / seconds
    lines.append(
        Line(
            "all hashes from the catalog",
            seconds,
            0,
            f"{rate:,.0f} members/s",
            "≥ 100,000/s",
            rate >= 100_000,
        )
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torrents", type=int, default=30_000)
    parser.add_argument("--files", type=int, default=10, help="in each torrent")
    parser.add_argument("--version", action="append", choices=VERSIONS)
    parser.add_argument(
        "--realtime",
        action="store_true",
        default=False,
        help="run before everything else on a machine that is not quiet (needs root)",
    )
    given = parser.parse_args()
    if given.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as memory,
        tempfile.TemporaryDirectory() as home,
    ):
        kept = True
        for version in given.version or VERSIONS:
            lines = measure(
                version, Path(memory) / "seeding", Path(home), given.torrents, given.files
            )
            print(f"qBittorrent {version}: {given.torrents} torrents with {given.files} files each")
            heads = ("WHAT", "TIME", "REQUESTS", "", "BAR", "")
            print(table(heads, [line.row() for line in lines], "lrr"), flush=True)
            kept = kept and all(line.kept is not False for line in lines)
    with suppress(BrokenPipeError):
        print("every bar is kept" if kept else "a bar was MISSED")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
