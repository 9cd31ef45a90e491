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

from hashall import scan_read
from hashall.hashing import BLOCK
from hashall.relpath import join
from hashall.scan_model import Difference, FileRow, Findings, FolderChange, HashMode, WalkPlace
from hashall.scan_read import BATCH_BYTES, BATCH_FILES, Opened
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.sqlite import from_db

_MOST_REMEMBERED = 200_000  # inodes; a set of so many takes 15 MB
_MOST_FILES, _MOST_SECONDS = 1000, 2.0  # of one task
_File = tuple[FileRow, FolderChange, str]  # with its path below the place


@dataclass
class Share:
    """The inodes with several names that one helper reads, so that no two of them read one.

    Its names may be in anybody's task.  One whose names were all given to others waits.
    """

    number: int  # from 0, below `WalkPlace.readers`; any other takes nothing
    _taken: set[int] = field(default_factory=set)

    def takes(self, inode: int, place: WalkPlace) -> bool:
        """Whether to read it now; true once."""
        mine = inode % place.readers == self.number and len(self._taken) < _MOST_REMEMBERED
        if not mine or inode in self._taken:
            return False
        self._taken.add(inode)
        return True

    def leave(self) -> None:
        """Another place may follow, whose numbers say something else."""
        self._taken.clear()


def read_at_once(found: Findings, place: WalkPlace, share: Share) -> None:
    """Move the new files that can be read now from `files` to `hashed`, in every folder.

    Not more than takes a moment: nothing of a task is kept before its end, and a folder may have
    any number of files.
    """
    whole = place.mode is HashMode.FULL
    wanted = sorted(_wanted(found, place, whole, share), key=_inode)  # as all reading is done
    reading = _Reading(place, whole, found)
    until = clock.monotonic() + _MOST_SECONDS
    for batch in _batches(wanted[:_MOST_FILES]):
        if clock.monotonic() > until:
            break
        reading.read(batch)
    for change in found.changes:
        change.files[:] = [row for row in change.files if id(row) not in reading.done]


def _wanted(found: Findings, place: WalkPlace, whole: bool, share: Share) -> Iterator[_File]:
    """Large files are left: who finds them would have all the work."""
    top = len(place.relpath) + 1 if place.relpath else 0
    for change in found.changes:
        folder = change.relpath[top:]
        for row in change.files:
            wanted = row[1] is Difference.NEW and (row[3] < BLOCK or not whole)
            alone = row[6] == 1 and place.true_links
            if wanted and (alone or share.takes(row[2], place)):
                yield row, change, join(folder, from_db(row[0]))


def _inode(file: _File) -> int:
    return file[0][2]


def _batches(files: list[_File]) -> Iterator[list[_File]]:
    batch: list[_File] = []
    size = 0
    for file in files:
        if len(batch) >= BATCH_FILES or (batch and size + file[0][3] > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file[0][3]
    if batch:
        yield batch


class _Reading:
    def __init__(self, place: WalkPlace, whole: bool, found: Findings) -> None:
        self.done: set[int] = set()  # ids of the rows that were read
        self._place, self._whole, self._found = place, whole, found

    def read(self, batch: list[_File]) -> None:
        opened: list[tuple[_File, Opened]] = []
        try:
            top = os.open(self._place.abspath, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            for file in batch:
                it = self._open(top, file[2])
                if it is not None:
                    opened.append((file, it))
            if self._whole:
                scan_read.read_ahead([it for _, it in opened])
            for file, it in opened:
                self._of(file, it)
        finally:
            os.close(top)
            for _, (fd, _) in opened:
                os.close(fd)

    def _open(self, top: int, below: str) -> Opened | None:
        try:
            return scan_read.open_item(top, below, self._place.st_dev)
        except (OSError, SeedError):
            return None

    def _of(self, file: _File, opened: Opened) -> None:
        (row, change, below), seen, begun = file, opened[1], time.time_ns()
        if (seen.st_ino, seen.st_size, seen.st_mtime_ns) != row[2:5]:
            return  # written to, or replaced, between the listing and this
        try:
            sha256, quick = scan_read.read_item(None, below, opened, self._whole)
        except (OSError, SeedError):
            return
        name, _, inode, size, mtime_ns, *_ = row
        times_and_links = (mtime_ns, seen.st_ctime_ns, seen.st_nlink)
        owner = (seen.st_mode, seen.st_uid, seen.st_gid)
        racy = scan_read.is_racy(mtime_ns, begun)
        change.hashed.append((name, inode, size, *times_and_links, *owner, quick, sha256, racy))
        self.done.add(id(row))
        report = self._found.hashed
        if sha256 is None:
            report.sampled += 1
        else:
            report.files += 1
            report.bytes += size
