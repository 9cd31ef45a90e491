"""A folder with files, its catalog, and a naive answer to compare the catalog with."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hashall import scan_at_once, scan_read
from hashall.catalog import Catalog, FileTable, open_catalog
from hashall.hashing import hash_cached, hash_descriptor, hash_small, sample_descriptor
from hashall.model import RelPath
from hashall.pathing import MountTable
from hashall.places import Places, Spot
from hashall.scan import DriftPolicy, HashMode, ScanOptions, ScanState, ScanSummary, scan
from seedkeep.sqlite import Database


class Bytes(NamedTuple):
    """What the catalog should say of one name."""

    inode: int
    size: int
    sha256: str | None


@dataclass
class CatalogLab:
    """`root` has the files; `catalog.db` lies beside it."""

    folder: Path
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.catalog = open_catalog(self.db_path, create=True)

    @property
    def root(self) -> Path:
        return self.folder / "files"

    @property
    def db_path(self) -> Path:
        return self.folder / "catalog.db"

    @property
    def db(self) -> Database:
        return self.catalog.db

    def places(self) -> Places:
        return Places(self.catalog, MountTable.read())

    def scan(
        self,
        *roots: Path,
        mode: HashMode = HashMode.FULL,
        drift: DriftPolicy = DriftPolicy.QUICK,
        one_file_system: bool = False,
        exclude: tuple[str, ...] = (),
        workers: int = 2,
        progress: Callable[[ScanState], None] = lambda _: None,
    ) -> ScanSummary:
        """Scan `root`, or other roots, as a new process would."""
        options = ScanOptions(
            mode=mode,
            drift=drift,
            one_file_system=one_file_system,
            exclude=exclude,
            workers=workers,
        )
        return scan(self.places(), roots or (self.root,), options, progress)

    def write(self, name: str, content: bytes = b"bytes", *, settled: bool = True) -> Path:
        """A file below `root`; `settled` gives it an mtime that no scan finds too young."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if settled:
            settle(path)
        return path

    def spot(self, path: Path | None = None) -> Spot:
        return self.places().find(path or self.root)

    def files(self, path: Path | None = None) -> FileTable:
        """The catalog's files on the filesystem of a path."""
        return self.catalog.files(self.spot(path).device.device_id)

    def known(self, root: Path | None = None) -> dict[RelPath, Bytes]:
        """What the catalog knows below a directory, by name below it."""
        spot = self.spot(root)
        top = spot.place.relpath + "/" if spot.place.relpath else ""
        return {
            file.path.removeprefix(top): Bytes(file.inode, file.size, file.sha256)
            for file in self.catalog.files(spot.device.device_id).everything()
            if file.path.startswith(top)
        }

    def close(self) -> None:
        self.catalog.db.close()


def settle(path: Path, *, seconds_ago: int = 3600) -> None:
    """Give a file an mtime of the past, as nearly all files have it."""
    seen = path.stat()
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns - seconds_ago * 1_000_000_000))


def on_disk(root: Path) -> dict[RelPath, Bytes]:
    """The same from the disk: regular files, read whole, by name below `root`."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode):
                relpath = os.path.relpath(path, root)
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                found[relpath] = Bytes(seen.st_ino, seen.st_size, sha256)
    return found


@dataclass
class Reads:
    """Names of files that were read whole, and of those whose samples were read."""

    whole: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)


@contextmanager
def counted_reads() -> Iterator[Reads]:
    reads = Reads()

    def small(fd: int, size: int) -> Any:
        reads.whole.append(_name_of(fd))
        return hash_small(fd, size)

    def cached(fd: int, size: int, buffer: memoryview) -> Any:
        found = hash_cached(fd, size, buffer)
        if found is not None:
            reads.whole.append(_name_of(fd))
        return found

    def whole(fd: int, path: str, **options: Any) -> Any:
        reads.whole.append(os.path.basename(path))
        return hash_descriptor(fd, path, **options)

    def samples(fd: int, size: int) -> Any:
        reads.samples.append(_name_of(fd))
        return sample_descriptor(fd, size)

    with pytest.MonkeyPatch.context() as patch:
        for module in (scan_read, scan_at_once):
            patch.setattr(module, "hash_small", small)
            patch.setattr(module, "sample_descriptor", samples)
        patch.setattr(scan_at_once, "hash_cached", cached)
        patch.setattr(scan_read, "hash_descriptor", whole)
        yield reads


def _name_of(fd: int) -> str:
    return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))


@contextmanager
def watched_writes() -> Iterator[list[str]]:
    """The statements that would change a table, first words of each, while the block runs."""
    written: list[str] = []
    execute, executemany = Database.execute, Database.executemany

    def note(sql: str) -> None:
        verb, *words = sql.split()
        if verb in ("INSERT", "UPDATE", "DELETE"):
            written.append(" ".join([verb, *words[:2]]))

    def watched(self: Database, sql: str, params: Any = ()) -> Any:
        note(sql)
        return execute(self, sql, params)

    def watched_many(self: Database, sql: str, rows: Any) -> Any:
        rows = list(rows)
        if rows:
            note(sql)
        return executemany(self, sql, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "execute", watched)
        patch.setattr(Database, "executemany", watched_many)
        yield written


# A program whose hashing takes as long as a large file's, so that a signal meets it at work.
_SLOWED = """
# Started in the background by a shell, a process ignores Ctrl-C, and so do its children.
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from hashall import scan_hash, scan_read
from hashall.cli import main
scan_hash.SECONDS_PER_COMMIT = 0.01
open_item = scan_read.open_item
def slow(*arguments):
    time.sleep(float({pause!r}))
    return open_item(*arguments)
scan_read.open_item = slow
sys.argv[0] = "hashall"
main()
"""


def start_hashall(*arguments: str | Path, pause: float = 0.0) -> subprocess.Popen[str]:
    """Start the program; `pause` is added to the reading of each file (seconds)."""
    code = _SLOWED.format(pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def document(out: str, kind: str) -> Any:
    """The one thing in the one document of `--json`."""
    parsed = json.loads(out)
    assert parsed.keys() == {"schema_version", kind}
    return parsed[kind]
