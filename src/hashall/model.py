"""Values that the catalog speaks in.  Frozen, typed, without behaviour that reads a disk."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

MAIN_CLIENT = "main"  # the one at qbittorrent.host

# A path inside a filesystem, from that filesystem's root, without a leading slash; "" is the root.
# Bytes that are not UTF-8 are kept as surrogate escapes (os.fsdecode), so nothing is lost.
RelPath = str


@dataclass(frozen=True, kw_only=True)
class Device:
    """One filesystem inside which hardlinks work."""

    device_id: int
    fs_key: str  # "ext4:<uuid>", "zfs:<guid>", "btrfs:<uuid>:<subvolume>", "tmpfs:<source>:<fsid>"
    fs_type: str
    stable: bool  # False: the key may not survive a reboot (tmpfs, overlay, FUSE, NFS)
    alias: str | None = None
    preferred_mount_point: str | None = None
    last_scan_completed: str | None = None  # UTC, ISO-8601


@dataclass(frozen=True)
class Place:
    """Where a path is in truth: on which filesystem, and where inside it."""

    device_id: int
    relpath: RelPath


@dataclass(frozen=True, kw_only=True)
class CatalogFile:
    """One name of a file, with what is known of the inode behind it."""

    device_id: int
    path: RelPath
    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    nlink: int
    sha256: str | None  # None: not hashed, or it changed since


class LinkVerdict(enum.Enum):
    """What is proved about all names of an inode."""

    PROVED = "proved"  # the catalog knows every name
    UNACCOUNTED = "unaccounted"  # the disk has more names than the catalog
    UNKNOWN = "unknown"  # cannot be seen, or a filesystem whose link count means nothing


class LinkProof(NamedTuple):
    """All names of one inode, as far as they can be known."""

    inode: int
    verdict: LinkVerdict
    nlink: int  # what the disk says now; 0 when it could not be asked
    known: tuple[RelPath, ...]  # active names in the catalog, sorted


class PayloadStatus(enum.Enum):
    COMPLETE = "complete"  # every member has a fresh sha256
    INCOMPLETE = "incomplete"  # some member needs a scan


@dataclass(frozen=True)
class Member:
    """One file of a payload."""

    relpath: str  # below the payload root, as the torrent lays it out
    size: int  # bytes
    sha256: str | None
    inode: int | None
    path: RelPath  # inside the filesystem


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The content of one or more torrents on one filesystem."""

    payload_id: int
    device_id: int
    root_path: RelPath
    payload_hash: str | None  # None while incomplete
    content_hash: str | None
    media_hash: str | None
    status: PayloadStatus
    file_count: int
    total_bytes: int
    members: tuple[Member, ...] = field(default=())


@dataclass(frozen=True)
class TorrentFileOnDisk:
    """One wanted file of a torrent and where its bytes are."""

    name: str  # below the save path, as the client lists it
    size: int  # bytes
    device_id: int
    path: RelPath
    inode: int | None
    mtime_ns: int | None = None  # None: not known
    sha256: str | None = None  # None: needs a scan


def stored_inode(number: int) -> int:
    """An inode's number as the catalog has it, of one as stat(1) shows it: see `inode_of`."""
    return number if number < 1 << 63 else number - (1 << 64)


def shown_inode(stored: int) -> int:
    """The way back."""
    return stored if stored >= 0 else stored + (1 << 64)


def key_of(torrent_id: str, client: str) -> str:
    return torrent_id if client == MAIN_CLIENT else f"{torrent_id}@{client}"


@dataclass(frozen=True, kw_only=True)
class TorrentInstance:
    """One torrent of the client, mapped to the payload it seeds."""

    torrent_id: str
    infohash_v1: str
    infohash_v2: str
    name: str
    payload_id: int | None  # None: could not be mapped; `problem` says why
    device_id: int | None
    save_path: str  # ours, not the client's
    root_name: str
    category: str
    tags: tuple[str, ...]
    problem: str | None
    last_seen_at: str
    client: str = MAIN_CLIENT  # which of the configured clients has it
    download_path: str = ""  # ours; "" when unfinished data lies at the save path
    # (device, payload hash) that it was last proved to seed; None: never, or it is elsewhere now.
    # The catalog keeps it; what a writer gives here is not looked at.
    proved: tuple[int, str] | None = None

    @property
    def key(self) -> str:
        """What names it among all clients: its id, with `@client` for any but the main one."""
        return key_of(self.torrent_id, self.client)
