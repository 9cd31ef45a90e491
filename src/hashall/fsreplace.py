"""Put another file in the place of a name, which is there at every moment.

A swap leaves the old file under a second name of ours beside it (the kept one, made first) until
`drop_kept` or `take_back`.  Both names that a swap makes can be told from its target's name alone,
so whoever comes after a crash finds them: see `leftovers`.  Everything here works on a descriptor
of the directory and syncs nothing: the caller does, once for many names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from hashall import dirfd
from hashall.dirfd import RENAME_EXCHANGE, SourceChanged, lstat_at, shown, temporary_name

Same = Callable[[os.stat_result], bool]  # is this still the file that was decided about?


@dataclass(frozen=True)
class Leftovers:
    """What lies beside and at a name; None where nothing does."""

    there: os.stat_result | None  # at the name itself
    new: os.stat_result | None  # on its way in, or just displaced
    kept: os.stat_result | None  # the old file


def new_name(name: str) -> str:
    return temporary_name("new", name)


def kept_name(name: str) -> str:
    return temporary_name("kept", name)


def leftovers(folder: int, name: str) -> Leftovers:
    return Leftovers(
        lstat_at(folder, name), lstat_at(folder, new_name(name)), lstat_at(folder, kept_name(name))
    )


def is_tidy(folder: int, name: str) -> bool:
    """No name of ours lies beside it."""
    found = leftovers(folder, name)
    return found.new is None and found.kept is None


def drop_part(folder: int, name: str) -> None:
    """Remove the unfinished copy that `copy_in` was making under the new name."""
    with suppress(FileNotFoundError):
        os.unlink(temporary_name("part", new_name(name)), dir_fd=folder)


def swap_in_link(
    source_folder: int,
    source_name: str,
    folder: int,
    name: str,
    *,
    is_source: Same,
    is_target: Same,
) -> None:
    """Make `name` a link to the source; the old file stays under its kept name.

    Whoever looks meets the old file or the new one, never none.  The file that the exchange put
    aside is looked at, so a file that came to the name since the caller's own look is put back.

    Raises:
        SourceChanged: The source or the target is another file by now; nothing was changed.
        OSError: As the system says; nothing was changed.  FileExistsError: a leftover lies there.
    """
    kept, new = kept_name(name), new_name(name)
    os.link(name, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    try:
        _expect(folder, kept, is_target, name)
        os.link(
            source_name, new, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False
        )
        try:
            _expect(folder, new, is_source, source_name)
            _exchange_in(folder, new, name, is_target)
        except BaseException:
            _unlink_if(folder, new, is_source)
            raise
    except BaseException:
        _unlink_if(folder, kept, is_target)
        raise


def swap_in_file(folder: int, name: str, *, is_target: Same) -> None:
    """Put the finished file under the new name into the place of `name`, as `swap_in_link` does.

    The caller knows other names of the old file, so none is kept.
    """
    _expect(folder, name, is_target, name)
    _exchange_in(folder, new_name(name), name, is_target)


def link_new(source_folder: int, source_name: str, folder: int, name: str) -> None:
    """Make a link to an existing file under the new name of `name`, for `swap_in_file`."""
    new = new_name(name)
    os.link(source_name, new, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)


def _exchange_in(folder: int, new: str, name: str, is_target: Same) -> None:
    if not exchange(folder, new, name):
        _expect(folder, name, is_target, name)  # the best that can be done without an exchange
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    displaced = lstat_at(folder, new)
    if displaced is None or not is_target(displaced):
        exchange(folder, new, name)
        raise _changed(name)
    os.unlink(new, dir_fd=folder)


def exchange(folder: int, one: str, other: str) -> bool:
    """Swap two names in one step.  False: this filesystem cannot (some FUSE ones, NFS)."""
    try:
        dirfd.renameat2(folder, os.fsencode(one), folder, os.fsencode(other), RENAME_EXCHANGE)
    except OSError as why:
        if why.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return False
    return True


def drop_kept(folder: int, name: str, *, is_target: Same) -> bool:
    """Remove the kept name, if it still is the old file.  False: it is gone already."""
    return _unlink_if(folder, kept_name(name), is_target)


def keep_displaced(folder: int, name: str) -> None:
    """The new name has become that of the old file: give it its kept name too, before it goes."""
    new, kept = new_name(name), kept_name(name)
    os.link(new, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


def drop_new(folder: int, name: str, *, is_ours: Same) -> bool:
    """Remove the new name, if it is the file that was to come in."""
    return _unlink_if(folder, new_name(name), is_ours)


def take_back(folder: int, name: str, *, is_link: Same) -> None:
    """Put the kept file back; `name` is another name of a file that has more.

    Raises:
        SourceChanged: The name is another file by now; both stay as they are.
    """
    kept = kept_name(name)
    _expect(folder, name, is_link, name)
    if not exchange(folder, kept, name):
        os.rename(kept, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    displaced = lstat_at(folder, kept)
    if displaced is None or not is_link(displaced):
        exchange(folder, kept, name)
        raise _changed(name)
    os.unlink(kept, dir_fd=folder)


def dress(folder: int, name: str, *, mode: int, uid: int, gid: int, mtime_ns: int) -> list[str]:
    """Give the file under the new name the owner, mode and mtime of the one it stands for.

    Returns what the system did not allow, out of "owner" and "mode".
    """
    refused = []
    fd = os.open(new_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        here = os.fstat(fd)
        if (here.st_uid, here.st_gid) != (uid, gid):  # a chown takes capabilities away
            try:
                os.fchown(fd, uid, gid)
            except PermissionError:
                refused.append("owner")
                mode &= ~(stat.S_ISUID | stat.S_ISGID)  # they must not come to mean another user
        try:
            os.fchmod(fd, stat.S_IMODE(mode))
        except PermissionError:
            refused.append("mode")
        os.utime(fd, ns=(os.fstat(fd).st_atime_ns, mtime_ns))
        os.fsync(fd)
    finally:
        os.close(fd)
    return refused


def _expect(folder: int, at: str, same: Same, name: str) -> None:
    found = lstat_at(folder, at)
    if found is None or not same(found):
        raise _changed(name)


def _changed(name: str) -> SourceChanged:
    return SourceChanged(
        f"{shown(name)} is not the file that was planned with", hint="scan again, make a new plan"
    )


def _unlink_if(folder: int, name: str, same: Same) -> bool:
    found = lstat_at(folder, name)
    if found is None or not same(found):
        return False
    os.unlink(name, dir_fd=folder)
    return True
