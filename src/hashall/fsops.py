"""Every change to a file or a directory, each safe to repeat after a kill at any point.

An operation that returns is durable: files and directories were fsynced.  One that raises may have
done a part; calling it again, or its inverse, completes.  Nothing here ever writes over a name that
exists, and nothing below a root is reached through a symlink.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hashall.dirfd import (
    PREFIX,
    CannotChange,
    CopyMismatch,
    LostFile,
    NoSpace,
    OtherFilesystem,
    Parts,
    SourceChanged,
    TargetOccupied,
    TooManyLinks,
    UnsafePath,
    by_folder,
    explained,
    folder_at,
    is_half_made,
    lstat_at,
    make_below,
    mount_of,
    open_dir,
    opened_folder,
    opened_root,
    parts_of,
    rename_noreplace,
    root_if_any,
    shown,
    sync,
    sync_folders,
    temporary_name,
    ways,
)
from hashall.fscopy import Copied, copy_in
from hashall.hashing import FileStamp, NotRegular
from hashall.model import shown_inode
from seedkeep.errors import Refused

__all__ = [
    "PREFIX",
    "CannotChange",
    "Copied",
    "CopyMismatch",
    "LostFile",
    "NoSpace",
    "NotRegular",
    "OtherFilesystem",
    "SourceChanged",
    "TargetOccupied",
    "TooManyLinks",
    "UnsafePath",
    "copy_in",
    "fsync_dir",
    "link_files",
    "make_dirs",
    "move_files",
    "remove_empty_dirs",
    "remove_tree_of_ours",
    "retire_file",
]

# rmdir says: already gone, not empty (two spellings), a mount point.
_STAYS = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)


def fsync_dir(path: Path) -> None:
    """Make the entries of a directory durable."""
    with explained("save a directory", path), opened_root(path) as fd:
        sync(fd)


def make_dirs(path: Path, *, like: Path | None = None) -> list[Path]:
    """Make `path` and what is missing above it; returns what was made, top first.

    New directories get the owner and mode of `like`.  Symlinks are followed in the part that
    exists, which the user made, and nowhere else.
    """
    if not path.is_absolute() or ".." in path.parts:
        raise UnsafePath(f"not a plain absolute path: {shown(path)}")
    with explained("make a directory", path), _deepest_existing(path) as (top, fd):
        model = None if like is None else os.stat(like)
        missing = path.relative_to(top).parts
        # A killed run syncs each level before it starts the next, so only the last may be unsaved.
        with suppress(PermissionError), opened_root(top.parent) as above:
            sync(above)
        return [top.joinpath(*way) for way in make_below(fd, missing, lambda _: model)]


@contextmanager
def _deepest_existing(path: Path) -> Iterator[tuple[Path, int]]:
    """The directory to start from: the deepest that exists and is finished."""
    for candidate in (path, *path.parents):
        with root_if_any(candidate) as fd:
            if fd is not None and not is_half_made(fd):
                yield candidate, fd
                return


def move_files(src_root: Path, dst_root: Path, names: Sequence[str]) -> None:
    """Rename each of `names` from below `src_root` to below `dst_root`, on one filesystem.

    `dst_root` must exist; directories below it are made like those below `src_root` (owner, mode,
    and mtime as found by this call).  A file that is only at the target counts as moved.  All
    names are looked at before the first is moved.  The inverse is the call with the roots swapped;
    it is complete after any part of the move.

    Raises:
        TargetOccupied: A name exists on both sides.
        LostFile: A name exists on neither side.
        NotRegular, UnsafePath, OtherFilesystem: Nothing was moved either.
    """
    folders = by_folder(names)
    with (
        explained(f"move files to {shown(dst_root)}", src_root),
        opened_root(dst_root) as dst,
        root_if_any(src_root) as src,
    ):
        for folder, members in folders.items():
            _survey(src, dst, folder, members)
        models = _models(src, folders)
        made: list[Parts] = []
        for folder, members in folders.items():
            made += make_below(dst, folder, lambda way: models.get(way) or os.fstat(dst))
            with folder_at(src, folder) as s, opened_folder(dst, folder) as d:
                for name in members:
                    with explained("move a file", src_root.joinpath(*folder, name)):
                        _move(s, d, name)
        _give_times(dst, made, models)
        sync_folders(dst, ways(folders))  # the new name is saved before the old one is forgotten
        sync_folders(src, ways(folders))


def _survey(src: int | None, dst: int, folder: Parts, members: Sequence[str]) -> None:
    """Raise what would make the move of one directory's files impossible or ambiguous."""
    with folder_at(src, folder) as s, folder_at(dst, folder) as d:
        to_move = False
        for name in members:
            if _leftover(s, name) or _leftover(d, name):
                continue  # a killed fallback, which `_settle` ends
            old, new = lstat_at(s, name), lstat_at(d, name)
            _refuse_conflict("/".join((*folder, name)), old, new)
            to_move = to_move or old is not None
        if to_move and s is not None:
            with _nearest(dst, folder) as target:
                if mount_of(s) != mount_of(target):
                    raise OtherFilesystem(
                        f"cannot rename {shown('/'.join(folder) or '.')} to another filesystem",
                        detail="the two directories are on different filesystems or mounts",
                        hint="use paths of one mount on both sides, and make a new plan",
                    )


