"""Read small new files together with their directories, before they are in the catalog.

Each row is written once, with its hash, and the walk's helpers have no one to wait for.  It is done
where nothing of the filesystem is known: elsewhere a new name may lead to bytes that were hashed
before.  What goes wrong here is left to the reading after the walk, which tells about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from hashall.hashing import BLOCK
from hashall.scan_model import (
    Difference,
    FileRow,
    Findings,
    FolderChange,
    HashedRow,
    HashMode,
    WalkPlace,
)
from hashall.scan_read import BATCH_FILES, Item, read_all, tasks

# (SHA-256, quick hash, racy, ctime_ns, nlink)
_Read = tuple[str | None, str, bool, int, int]
_MOST_REMEMBERED = 200_000  # inodes; a set of so many takes 15 MB


@dataclass
class Share:
    """The inodes with several names that one helper reads, so that no two of them read one.

    Its names may be in anybody's task.  One whose names were all given to others waits.
    """

    number: int  # from 0
    of: int  # helpers
    _taken: set[int] = field(default_factory=set)

    def takes(self, inode: int) -> bool:
        """Whether to read it now; true once."""
        mine = inode % self.of == self.number and len(self._taken) < _MOST_REMEMBERED
        if not mine or inode in self._taken:
            return False
        self._taken.add(inode)
        return True


def read_at_once(found: Findings, place: WalkPlace, share: Share) -> None:
    """Move the new files that can be read now from `files` to `hashed`, in every folder."""
    whole = place.mode is HashMode.FULL
    read: dict[tuple[int, ...], _Read] = {}
    items = sorted(_items(found.changes, whole, share), key=itemgetter(0))  # as all reading
    for task in tasks(place, whole, items, BATCH_FILES):
        for done in read_all(task).reads:
            read[done[5:]] = done[:5]
    for change in found.changes:
        later: list[FileRow] = []
        for row in change.files:
            it = read.pop(row[2:5], None)  # a second name of it has nothing to add
            if it is None:
                later.append(row)
            else:
                change.hashed.append(_hashed(row, it))
                _count(found, row[3], it[0])
        change.files[:] = later


def _items(changes: list[FolderChange], whole: bool, share: Share) -> Iterator[Item]:
    """Large files are left: who finds them would have all the work."""
    for change in changes:
        for row in change.files:
            wanted = row[1] is Difference.NEW and (row[3] < BLOCK or not whole)
            if wanted and (row[6] == 1 or share.takes(row[2])):
                yield row[2], row[3], row[4], None, change.relpath, row[0], 0


def _hashed(row: FileRow, read: _Read) -> HashedRow:
    name, _, inode, size, mtime_ns, _, _, mode, uid, gid = row
    sha256, quick, racy, ctime_ns, nlink = read
    return name, inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid, quick, sha256, racy


def _count(found: Findings, size: int, sha256: str | None) -> None:
    if sha256 is None:
        found.hashed.sampled += 1
    else:
        found.hashed.files += 1
        found.hashed.bytes += size
