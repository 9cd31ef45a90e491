"""Everything that a decision about one group needs, as it was at one moment.  Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hashall.model import LinkVerdict
from rehome.model import Direction, Fingerprint, Running


@dataclass(frozen=True)
class FileFact:
    """One wanted file of one torrent, on the source side."""

    name: str  # below the save path
    size: int  # bytes
    sha256: str | None  # None: no fresh hash in the catalog
    seen: Fingerprint | None  # None: not there


@dataclass(frozen=True, kw_only=True)
class TorrentFact:
    torrent_id: str
    name: str
    running: Running
    category: str
    target_category: str
    auto_tmm: bool
    target_auto_tmm: bool
    save_path: Path  # ours
    client_save_path: str
    client_download_path: str
    root_name: str
    files: tuple[FileFact, ...]
    problem: str | None  # incomplete, busy, missing on disk, …
    arrived: bool  # seeds from below the target side's seeding root already
    target_path: Path | None  # save path on the target side; None outside the source's root
    client_target_path: str


@dataclass(frozen=True)
class LinkFact:
    """All names of one inode of the group."""

    inode: int
    size: int  # bytes
    verdict: LinkVerdict
    nlink: int
    names: tuple[str, ...]  # absolute where a mount shows them, sorted
    outside: tuple[str, ...]  # those outside the source side's seeding domain


@dataclass(frozen=True)
class TargetFact:
    """One path on the target side that a file of the group would take, and what lies there."""

    path: str
    exists: bool  # False says no more than a path that is not listed
    sha256: str | None  # of what is there, when the catalog has a fresh hash
    seen: Fingerprint | None
    used_by: tuple[str, ...]  # torrents that seed it there


@dataclass(frozen=True)
class ReuseFact:
    """A file on the target side with bytes that the group needs."""

    size: int
    sha256: str
    path: str
    seen: Fingerprint


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One group as the catalog, the disk and the client described it."""

    asked_for: str
    direction: Direction = Direction.DEMOTE
    payload_hash: str | None
    torrents: tuple[TorrentFact, ...]  # sorted by id
    missing_torrents: tuple[str, ...] = ()  # in the catalog's group, gone from the client
    strangers: tuple[str, ...] = ()  # share files with the group; the catalog has not seen them so
    lookalikes: tuple[str, ...] = ()  # may belong to the group: who, why, and what helps
    through_symlinks: tuple[str, ...] = ()  # torrents whose save path leads to ours by a symlink
    symlinks: tuple[str, ...] = ()  # in a library, and leading to files of the group
    links: tuple[LinkFact, ...] = ()  # sorted by inode
    uncovered: tuple[tuple[str, str], ...] = ()  # root, why it counts as not scanned
    source_devices: tuple[int, ...] = ()
    target_devices: tuple[int, ...] = ()
    target_files: tuple[TargetFact, ...] = ()
    foreign: tuple[str, ...] = ()  # files in a root folder on the target side, none of ours
    new_dirs: tuple[str, ...] = ()  # directories there that do not exist yet, deepest first
    reusable: tuple[ReuseFact, ...] = ()
    missing_categories: tuple[str, ...] = ()  # torrents go to them and the client has none such
    free_bytes: int = 0  # on the target side
    open_runs: tuple[int, ...] = ()  # interrupted
    kept_runs: tuple[int, ...] = ()  # committed; their hidden source is still there