def _refuse_conflict(name: str, old: os.stat_result | None, new: os.stat_result | None) -> None:
    if old is None and new is None:
        raise LostFile(
            f"{shown(name)} is neither where it was nor where it should go",
            hint="look for it by its size or inode before anything else is changed",
        )
    if old is not None and new is not None:
        raise TargetOccupied(
            f"{shown(name)} already exists at the target",
            hint="look at both, move one away, and run the same command again",
        )
    for found in (old, new):
        if found is not None and not stat.S_ISREG(found.st_mode):
            raise NotRegular(f"not a regular file: {shown(name)}", hint="look who put it there")


@contextmanager
def _nearest(root: int, folder: Parts) -> Iterator[int]:
    """The deepest directory on the way to `folder` that exists."""
    for depth in range(len(folder), -1, -1):
        with folder_at(root, folder[:depth]) as fd:
            if fd is not None:
                yield fd
                return


def _models(src: int | None, folders: dict[Parts, list[str]]) -> dict[Parts, os.stat_result]:
    """What the directories on the way look like before a move changes their mtime."""
    models = {}
    for way in ways(folders):
        with folder_at(src, way) as fd:
            if fd is not None:
                models[way] = os.fstat(fd)
    return models


def _move(src: int | None, dst: int, name: str) -> None:
    _settle(src, dst, name)
    if src is None or lstat_at(src, name) is None:
        return
    if not rename_noreplace(src, name, dst, name):
        _move_by_link(src, dst, name)


def _move_by_link(src: int, dst: int, name: str) -> None:
    """For filesystems without RENAME_NOREPLACE: link, which never replaces either, then unlink.

    A kill in between leaves two names.  The temporary third one tells them from two names that
    the user gave the file, which must not become one.
    """
    temp = temporary_name("move", name)
    os.link(name, temp, src_dir_fd=src, dst_dir_fd=src, follow_symlinks=False)
    try:
        os.link(temp, name, src_dir_fd=src, dst_dir_fd=dst, follow_symlinks=False)
    except OSError:
        os.unlink(temp, dir_fd=src)
        raise
    os.unlink(name, dir_fd=src)
    os.unlink(temp, dir_fd=src)


def _leftover(folder: int | None, name: str) -> os.stat_result | None:
    return lstat_at(folder, temporary_name("move", name))


def _settle(src: int | None, dst: int, name: str) -> None:
    """End what a kill left of `_move_by_link` or of its inverse: no temporary name remains."""
    temp = temporary_name("move", name)
    for folder in (src, dst):
        left = _leftover(folder, name)
        if left is None or folder is None:
            continue
        old, new = lstat_at(src, name), lstat_at(dst, name)
        is_old = old is not None and os.path.samestat(left, old)
        is_new = new is not None and os.path.samestat(left, new)
        if is_old and is_new:
            os.unlink(name, dir_fd=src)
        if not is_old and not is_new:  # ours is the last name: it may not go
            os.link(temp, name, src_dir_fd=folder, dst_dir_fd=dst, follow_symlinks=False)
        os.unlink(temp, dir_fd=folder)


def _give_times(root: int, made: Sequence[Parts], models: dict[Parts, os.stat_result]) -> None:
    for way in made:
        with folder_at(root, way) as fd:
            if fd is not None and way in models:
                os.utime(fd, ns=(models[way].st_atime_ns, models[way].st_mtime_ns))


