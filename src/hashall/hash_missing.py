"""Hash single files that some payload lacks, without scanning the folders around them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from hashall.folders import YOUNG_NS, Folders
from hashall.hashing import FileStamp, Hashed, Stop, hash_file
from hashall.places import Places
from hashall.presence import why_unseen
from hashall.qbittorrent import stamp_at
from seedkeep.errors import SeedError
from seedkeep.sqlite import transaction

WORKERS = 2
# Files whose hashes are written together: what was read before an interruption is kept.
AT_ONCE, MOST_BYTES = 64, 1 << 30

Todo = dict[tuple[int, int], tuple[Path, FileStamp]]  # by device and inode


@dataclass(frozen=True)
class HashedMembers:
    files: int = 0  # inodes
    bytes: int = 0
    failed: tuple[tuple[str, str], ...] = ()  # (path, reason): no hash


def hash_missing(places: Places, paths: Iterable[Path]) -> HashedMembers:
    """Catalogue and hash these files; an inode once, however many of its names are given."""
    return _Missing(places).hash(paths)


@dataclass
class _Missing:
    places: Places
    _failed: list[tuple[str, str]] = field(default_factory=list)
    _files: int = 0
    _bytes: int = 0

    def hash(self, paths: Iterable[Path]) -> HashedMembers:
        todo: Todo = {}
        with transaction(self.places.catalog.db):
            for path, device_id, stamp in self._entered(paths):
                todo[device_id, stamp.inode] = path, stamp
        stop = threading.Event()
        pool = ThreadPoolExecutor(WORKERS)
        try:
            for some in _batches(todo):
                reads = [pool.submit(_read, path, stop.is_set) for _, (path, _) in some]
                wait(reads)  # which may take long: nobody else could write within a transaction
                with transaction(self.places.catalog.db):
                    for ((device_id, _), (path, stamp)), read in zip(some, reads, strict=True):
                        self._store(device_id, path, stamp, read)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
        return HashedMembers(self._files, self._bytes, tuple(self._failed))

    def _entered(self, paths: Iterable[Path]) -> Iterator[tuple[Path, int, FileStamp]]:
        """Give the catalog each name and inode; yields those that have to be read."""
        folders = Folders(self.places)
        for path in paths:
            stamp = stamp_at(path)
            if stamp is None:
                why = why_unseen(path) or "it is no regular file any more"
                self._failed.append((str(path), why))
                continue
            try:
                place = folders.at(str(path.parent)).place
            except (OSError, SeedError) as why:
                self._failed.append((str(path), str(why)))
                continue
            files = self.places.catalog.files(place.device_id)
            known = files.hashes_of([stamp.inode]).get(stamp.inode)
            same = known is not None and known[:2] == (stamp.size, stamp.mtime_ns)
            has_hash = same and known is not None and known[2] is not None
            files.put_name(files.ensure_dir(place.relpath), path.name, stamp.inode)
            files.put_inode(stamp, keep_hash=has_hash)
            if not has_hash:
                yield path, place.device_id, stamp

    def _store(
        self, device_id: int, path: Path, stamp: FileStamp, read: Future[tuple[Hashed, bool]]
    ) -> None:
        try:
            hashed, racy = read.result()
        except (OSError, SeedError) as why:
            self._failed.append((str(path), why.brief if isinstance(why, SeedError) else str(why)))
            return
        if not hashed.stamp.same_bytes_expected(stamp):
            self._failed.append((str(path), "it changed just now"))
            return
        files = self.places.catalog.files(device_id)
        files.put_hash(stamp, hashed.sha256, hashed.quick_hash, racy=racy)
        self._files += 1
        self._bytes += stamp.size


def _batches(todo: Todo) -> Iterator[list[tuple[tuple[int, int], tuple[Path, FileStamp]]]]:
    """By inode: close to the order on a platter."""
    batch, size = [], 0
    for item in sorted(todo.items()):
        batch.append(item)
        size += item[1][1].size
        if len(batch) >= AT_ONCE or size >= MOST_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _read(path: Path, stop: Stop) -> tuple[Hashed, bool]:
    begun = time.time_ns()
    hashed = hash_file(path, stop=stop)
    # So young a file can change once more without another mtime: the next scan reads it again.
    return hashed, begun - hashed.stamp.mtime_ns < YOUNG_NS
