"""Names below a trusted root, reached by directory descriptors; and what the kernel says, in words.

A root is a path the user configured: symlinks on the way to it are his own.  Everything below a
root came out of a torrent or out of somebody's hands, so each component is opened with O_NOFOLLOW:
a symlink planted between a check and its use makes the operation stop, not wander off.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from seedkeep.errors import Refused, SeedError

PREFIX = ".seedkeep-"  # every name this product makes for itself starts with it

# More levels than any torrent has.  Removing a tree holds one descriptor per level.
MAX_DEPTH = 256

# The mode of a directory between its mkdir and its final owner and mode.  Nobody else makes such
# directories, so a run that was killed in between is recognised, and the directory finished.
HALF_MADE = 0o1700

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # flags of renameat2(2)

DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Parts = tuple[str, ...]  # components below a root; () is the root itself


class SourceChanged(Refused):
    """The file is not the one that was planned with.  Nothing was changed."""

    code = "source-changed"


class TargetOccupied(Refused):
    """Something else already has the name.  It was not touched."""

    code = "target-occupied"


class UnsafePath(Refused):
    """A name, or something on the way to it, would lead out of its root."""

    code = "unsafe-path"


class OtherFilesystem(Refused):
    """Both sides must be on one filesystem, seen through one mount."""

    code = "other-filesystem"


class CopyMismatch(SeedError):
    """What was read is not what the catalog promised; the copy was removed."""

    code = "copy-mismatch"


class NoSpace(SeedError):
    """The disk or the quota is full; an unfinished copy was removed."""

    code = "no-space"


class LostFile(SeedError):
    """A file is on neither side of a move."""

    code = "lost-file"


class TooManyLinks(SeedError):
    """The inode has as many names as the filesystem allows."""

    code = "too-many-links"


class CannotChange(SeedError):
    """The system did not let us."""

    code = "cannot-change"


_AGAIN = "then run the same command again"
_REASONS: dict[int, tuple[type[SeedError], str, str]] = {
    errno.ENOSPC: (NoSpace, "the disk is full", f"free some space, {_AGAIN}"),
    errno.EDQUOT: (NoSpace, "the quota is used up", f"raise it or free some space, {_AGAIN}"),
    errno.EFBIG: (NoSpace, "the file is too large for this filesystem", "choose another target"),
    errno.EACCES: (
        CannotChange,
        "permission denied",
        f"give this user write access to the directory, or run as its owner, {_AGAIN}",
    ),
    errno.EPERM: (
        CannotChange,
        "the system does not allow it",
        f"the file may be immutable (lsattr) or belong to somebody else; change that, {_AGAIN}",
    ),
    errno.EROFS: (CannotChange, "the filesystem is read-only", f"remount it writable, {_AGAIN}"),
    errno.ENAMETOOLONG: (
        CannotChange,
        "a name is too long for this filesystem",
        "a component may have 255 bytes at most; rename it in the torrent client",
    ),
    errno.EBUSY: (CannotChange, "it is in use", f"look whether it is mounted, {_AGAIN}"),
    errno.EIO: (CannotChange, "the disk failed", "read the kernel log and check the disk"),
    errno.ENOENT: (CannotChange, "it is missing", "scan again and make a new plan"),
    errno.EXDEV: (OtherFilesystem, "both sides must be on one filesystem", "make a new plan"),
    errno.EMLINK: (TooManyLinks, "the file has too many names", "remove some of its hardlinks"),
    errno.EEXIST: (TargetOccupied, "something has that name", "look at it, and move it away"),
    errno.ENOTDIR: (UnsafePath, "a file or symlink is in the way", "look who put it there"),
    errno.ELOOP: (UnsafePath, "a symlink is in the way", "look who put it there"),
}


@contextmanager
def explained(doing: str, path: str | Path) -> Iterator[None]:
    """Turn an OSError that a person can act on into a SeedError; let others through."""
    try:
        yield
    except OSError as why:
        if why.errno not in _REASONS:
            raise
        kind, brief, hint = _REASONS[why.errno]
        detail = f"{shown(path)}: {os.strerror(why.errno)}"
        raise kind(f"could not {doing}: {brief}", detail=detail, hint=hint) from why


def shown(path: str | Path) -> str:
    """A name that can be printed: escaped when it has control characters or is not UTF-8."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def parts_of(name: str) -> Parts:
    """Components of a name relative to a root; raises `UnsafePath` for what could leave it."""
    parts = tuple(name.split("/"))
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(
            f"not a plain relative name: {shown(name)}",
            hint="empty names, absolute paths, '.', '..' and NUL are refused",
        )
    if len(parts) > MAX_DEPTH:
        raise UnsafePath(f"more than {MAX_DEPTH} levels of directories: {shown(name)[:80]}…")
    return parts


def by_folder(names: Iterable[str]) -> dict[Parts, list[str]]:
    """Names grouped by the directory they are in, each directory once."""
    folders: dict[Parts, list[str]] = {}
    for name in names:
        *folder, base = parts_of(name)
        folders.setdefault(tuple(folder), []).append(base)
    return folders


def ways(folders: Iterable[Parts]) -> set[Parts]:
    """The folders and every directory on the way to them, the root () included."""
    return {folder[:depth] for folder in folders for depth in range(len(folder) + 1)}


