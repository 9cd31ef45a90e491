"""Copy one file into another filesystem, proved by its SHA-256 and durable.

Two ways, cheapest first.  FICLONE shares the blocks and writes nothing; the clone is then read to
hash it.  Everything else is read and written here, and the SHA-256 is that of the very buffers
that are written.  copy_file_range is not used: it hides the bytes, so they would have to be read
a second time for the hash, which costs more than the one memory copy it saves.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hashall.dirfd import (
    CopyMismatch,
    SourceChanged,
    TargetOccupied,
    explained,
    give_owner_and_mode,
    lstat_at,
    open_dir,
    opened_root,
    parts_of,
    rename_noreplace,
    shown,
    sync,
    temporary_name,
)
from hashall.hashing import (
    BLOCK,
    FileStamp,
    NotRegular,
    Progress,
    blocks,
    hash_descriptor,
    hash_file,
    open_regular,
)

_ZEROS = bytes(BLOCK)
_FICLONE = getattr(fcntl, "FICLONE", 0x40049409)  # named in Python 3.12 and later
_ACL = "system.posix_acl_access"
# XFS lists an ACL a second time.  Elsewhere that would be a mere copy, which grows stale, and which
# XFS would take for the ACL when the file comes back.
_XFS_ACLS = ("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT")
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Copied:
    """How a copy came to be."""

    bytes_written: int  # 0 for a clone, less than the size for a file with holes
    method: str  # "reflink", "copy" or "already there"
    not_kept: tuple[str, ...] = ()  # "owner", "mode", names of extended attributes


def copy_in(
    source: Path,
    target: Path,
    *,
    sha256: str,
    stamp: FileStamp,
    progress: Progress | None = None,
) -> Copied:
    """Copy `source` to `target`, which appears complete or not at all; safe to repeat.

    The directory of `target` must exist and be no symlink.  mtime, mode, owner and extended
    attributes (ACLs are among them) are kept as far as user and filesystem allow.

    Raises:
        SourceChanged: `source` is not the file of `stamp`, or changed while it was copied.
        TargetOccupied: `target` exists and is not a finished copy of these bytes.
        CopyMismatch: The bytes read are not those of `sha256`.
        NoSpace: Disk or quota full.  In these cases nothing is left at the target.
    """
    parts_of(target.name)
    with (
        explained(f"copy {shown(source)}", target),
        opened_root(target.parent.parent) as above,
        _opened(open_dir(above, target.parent.name or ".")) as folder,
        _opened(_open_source(source, stamp)) as src,
    ):
        temp = temporary_name("part", target.name)
        with suppress(FileNotFoundError):
            os.unlink(temp, dir_fd=folder)
        there = lstat_at(folder, target.name)
        if there is not None:
            return _as_it_is(folder, target, there, src, sha256)
        try:
            return _copy(
                src, folder, temp, target=target, sha256=sha256, stamp=stamp, progress=progress
            )
        except BaseException:  # Ctrl-C included
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise


def _open_source(source: Path, stamp: FileStamp) -> int:
    try:
        fd = open_regular(source)
    except (FileNotFoundError, NotRegular) as why:
        raise _changed(source, "it is gone, or no regular file any more") from why
    found = FileStamp.of(os.fstat(fd))
    if not found.same_bytes_expected(stamp):
        os.close(fd)
        raise _changed(source, f"{found.size} bytes now, {stamp.size} planned")
    return fd


def _changed(source: Path, detail: str) -> SourceChanged:
    return SourceChanged(
        f"{shown(source)} is not the file that was planned with",
        detail=detail,
        hint="scan again and make a new plan",
    )


def _as_it_is(folder: int, target: Path, there: os.stat_result, src: int, sha256: str) -> Copied:
    """Raise unless `target` is a copy with these bytes; make it durable, a kill may have come."""
    what, source = "it has other content", os.fstat(src)
    if os.path.samestat(there, source):
        what = "it is another name of the source, not a copy"
    elif there.st_size == source.st_size:
        with suppress(NotRegular):
            found = hash_file(target.name, dir_fd=folder, want_quick=False)
            if found.sha256 == sha256:
                with _opened(open_regular(target.name, dir_fd=folder)) as fd:
                    os.fsync(fd)
                    lacking = _lacking(src, fd)
                sync(folder)
                return Copied(0, "already there", lacking)
    raise TargetOccupied(
        f"{shown(target)} already exists",
        detail=what,
        hint="look at it, and move it away or choose another target",
    )


def _copy(
    src: int,
    folder: int,
    temp: str,
    *,
    target: Path,
    sha256: str,
    stamp: FileStamp,
    progress: Progress | None,
) -> Copied:
    with _opened(os.open(temp, _NEW_FILE, 0o600, dir_fd=folder)) as out:
        if _clone(src, out):
            digest = hash_descriptor(out, target, progress=progress).sha256
            written, method = 0, "reflink"
        else:
            digest, written = _stream(src, out, progress)
            method = "copy"
        if not FileStamp.of(os.fstat(src)).same_bytes_expected(stamp):
            raise _changed(target, "its source changed while it was copied")
        if digest != sha256:
            raise CopyMismatch(
                f"{shown(target)}: the bytes read are not those in the catalog",
                detail=f"read {digest}, expected {sha256}",
                hint="the source may be damaged; recheck the torrent, then scan again",
            )
        not_kept = _dress(src, out)
        os.fsync(out)
        _publish(folder, temp, target, os.fstat(out))
    return Copied(written, method, not_kept)


def _clone(src: int, out: int) -> bool:
    try:
        fcntl.ioctl(out, _FICLONE, src)
    except OSError as why:
        if why.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        return False  # another filesystem, or one that cannot share blocks
    return True


def _stream(src: int, out: int, progress: Progress | None) -> tuple[str, int]:
    """Returns the SHA-256 of all bytes, and how many of them were written and not left a hole."""
    found = os.fstat(src)
    sparse = found.st_blocks * 512 < found.st_size
    whole = hashlib.sha256()
    written = 0
    for block in blocks(src, found.st_size):
        whole.update(block)
        if sparse and _ZEROS.startswith(block):
            os.lseek(out, len(block), os.SEEK_CUR)
        else:
            _write(out, memoryview(block))
            written += len(block)
        if progress is not None:
            progress(len(block))
    os.ftruncate(out, os.lseek(out, 0, os.SEEK_CUR))  # a hole at the end has no byte behind it
    return whole.hexdigest(), written


def _write(fd: int, block: memoryview) -> None:
    while block:
        block = block[os.write(fd, block) :]


def _dress(src: int, out: int) -> tuple[str, ...]:
    """Owner, mode, attributes, times: in this order, since each resets some of those before it."""
    found = os.fstat(src)
    not_kept = list(give_owner_and_mode(out, found))
    names = [name for name in _attributes(src) if name not in _XFS_ACLS]
    if _ACL not in names and _ACL in _attributes(out):
        os.removexattr(out, _ACL)  # the folder's default for new files, which this is none of
    for name in names:
        try:
            os.setxattr(out, name, os.getxattr(src, name))
        except OSError as why:
            if why.errno not in (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.E2BIG):
                raise
            not_kept.append(name)
    os.utime(out, ns=(found.st_atime_ns, found.st_mtime_ns))
    return tuple(not_kept)


def _lacking(src: int, made: int) -> tuple[str, ...]:
    """What an earlier copy did not keep, as `_dress` would say it."""
    old, new = os.fstat(src), os.fstat(made)
    lacking = ["owner"] if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) else []
    lacking += ["mode"] if stat.S_IMODE(old.st_mode) != stat.S_IMODE(new.st_mode) else []
    has = set(_attributes(made))
    return (
        *lacking,
        *(
            name
            for name in _attributes(src)
            if name not in _XFS_ACLS
            and (name not in has or os.getxattr(src, name) != os.getxattr(made, name))
        ),
    )


def _attributes(fd: int) -> list[str]:
    try:
        return sorted(os.listxattr(fd))
    except OSError as why:
        if why.errno == errno.ENOTSUP:
            return []
        raise


def _publish(folder: int, temp: str, target: Path, ours: os.stat_result) -> None:
    """Give the finished copy its name.  Never over anything."""
    if not rename_noreplace(folder, temp, folder, target.name):
        os.link(temp, target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        os.unlink(temp, dir_fd=folder)
    placed = lstat_at(folder, target.name)
    if placed is None or not os.path.samestat(placed, ours):
        raise TargetOccupied(
            f"{shown(target)} is being written by another process",
            hint="wait for the other run, then repeat this one",
        )
    sync(folder)


@contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
