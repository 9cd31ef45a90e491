"""Look again at both files of an action, right before it; what is not as planned is skipped."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from hashall.catalog.files import parent_of
from hashall.dirfd import SourceChanged
from hashall.hashing import READ_FLAGS, ChangedWhileReading, inode_of
from hashall.linking import leases
from hashall.linking.folders import Folder, Folders, NotShown
from hashall.linking.model import Action, FileAt
from seedkeep.errors import SeedError

_GETFLAGS = 0x80006601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS has the size of a long
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20
_REASONS = {
    errno.ENOENT: ("missing", "it is gone"),
    errno.ENOTDIR: ("unsafe-path", "a file or symlink is in the place of a directory"),
    errno.ELOOP: ("not-a-file", "a symlink is in its place"),
    errno.ENXIO: ("not-a-file", "it is no regular file"),
    errno.EMLINK: ("too-many-links", "it has as many names as the filesystem allows"),
    errno.EROFS: ("read-only", "the filesystem is mounted read-only"),
    errno.EACCES: ("no-permission", "permission denied"),
    errno.EPERM: ("no-permission", "the system does not allow it"),
    errno.ENOSPC: ("no-space", "the disk is full"),
    errno.EDQUOT: ("no-space", "the quota is used up"),
    errno.EXDEV: ("other-filesystem", "the two names are on different filesystems or mounts"),
    errno.EEXIST: (
        "leftover",
        "a temporary name of an unknown run lies beside it; look for .seedkeep- names there",
    ),
    errno.EIO: ("io-error", "the disk failed"),
    errno.EUCLEAN: ("io-error", "the filesystem is damaged there"),
    errno.EBADMSG: ("io-error", "the filesystem is damaged there"),
    errno.ENODATA: ("io-error", "the disk cannot read it"),
    errno.ENODEV: ("io-error", "the disk is gone"),
    errno.ETIMEDOUT: ("io-error", "the disk does not answer"),
    errno.ENOTCONN: ("io-error", "the program behind the filesystem has ended"),
    errno.ESTALE: ("io-error", "the server forgot the file"),
    errno.EAGAIN: ("open-for-writing", "a program has it open for writing"),
}


class Skip(Exception):
    """This action is not done; nothing of it is left behind."""

    def __init__(self, reason: str, detail: str, *, doubt: bool = False) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
        self.doubt = doubt  # the hashes in the catalog are wrong


def as_skip(why: OSError | SeedError, *files: Opened) -> Skip:
    """What stopped an action, as a word and a sentence; an unknown error is raised again.

    `files`: still open; one of them may be immutable, which the system tells by a bare EPERM.
    """
    if isinstance(why, NotShown):
        return Skip("not-mounted", why.brief)
    if isinstance(why, (SourceChanged, ChangedWhileReading)):
        return Skip("changed", why.brief)
    if isinstance(why, SeedError):
        cause = why.__cause__
        if isinstance(cause, OSError) and cause.errno in _REASONS:
            return Skip(*_REASONS[cause.errno])
        return Skip(why.code, why.brief)
    if why.errno == errno.EPERM and any(_is_immutable(file.fd) for file in files):
        return Skip("immutable", "it or the file that stays is immutable (lsattr shows it)")
    if why.errno in _REASONS:
        return Skip(*_REASONS[why.errno])
    raise why


@dataclass
class Opened:
    """One of the two files, open for reading."""

    folder: Folder
    name: str
    fd: int
    seen: os.stat_result
    leased: bool = False

    @property
    def path(self) -> str:
        return os.path.join(self.folder.path, self.name)

    def is_same(self, found: os.stat_result) -> bool:
        """Whether a later look meets the same file with the same bytes."""
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_dev) == (
            self.seen.st_ino,
            self.seen.st_size,
            self.seen.st_mtime_ns,
            self.seen.st_dev,
        )

    def lease(self) -> None:
        self.leased = leases.take(self.fd)

    @property
    def undisturbed(self) -> bool:
        """No writer has come, and nothing was written."""
        return (not self.leased or leases.is_held(self.fd)) and self.is_same(os.fstat(self.fd))

    def close(self) -> None:
        """Ends the lease too."""
        os.close(self.fd)


def open_source(folders: Folders, action: Action) -> Opened:
    """The file that stays.  Raises `Skip` with words that say which of the two it is about."""
    try:
        return open_planned(folders, action.source, action.size)
    except (OSError, SeedError, Skip) as why:
        skip = why if isinstance(why, Skip) else as_skip(why)
        raise Skip(skip.reason, f"the file that stays: {skip.detail}") from why


def open_planned(
    folders: Folders, wanted: FileAt, size: int, linked_to: int | None = None
) -> Opened:
    """Open the file that was planned with.  Raises `Skip`, OSError, SeedError."""
    folder = folders.at(wanted.device_id, parent_of(wanted.path))
    name = wanted.path.rpartition("/")[2]
    fd = os.open(name, READ_FLAGS, dir_fd=folder.fd)
    try:
        seen = os.fstat(fd)
        if inode_of(seen) == linked_to:
            raise Skip("already-linked", "it is a link to the other file by now")
        _expect_planned(seen, wanted, size)
    except BaseException:
        os.close(fd)
        raise
    return Opened(folder, name, fd, seen)


def _expect_planned(seen: os.stat_result, wanted: FileAt, size: int) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Skip("not-a-file", "it is no regular file any more")
    moved = [
        word
        for word, now, planned in (
            ("inode", inode_of(seen), wanted.inode),
            ("size", seen.st_size, size),
            ("mtime", seen.st_mtime_ns, wanted.mtime_ns),
        )
        if now != planned
    ]
    if moved:
        raise Skip("changed", f"another {', '.join(moved)} than planned; scan and plan again")


def refuse_unlinkable(
    source: Opened,
    target: Opened,
    *,
    match_owner: bool,
    unfinished: Collection[tuple[int, int]],
    device_id: int,
) -> None:
    """Raises `Skip` for a pair that may not become one file."""
    if source.seen.st_dev != target.seen.st_dev:
        raise Skip(*_REASONS[errno.EXDEV])
    for file in (source, target):
        if (device_id, inode_of(file.seen)) in unfinished:
            raise Skip("unfinished", "a torrent is still writing to it or checking it")
        if _has_holes(file):
            raise Skip("sparse", f"{file.name} has holes")
    if not match_owner:
        _refuse_difference(source, target)


def _refuse_difference(source: Opened, target: Opened) -> None:
    one, other = source.seen, target.seen
    if (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid):
        raise Skip(
            "owner-differs",
            f"it belongs to {other.st_uid}:{other.st_gid}, the other file to"
            f" {one.st_uid}:{one.st_gid}; --match-owner takes the other's",
        )
    if one.st_mode != other.st_mode:
        raise Skip(
            "mode-differs",
            f"its mode is {stat.S_IMODE(other.st_mode):o}, the other file's"
            f" {stat.S_IMODE(one.st_mode):o}; --match-owner takes the other's",
        )
    mine, its = _attributes(target.fd), _attributes(source.fd)
    if mine != its:
        names = sorted(name for name in mine | its if mine.get(name) != its.get(name))
        raise Skip("attributes-differ", f"{', '.join(names)}; --match-owner takes the other's")


def _attributes(fd: int) -> dict[str, bytes]:
    """Extended attributes; ACLs and capabilities are among them."""
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    except OSError as why:
        if why.errno == errno.ENOTSUP:
            return {}
        raise


def _has_holes(file: Opened) -> bool:
    size = file.seen.st_size
    if file.seen.st_blocks * 512 >= size:
        return False
    try:  # compression saves blocks too, and leaves no hole
        hole = os.lseek(file.fd, 0, os.SEEK_HOLE)
    except OSError:
        return True
    finally:
        os.lseek(file.fd, 0, os.SEEK_SET)
    return hole < size


def _is_immutable(fd: int) -> bool:
    with suppress(OSError):
        flags = struct.unpack("I", fcntl.ioctl(fd, _GETFLAGS, bytes(8))[:4])[0]
        return bool(flags & (_IMMUTABLE | _APPEND_ONLY))
    return False


def is_read_only(folder: Folder) -> bool:
    return bool(os.fstatvfs(folder.fd).f_flag & os.ST_RDONLY)


def name_of(action: Action) -> str:
    return action.target.path.rpartition("/")[2]