def temporary_name(purpose: str, name: str) -> str:
    """Ours, short whatever the length of `name`, and the same in the next attempt."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=12).hexdigest()
    return f"{PREFIX}{purpose}-{digest}"


@contextmanager
def opened_root(path: Path) -> Iterator[int]:
    fd = os.open(path, DIR_FLAGS)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def root_if_any(path: Path) -> Iterator[int | None]:
    """A descriptor of `path`, or None when it does not exist."""
    try:
        fd = os.open(path, DIR_FLAGS)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def open_dir(parent: int, name: str) -> int:
    """Open one directory inside another, never through a symlink."""
    return os.open(name, DIR_FLAGS | os.O_NOFOLLOW, dir_fd=parent)


@contextmanager
def opened_folder(root: int, folder: Parts) -> Iterator[int]:
    """A descriptor of the directory below `root`; raises FileNotFoundError."""
    fd = os.dup(root)
    try:
        for name in folder:
            below = open_dir(fd, name)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


@contextmanager
def folder_at(root: int | None, folder: Parts) -> Iterator[int | None]:
    """As `opened_folder`, but None when the directory, or the root, does not exist.

    Never hand the None on as `dir_fd`: it would mean the current directory.
    """
    with ExitStack() as stack:
        fd = None
        if root is not None:
            with suppress(FileNotFoundError):
                fd = stack.enter_context(opened_folder(root, folder))
        yield fd


def lstat_at(folder: int | None, name: str) -> os.stat_result | None:
    """`lstat` of a name in a directory; None when there is no such name or no directory."""
    if folder is None:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def make_dir(parent: int, name: str, like: os.stat_result | None) -> bool:
    """Make one directory with the owner and mode of `like`; False: it was there before.

    Without `like` they are what the system gives.  With it, as far as the user may set them.  The
    directory and its entry are durable afterwards.
    """
    fresh = True
    try:
        os.mkdir(name, 0o777 if like is None else HALF_MADE, dir_fd=parent)
    except FileExistsError:
        fresh = False
    fd = open_dir(parent, name)
    try:
        fresh = fresh or is_half_made(fd)
        if fresh and like is not None:
            give_owner_and_mode(fd, like)
        sync(fd)
    finally:
        os.close(fd)
    sync(parent)
    return fresh


def make_below(
    root: int, folder: Parts, like: Callable[[Parts], os.stat_result | None]
) -> list[Parts]:
    """Make what is missing of the way to `folder`; returns what was made, top first."""
    made = []
    for depth in range(1, len(folder) + 1):
        way = folder[:depth]
        with folder_at(root, way) as there:
            if there is not None and not is_half_made(there):
                continue
        with opened_folder(root, way[:-1]) as parent:
            if make_dir(parent, way[-1], like(way)):
                made.append(way)
    return made


def give_owner_and_mode(fd: int, like: os.stat_result) -> tuple[str, ...]:
    """Returns what the system did not allow, out of "owner" and "mode"."""
    refused = []
    mode = stat.S_IMODE(like.st_mode)
    here = os.fstat(fd)
    if (here.st_uid, here.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(fd, like.st_uid, like.st_gid)
        except PermissionError:
            refused.append("owner")
            with suppress(PermissionError):
                os.fchown(fd, -1, like.st_gid)
            if not stat.S_ISDIR(here.st_mode):
                mode &= 0o777  # set-user-id must not come to mean another user
    try:
        os.fchmod(fd, mode)
    except PermissionError:  # vfat and its like
        refused.append("mode")
    return tuple(refused)


def is_half_made(fd: int) -> bool:
    return stat.S_IMODE(os.fstat(fd).st_mode) & 0o1777 == HALF_MADE


def sync(fd: int) -> None:
    """Make a directory's entries durable, on filesystems that know how."""
    try:
        os.fsync(fd)
    except OSError as why:
        if why.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def sync_folders(root: int | None, folders: Iterable[Parts]) -> None:
    """Make the entries of those directories below `root` durable that exist; deepest first."""
    for folder in sorted(folders, key=lambda way: (-len(way), way)):
        with folder_at(root, folder) as fd:
            if fd is not None:
                sync(fd)


def mount_of(fd: int) -> tuple[int, int]:
    """(st_dev, mount id): equal means that rename works between two directories.

    Two bind mounts of one filesystem differ in the mount id, btrfs subvolumes in st_dev.
    """
    mount = -1
    with suppress(FileNotFoundError):  # no /proc: st_dev alone must do
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text("ascii").splitlines():
            if line.startswith("mnt_id:"):
                mount = int(line.split()[1])
    return os.fstat(fd).st_dev, mount


def rename_noreplace(src: int, name: str, dst: int, new: str) -> bool:
    """Rename unless `new` exists (FileExistsError).  False: this filesystem cannot promise that."""
    try:
        renameat2(src, os.fsencode(name), dst, os.fsencode(new))
    except OSError as why:
        if why.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def renameat2(src: int, name: bytes, dst: int, new: bytes, flags: int = RENAME_NOREPLACE) -> None:
    """renameat2(2), by default with RENAME_NOREPLACE; the standard library has no way to it."""
    call = getattr(_LIBC, "renameat2", None)  # glibc before 2.28, older musl: absent
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(src, name, dst, new, ctypes.c_uint(flags)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(name), None, os.fsdecode(new))


_LIBC = ctypes.CDLL(None, use_errno=True)
