"""The values of a scan: what was asked for, what goes between its parts, what was found."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from hashall.disk_failures import Failures, GivenUp

if TYPE_CHECKING:
    import os

    from hashall.model import RelPath


class DriftPolicy(enum.Enum):
    """What to do when only the ctime of a file moved (a link came or went, or a chmod)."""

    METADATA = "metadata"  # trust it
    QUICK = "quick"  # read a few samples and compare
    FULL = "full"  # read it again


class HashMode(enum.Enum):
    """What every file gets."""

    FULL = "full"  # SHA-256 and quick hash
    FAST = "fast"  # the quick hash only
    UPGRADE = "upgrade"  # as FAST; then SHA-256 for what may have a twin, and for payloads


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    mode: HashMode = HashMode.FULL
    drift: DriftPolicy = DriftPolicy.QUICK
    one_file_system: bool = False
    exclude: tuple[str, ...] = ()  # globs over names, or over paths below the root
    workers: int = 2  # processes that read, once there is enough to read


@dataclass(frozen=True)
class ScannedRoot:
    path: str  # absolute, symlinks resolved
    device_id: int


@dataclass
class HashReport:
    files: int = 0  # inodes that got a SHA-256
    bytes: int = 0  # of those
    sampled: int = 0  # inodes of which only samples were read
    changing: list[str] = field(default_factory=list)  # changed while they were read: no hash


@dataclass
class ScanSummary:
    """What a scan found.  Counts are of names, except where they say bytes."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0  # gone under one name and here under another, with the bytes it had
    deleted: int = 0
    hashes: HashReport = field(default_factory=HashReport)
    skipped: Counter[str] = field(default_factory=Counter)  # reason → names
    unreadable: dict[str, str] = field(default_factory=dict)  # absolute path → reason
    given_up: list[GivenUp] = field(default_factory=list)  # filesystems that failed too often
    notes: dict[str, str] = field(default_factory=dict)  # absolute path → what to know of it
    roots: list[ScannedRoot] = field(default_factory=list)

    @property
    def seen(self) -> int:
        return self.added + self.changed + self.unchanged + self.moved


@dataclass
class ScanState:
    """Where a scan is, for whoever shows its progress."""

    summary: ScanSummary = field(default_factory=ScanSummary)
    root: str = ""  # being scanned, absolute
    device: str = ""  # alias or number of its filesystem
    waiting: int = 0  # files still to be read; 0 while directories are walked
    waiting_bytes: int = 0
    read_bytes: int = 0  # of large files that are being read now
    hashing: bool = False
    indexing: int = 0  # names that indexes are made of before anything else


Progress = Callable[[ScanState], None]


@dataclass(frozen=True)
class WalkPlace:
    """What a walker has to know of a place; it crosses to other processes."""

    device_id: int
    abspath: str
    relpath: RelPath
    st_dev: int
    inode: int  # of the directory itself
    catalog: str | None  # the database; None: it knows nothing at or below this place
    first: bool  # it knows no inode of the whole filesystem
    readers: int  # processes that share out what several names lead to
    true_links: bool  # whether a link count of 1 means one name
    mount_points: frozenset[str]
    databases: frozenset[tuple[int, int]]  # (st_dev, inode) of files that must not be opened
    exclude: tuple[str, ...]
    drift: DriftPolicy
    mode: HashMode


class Gone(NamedTuple):
    """A name that the catalog knew and the disk has no more, with the bytes it had."""

    name: str
    inode: int
    size: int
    mtime_ns: int


class Difference(enum.IntEnum):
    """How a file on disk differs from what the catalog has under its name."""

    NEW = 0  # no such name
    OTHER = 1  # the name leads to another inode
    WRITTEN = 2  # the same inode, other bytes (as far as can be told without reading)
    TOUCHED = 3  # the same inode and bytes; link count, owner, mode or ctime moved


# Hundreds of thousands of these go from one process to another, where anything but a plain tuple
# takes five times as long.  A name is as the catalog stores it; what lstat said follows in the
# order of the table's columns, times in ns:
# name, difference; inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid
FileRow = tuple[str | bytes, Difference, int, int, int, int, int, int, int, int]
as_listed: Callable[[os.stat_result], tuple[int, int, int, int, int, int, int, int]] = attrgetter(
    *("st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_nlink", "st_mode", "st_uid", "st_gid")
)
# name; inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid; quick hash, SHA-256, racy
HashedRow = tuple[str | bytes, int, int, int, int, int, int, int, int, str, str | None, bool]


class FolderChange(NamedTuple):
    """How a directory differs from the catalog."""

    relpath: RelPath
    dir_id: int | None  # None: the catalog does not know it
    files: list[FileRow]
    hashed: list[HashedRow]  # new ones that were read at once
    gone: list[Gone]
    gone_dirs: list[int]
    replaced: list[int]  # inodes that lost a name to another file


class Unread(NamedTuple):
    """A known name, unchanged on disk, whose inode lacks the hash that is wanted."""

    inode: int
    ctime_ns: int
    dir_id: int
    name: str


@dataclass
class Findings:
    """What one task of walking brought."""

    rest: list[RelPath] = field(default_factory=list)  # below the place, not walked yet
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    changes: list[FolderChange] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    hashed: HashReport = field(default_factory=HashReport)  # of what was read at once
    vanished: list[RelPath] = field(default_factory=list)  # directories, catalog paths
    skipped: Counter[str] = field(default_factory=Counter)
    gaps: dict[RelPath, str] = field(default_factory=dict)  # catalog path → reason
    unreadable: dict[str, str] = field(default_factory=dict)
    borders: list[str] = field(default_factory=list)  # absolute: something is mounted there
    failures: Failures | None = None  # of the disk, while directories were read
    unread_failures: Failures | None = None  # and while files were read at once