def link_files(links: Sequence[tuple[Path, str]], dst_root: Path) -> None:
    """Give each existing file a second name below `dst_root`, in the order given.

    Directories are made like `dst_root`.  A name that already is the file counts as made.

    Raises:
        TargetOccupied: Another file has the name.
        NotRegular, SourceChanged: The file to link is no regular file, or was exchanged meanwhile.
        TooManyLinks, OtherFilesystem: The filesystem cannot.
    """
    folders = by_folder(name for _, name in links)
    with explained("link files", dst_root), opened_root(dst_root) as dst:
        for folder in folders:
            make_below(dst, folder, lambda _: os.fstat(dst))
        for existing, name in links:
            *way, base = parts_of(name)
            with (
                explained(f"link {shown(existing)}", dst_root / name),
                opened_folder(dst, tuple(way)) as fd,
            ):
                _link(existing, fd, base)
        sync_folders(dst, ways(folders))


def _link(existing: Path, folder: int, name: str) -> None:
    source = os.lstat(existing)
    if not stat.S_ISREG(source.st_mode):
        raise NotRegular(f"not a regular file: {shown(existing)}", hint="look who put it there")
    there = lstat_at(folder, name)
    if there is not None and os.path.samestat(there, source):
        return
    if there is not None:
        raise TargetOccupied(
            f"{shown(name)} already exists and is another file",
            hint="look at it, and move it away",
        )
    os.link(existing, name, dst_dir_fd=folder, follow_symlinks=False)
    made = lstat_at(folder, name)
    if made is None or not os.path.samestat(made, source):
        os.unlink(name, dir_fd=folder)
        raise SourceChanged(f"{shown(existing)} was exchanged while it was linked")


def remove_empty_dirs(root: Path, names: Sequence[str]) -> None:
    """Remove the directories on the way to `names` that are empty, deepest first; never `root`."""
    folders = ways(by_folder(names)) - {()}
    with explained("remove empty directories", root), root_if_any(root) as fd:
        for folder in sorted(folders, key=lambda way: (-len(way), way)):
            # A symlink or file that took a directory's place is nothing of ours.
            with (
                explained("remove an empty directory", root.joinpath(*folder)),
                suppress(NotADirectoryError),
            ):
                _remove_if_empty(fd, folder)


def _remove_if_empty(root: int | None, folder: Parts) -> None:
    with folder_at(root, folder[:-1]) as parent:
        if parent is None:
            return
        try:
            os.rmdir(folder[-1], dir_fd=parent)
        except OSError as why:
            if why.errno not in _STAYS:
                raise
        sync(parent)


def remove_tree_of_ours(path: Path) -> None:
    """Remove a staging or hidden directory with all that is in it.  Missing is fine.

    Refused, with nothing removed, if the name is not one of ours, if it is no directory, or if
    another filesystem is mounted anywhere in it.
    """
    if not path.name.startswith(PREFIX) or path.name == PREFIX:
        raise Refused(
            f"{shown(path)} was not made by this program",
            detail=f"only names that start with {PREFIX} are removed with their content",
        )
    with explained("remove a directory", path), root_if_any(path.parent) as parent:
        if parent is None:
            return
        if lstat_at(parent, path.name) is not None:
            home = mount_of(parent)
            _each_directory(parent, path.name, home, remove=False)
            _each_directory(parent, path.name, home, remove=True)
        sync(parent)


def _each_directory(parent: int, name: str, home: tuple[int, int], *, remove: bool) -> None:
    fd = open_dir(parent, name)
    try:
        if mount_of(fd) != home:
            raise Refused(
                f"another filesystem is mounted at {shown(name)}",
                hint="unmount it, then run the same command again",
            )
        with os.scandir(fd) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                _each_directory(fd, entry.name, home, remove=remove)
            elif remove:
                os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    if remove:
        os.rmdir(name, dir_fd=parent)


def retire_file(root: Path, name: str, *, stamp: FileStamp) -> int:
    """Remove one name below `root` if it still is the file of `stamp`; 0 if it is gone already.

    The caller has proved that the bytes are safe elsewhere.

    Returns:
        Bytes freed, by file length: 0 if the inode has another name.
    """
    *way, base = parts_of(name)
    with (
        explained("remove a file", root / name),
        root_if_any(root) as top,
        folder_at(top, tuple(way)) as fd,
    ):
        if fd is None:
            return 0
        found = lstat_at(fd, base)
        if found is None:
            sync(fd)  # a killed run may have removed it without saving that
            return 0
        if not FileStamp.of(found).same_bytes_expected(stamp) or not stat.S_ISREG(found.st_mode):
            raise SourceChanged(
                f"{shown(root / name)} is not the file that was to be removed",
                detail=f"inode {found.st_ino} with {found.st_size} bytes, "
                f"expected {shown_inode(stamp.inode)} with {stamp.size}",
                hint="scan again; nothing was removed",
            )
        os.unlink(base, dir_fd=fd)
        sync(fd)
        return found.st_size if found.st_nlink == 1 else 0
