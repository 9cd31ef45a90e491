"""Values that `hashall link` speaks in."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from hashall.model import RelPath


class Canonical(enum.Enum):
    """Which inode of a group stays."""

    MOST_LINKS = "most-links"  # fewest changes; ties by the first path
    LEXICAL = "lexical"  # the one with the first path
    OLDEST = "oldest"  # the oldest mtime; ties by the first path


class Kind(enum.Enum):
    HARDLINK = "HARDLINK"
    NOOP = "NOOP"  # its names are one inode already
    SKIP = "SKIP"
    DELETE = "DELETE"  # a copy on another filesystem; only ever proposed


class ActionState(enum.Enum):
    PLANNED = "planned"
    INTENDED = "intended"  # durable before the first change; a crash may have come after it
    DONE = "done"
    SKIPPED = "skipped"
    UNDOING = "undoing"
    UNDONE = "undone"


class PlanStatus(enum.Enum):
    PENDING = "pending"
    APPROVED = "approved"
    RUNNING = "running"  # executed in part; executing it again goes on
    EXECUTED = "executed"
    CANCELLED = "cancelled"


class Verify(enum.Enum):
    """How sure to be, before a file is replaced, that both have the same bytes."""

    BYTES = "bytes"  # read both, compare
    HASH = "hash"  # read both into SHA-256, compare with the catalog's
    NONE = "none"  # trust the catalog where size, mtime and inode are as it has them


class InodeFacts(NamedTuple):
    """One inode of a group of equal files, as the catalog has it."""

    inode: int
    nlink: int  # names on the disk, as of the last look
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    racy: bool  # hashed in the very moment of its last change: the hash proves nothing
    unfinished: bool  # a torrent is still writing to it
    paths: tuple[RelPath, ...]  # active names, sorted
    damaged: bool = False  # `hashall verify` read other bytes than the hash is of

    @property
    def is_sound(self) -> bool:
        """Its bytes are what the catalog says, as far as that can be known without reading."""
        return not (self.unfinished or self.racy or self.damaged)

    @property
    def unseen(self) -> int:
        """Names that the disk has and no scan has seen."""
        return max(self.nlink - len(self.paths), 0)


@dataclass(frozen=True)
class Group:
    """Files with equal bytes on one filesystem."""

    device_id: int
    sha256: str
    size: int  # bytes
    inodes: tuple[InodeFacts, ...]  # sorted by their first path
    doubt: str | None = None  # why link counts on this filesystem prove nothing

    @property
    def savings(self) -> int:
        """Bytes that linking everything would free: inodes with names unseen free nothing."""
        if self.doubt is not None:
            return 0
        stays = any(inode.unseen for inode in self.inodes)
        whole = sum(not inode.unseen for inode in self.inodes)
        return self.size * (whole if stays else whole - 1)


@dataclass(frozen=True)
class Copy:
    """All names of equal bytes on one filesystem, for a comparison across filesystems."""

    device_id: int
    inode: InodeFacts
    torrents: tuple[str, ...]  # that use it
    libraries: tuple[str, ...]  # configured library folders that hold a name of it
    doubt: str | None = None  # why its filesystem may show files of another one
    pool: str = ""  # of a btrfs subvolume: the filesystem, whose others may share its blocks


@dataclass(frozen=True)
class CrossGroup:
    """Equal bytes on more than one filesystem."""

    sha256: str
    size: int  # bytes
    copies: tuple[Copy, ...]  # by device and first path


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a plan looks at and how it decides."""

    devices: tuple[int, ...] = ()  # empty: all
    same_device: bool = True
    cross_device: bool = False
    min_size: int = 1  # bytes; 0 takes empty files too
    mtime_since: date | None = None  # UTC
    include: tuple[str, ...] = ()  # globs on absolute paths; empty: everything
    exclude: tuple[str, ...] = ()
    canonical: Canonical = Canonical.MOST_LINKS


class FileAt(NamedTuple):
    """One name of a file as it has to be found again."""

    device_id: int
    path: RelPath
    inode: int
    mtime_ns: int


class Action(NamedTuple):
    """What is to happen to one name; `target` is the name, `source` what it becomes a link to."""

    seq: int
    kind: Kind
    sha256: str
    size: int  # bytes
    source: FileAt
    target: FileAt
    target_mode: int
    target_uid: int
    target_gid: int
    bytes_to_save: int  # stands at the last name of an inode
    reason: str = ""  # a word; why skipped, or what to know
    detail: str = ""
    state: ActionState = ActionState.PLANNED
    bytes_saved: int | None = None


@dataclass(frozen=True)
class Total:
    count: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan as the catalog keeps it, without its actions."""

    plan_id: int
    name: str
    status: PlanStatus
    options: dict[str, Any]
    actor: str
    created_at: str  # UTC
    approved_at: str | None
    approved_by: str | None
    started_at: str | None
    ended_at: str | None
    note: str
    actions: dict[str, Total]  # by kind; bytes to save, for SKIP the bytes passed over
    states: dict[str, int]  # of HARDLINK and DELETE actions
    bytes_to_save: int  # by links
    bytes_saved: int


@dataclass(frozen=True)
class ActionView:
    """An action with its paths as they show here."""

    seq: int
    kind: str
    state: str
    size: int  # bytes
    bytes_to_save: int
    bytes_saved: int | None
    sha256: str
    source: str
    target: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Result:
    """What became of one action."""

    seq: int
    kind: Kind
    state: ActionState
    source: str  # absolute
    target: str  # absolute
    size: int  # bytes
    bytes_saved: int
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What an execution, a dry run or an undo came to."""

    plan_id: int
    name: str
    dry_run: bool
    undo: bool = False
    recovered: tuple[Result, ...] = ()  # left by an interrupted run, finished or taken back
    results: tuple[Result, ...] = ()
    left: int = 0  # actions that are still to do
    cancelled: bool = False  # by somebody, while it ran: what is left will not be done
    snapshots: tuple[str, ...] = ()  # taken, or the sentence why not
    notes: tuple[str, ...] = field(default=())

    @property
    def done(self) -> int:
        wanted = ActionState.UNDONE if self.undo else ActionState.DONE
        return sum(result.state is wanted for result in self.results)

    @property
    def skipped(self) -> int:
        return sum(result.state is ActionState.SKIPPED for result in self.results)

    @property
    def bytes_saved(self) -> int:
        return sum(result.bytes_saved for result in self.results)
