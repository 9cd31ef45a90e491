"""Read small new files together with their directories, before they are in the catalog.

Each row is written once, with its hash, and the walk's helpers have no one to wait for.  It is done
where nothing of the filesystem is known: elsewhere a new name may lead to bytes that were hashed
before.  What goes wrong here is left to the reading after the walk, which tells about it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from hashall.disk_failures import EnoughFailures, Failures, count_failure
from hashall.hashing import BLOCK, READ_FLAGS, folded, hash_small, sample_descriptor
from hashall.scan_model import (
    Difference,
    FileRow,
    Findings,
    FolderChange,
    HashMode,
    WalkPlace,
    as_listed,
)
from hashall.scan_read import BATCH_BYTES, BATCH_FILES, COARSE_TICK_NS, is_racy, read_ahead
from seedkeep import clock
from seedkeep.sqlite import from_db

_MOST_REMEMBERED = 200_000  # inodes; a set of so many takes 15 MB
_MOST_FILES, _MOST_SECONDS = 1000, 2.0  # of one task
# inode, row, where the row stands, path below the place
_File = tuple[int, FileRow, FolderChange, str]
_inode = itemgetter(0)


@dataclass
class Share:
    """The inodes with several names that one helper reads, so that no two of them read one.

    The names of an inode may be in anybody's task.  A helper that has seen all names of one that is
    not in its share reads that too, as nobody else will; what is left then waits.
    """

    number: int  # from 0; -1: takes nothing; from `WalkPlace.readers` on: none are its own
    _taken: set[int] = field(default_factory=set)
    _seen: dict[int, int] = field(default_factory=dict)  # of others: inode → names not seen yet

    def takes(self, inode: int, links: int, place: WalkPlace) -> bool:
        """Whether to read it now; true once."""
        if self.number < 0:
            return False
        if inode % place.readers != self.number:
            return place.true_links and self._is_last(inode, links)
        if inode in self._taken or len(self._taken) >= _MOST_REMEMBERED:
            return False
        self._taken.add(inode)
        return True

    def _is_last(self, inode: int, links: int) -> bool:
        unseen = self._seen.pop(inode, links) - 1
        if unseen > 0 and len(self._seen) < _MOST_REMEMBERED:
            self._seen[inode] = unseen
        return unseen == 0

    def leave(self) -> None:
        """Another place may follow, whose numbers say something else."""
        self._taken.clear()
        self._seen.clear()


def read_at_once(found: Findings, place: WalkPlace, share: Share) -> None:
    """Move the new files that can be read now from `files` to `hashed`, in every folder.

    Not more than takes a moment: nothing of a task is kept before its end, and a folder may have
    any number of files.
    """
    whole = place.mode is HashMode.FULL
    wanted = [*islice(_wanted(found, place, whole, share), _MOST_FILES)]
    wanted.sort(key=_inode)  # as all reading is done
    reading = _Reading(place, whole, found)
    until = clock.monotonic() + _MOST_SECONDS
    for batch in _batches(wanted):
        if clock.monotonic() > until or reading.is_enough:
            break
        reading.read(batch)
    found.unread_failures = reading.failures
    for change in found.changes:
        change.files[:] = [row for row in change.files if id(row) not in reading.done]


def _wanted(found: Findings, place: WalkPlace, whole: bool, share: Share) -> Iterator[_File]:
    """Large files are left: who finds them would have all the work."""
    top = len(place.relpath) + 1 if place.relpath else 0
    for change in found.changes:
        before = change.relpath[top:]
        before = before and f"{before}/"
        for row in change.files:
            wanted = row[1] is Difference.NEW and (row[3] < BLOCK or not whole)
            alone = row[6] == 1 and place.true_links
            if wanted and (alone or share.takes(row[2], row[6], place)):
                yield row[2], row, change, before + from_db(row[0])


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    batch: list[_File] = []
    size = 0
    for file in files:
        if len(batch) >= BATCH_FILES or (batch and size + file[1][3] > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file[1][3]
    if batch:
        yield batch


class _Reading:
    def __init__(self, place: WalkPlace, whole: bool, found: Findings) -> None:
        self.done: set[int] = set()  # ids of the rows that were read
        self.failures: Failures | None = None  # of the disk
        self.is_enough = False  # or too many of them
        self._place, self._whole, self._report = place, whole, found.hashed

    def read(self, batch: list[_File]) -> None:
        begun = time.time_ns()
        try:
            top = os.open(self._place.abspath, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        opened: list[tuple[int, _File]] = []
        try:
            for file in batch:
                try:
                    fd = os.open(file[3], READ_FLAGS, dir_fd=top)
                except OSError as why:
                    self._failed(why)
                    continue
                opened.append((fd, file))
            if self._whole:
                read_ahead([(fd, file[1][3]) for fd, file in opened])
            for fd, file in opened:
                self._of(fd, file, begun)
        except EnoughFailures:
            self.is_enough = True
        finally:
            os.close(top)
            for fd, _ in opened:
                os.close(fd)

    def _of(self, fd: int, file: _File, begun: int) -> None:
        """One look, after the reading: as it was listed, nothing happened to it in between."""
        _, row, change, _ = file
        size, mtime_ns = row[3:5]
        sha256 = None
        try:
            if not self._whole:
                quick = sample_descriptor(fd, size)
            elif small := hash_small(fd, size):
                sha256, quick = small
            else:
                return
            seen = folded(os.fstat(fd))
        except OSError as why:
            self._failed(why)
            return
        if as_listed(seen) != row[2:] or seen.st_dev != self._place.st_dev:
            return
        racy = mtime_ns > begun - COARSE_TICK_NS and is_racy(mtime_ns, begun)
        change.hashed.append((row[0], *row[2:], quick, sha256, racy))
        self.done.add(id(row))
        report = self._report
        if sha256 is None:
            report.sampled += 1
        else:
            report.files += 1
            report.bytes += size

    def _failed(self, why: OSError) -> None:
        if count_failure(self, why, len(self.done)):
            raise EnoughFailures
