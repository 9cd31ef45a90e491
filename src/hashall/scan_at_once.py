"""Read small new files together with their directories, before they are in the catalog.

Each row is written once, with its hash, and the walk's helpers have no one to wait for.  It is done
where nothing of the filesystem is known: elsewhere a new name may lead to bytes that were hashed
before.  What goes wrong here is left to the reading after the walk, which tells about it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from hashall.disk_failures import EnoughFailures, Failures, count_failure
from hashall.hashing import (
    BLOCK,
    READ_FLAGS,
    folded,
    hash_cached,
    hash_small,
    sample_descriptor,
)
from hashall.scan_model import (
    Difference,
    FileRow,
    Findings,
    FolderChange,
    HashMode,
    HashReport,
    WalkPlace,
    as_listed,
)
from hashall.scan_read import BATCH_BYTES, BATCH_FILES, COARSE_TICK_NS, is_racy
from seedkeep import clock
from seedkeep.sqlite import from_db

_MOST_REMEMBERED = 200_000  # inodes; a set of so many takes 15 MB
_MOST_FILES, _MOST_SECONDS = 1000, 2.0  # of one task
_MOST_FOLDERS = 64  # that are open at a time
_CANNOT_TELL = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # what memory has
# inode, row, where the row stands, path of the folder below the place, name in there
_File = tuple[int, FileRow, FolderChange, str, str]
_inode = itemgetter(0)


@dataclass
class Share:
    """The inodes with several names that one process reads, so that no two of them read one.

    The names of an inode may be in anybody's task.  A process that has seen all names of one that
    is not in its share reads that too, as nobody else will; what is left then waits.
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
    reading = _Reading(place, whole)
    until = clock.monotonic() + _MOST_SECONDS
    try:
        for batch in _batches(wanted):
            if clock.monotonic() > until or reading.is_enough:
                break
            reading.read(batch)
    finally:
        reading.close()
    found.unread_failures = reading.failures
    for change in found.changes:
        _settle(change, reading.done, whole, found.hashed)


def _settle(change: FolderChange, done: set[int], whole: bool, report: HashReport) -> None:
    """Take what was hashed from the files that have to be read."""
    hashed = change.hashed
    if len(hashed) == len(change.files):  # nearly always
        change.files.clear()
    elif hashed:
        change.files[:] = [row for row in change.files if id(row) not in done]
    if whole:
        report.files += len(hashed)
        report.bytes += sum([row[2] for row in hashed])
    else:
        report.sampled += len(hashed)


def _wanted(found: Findings, place: WalkPlace, whole: bool, share: Share) -> Iterator[_File]:
    """Large files are left: who finds them would have all the work."""
    top = len(place.relpath) + 1 if place.relpath else 0
    for change in found.changes:
        folder = change.relpath[top:]
        for row in change.files:
            wanted = row[1] is Difference.NEW and (row[3] < BLOCK or not whole)
            alone = row[6] == 1 and place.true_links
            if wanted and (alone or share.takes(row[2], row[6], place)):
                yield row[2], row, change, folder, from_db(row[0])


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
    def __init__(self, place: WalkPlace, whole: bool) -> None:
        self.done: set[int] = set()  # ids of the rows that were read
        self.failures: Failures | None = None  # of the disk
        self.is_enough = False  # or too many of them
        self._place, self._whole = place, whole
        self._folders: dict[str, int] = {}  # path below the place → descriptor
        self._buffer = memoryview(bytearray(BLOCK if whole else 0))
        self._can_tell = whole  # whether the filesystem can tell what memory has

    def close(self) -> None:
        while self._folders:  # one by one: Ctrl-C may come in between, and this is called again
            os.close(self._folders.popitem()[1])

    def read(self, batch: list[_File]) -> None:
        """What memory has is read first; meanwhile the disk brings the rest, all of it together.

        Cold files take three times as long one after the other, and in a tree that was read lately
        some are cold.
        """
        begun = time.time_ns()
        late: list[tuple[int, _File]] = []
        try:
            for file in batch:
                try:
                    fd = os.open(file[4], READ_FLAGS, dir_fd=self._folder(file[3]))
                except OSError as why:
                    self._failed(why)
                    continue
                late.append((fd, file))
                if self._whole and self._from_memory(fd, file, begun):
                    os.close(late.pop()[0])  # now: what the kernel has of it is in the processor
            for fd, file in late:
                self._from_disk(fd, file, begun)
        except EnoughFailures:
            self.is_enough = True
        finally:
            for fd, _ in late:
                os.close(fd)

    def _folder(self, below: str) -> int:
        known = self._folders.get(below)
        if known is None:
            if len(self._folders) >= _MOST_FOLDERS:
                self.close()
            path = os.path.join(self._place.abspath, below)
            known = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._folders[below] = known
        return known

    def _from_memory(self, fd: int, file: _File, begun: int) -> bool:
        """Whether it was read; otherwise the kernel is told to fetch it."""
        size = file[1][3]
        if self._can_tell:
            try:
                hashes = hash_cached(fd, size, self._buffer)
                if hashes is not None:
                    self._take(fd, file, begun, *hashes)
                    return True
            except OSError as why:  # of the disk's own failures the reading tells
                self._can_tell = why.errno not in _CANNOT_TELL
        with suppress(OSError):  # it is advice
            os.posix_fadvise(fd, 0, size, os.POSIX_FADV_WILLNEED)
        return False

    def _from_disk(self, fd: int, file: _File, begun: int) -> None:
        size = file[1][3]
        try:
            if not self._whole:
                self._take(fd, file, begun, None, sample_descriptor(fd, size))
            elif small := hash_small(fd, size):
                self._take(fd, file, begun, *small)
        except OSError as why:
            self._failed(why)

    def _take(self, fd: int, file: _File, begun: int, sha256: str | None, quick: str) -> None:
        """One look, after the reading: as it was listed, nothing happened to it in between."""
        row = file[1]
        listed, seen = row[2:], os.fstat(fd)
        if seen.st_dev != self._place.st_dev or as_listed(folded(seen)) != listed:
            return
        racy = listed[2] > begun - COARSE_TICK_NS and is_racy(listed[2], begun)
        file[2].hashed.append((row[0], *listed, quick, sha256, racy))
        self.done.add(id(row))

    def _failed(self, why: OSError) -> None:
        if count_failure(self, why, len(self.done)):
            raise EnoughFailures
