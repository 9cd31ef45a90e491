"""Where a path is in truth: on which filesystem, and where inside it.  And back again.

A catalog path is relative to the root of its filesystem, so every bind mount, container and
mount point gives one answer.  The mount behind a path is the one that the kernel names for an
open descriptor; comparing prefixes cannot see a bind or a mount that lies on top of another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hashall import btrfs
from hashall.devices import ZFS_TYPES, Identities, Identity
from hashall.mounts import (
    DELETED,
    Mount,
    UnknownFilesystem,
    mount_id_of,
    mount_table_text,
    read_mounts,
)

__all__ = ["Identity", "Located", "Mount", "MountTable", "UnknownFilesystem", "read_mounts"]


class Located(NamedTuple):
    """One place, whichever way it was reached."""

    identity: Identity
    relpath: str  # inside the filesystem, no leading slash, "" = its root
    abspath: str  # as reached now, symlinks resolved
    mount_point: str
    st_dev: int  # of today: it names nothing tomorrow


@dataclass(frozen=True)
class _Snapshot:
    """One reading of the mount table with what was found out about it; replaced as a whole."""

    text: bytes
    mounts: tuple[Mount, ...]
    by_id: dict[int, Mount]
    points: frozenset[str]
    identities: Identities
    subvolumes: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: bytes) -> _Snapshot:
        mounts = read_mounts(text)
        return cls(
            text=text,
            mounts=mounts,
            by_id={mount.mount_id: mount for mount in mounts},
            points=frozenset(mount.mount_point for mount in mounts),
            identities=Identities(mounts),
        )


class MountTable:
    """This process's mounts, and every question about paths.

    `locate` and `to_abspath` look at the kernel's table each time, because renaming the directory
    behind a bind mount changes it without any notice, and a mount id is given again at once.
    Identities are kept while that table stays the same; take a new one (or `refresh`) for each run.
    Safe to use from several threads.
    """

    def __init__(self, snapshot: _Snapshot) -> None:
        self._snapshot = snapshot

    @classmethod
    def read(cls) -> MountTable:
        return cls(_Snapshot.of(mount_table_text()))

    def refresh(self) -> None:
        """Forget everything, identities too, and read the mount table again."""
        self._snapshot = _Snapshot.of(mount_table_text())

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return self._snapshot.mounts

    def is_mount_point(self, abspath: str) -> bool:
        """Whether something is mounted at a real path, as of the last look; one set lookup.

        A walk asks this for each directory, beside comparing st_dev with the parent's: a bind
        mount of the same filesystem has the same st_dev.
        """
        return abspath in self._snapshot.points

    def locate(self, path: str | Path) -> Located:
        """Find out where an existing file or directory is; symlinks are followed.

        Raises:
            FileNotFoundError, PermissionError: As the path itself raises them.
            UnknownFilesystem: Its mount cannot be made sense of.
        """
        fd = _open_place(path)
        try:  # while it is open, neither the mount nor its id can go to another one
            return self._locate_open(fd, os.fspath(path))
        finally:
            os.close(fd)

    def _locate_open(self, fd: int, asked: str) -> Located:
        seen = os.fstat(fd)
        abspath = os.readlink(f"/proc/self/fd/{fd}")
        snapshot = self._look_again()
        mount = snapshot.by_id.get(mount_id_of(fd))
        if mount is None:
            raise UnknownFilesystem(
                f"{asked!r} is on a mount that is not in this process's mount table",
                detail="it was detached, or lies outside this process's root directory",
            )
        if mount.root.endswith(DELETED):
            raise UnknownFilesystem(
                f"what is mounted at {mount.mount_point!r} has been removed from its filesystem",
                detail=mount.root,
                hint="unmount it",
            )
        _check_still_there(abspath, seen)
        relpath = _inside(mount, abspath, seen)
        identity = snapshot.identities.of(mount, abspath, seen)
        return Located(identity, relpath, abspath, mount.mount_point, seen.st_dev)

    def locate_missing(self, path: str | Path) -> Located:
        """Like `locate`, for a path that may not exist yet: where it would be made.

        A dangling symlink is followed.  `st_dev` is that of the nearest directory that exists.
        """
        try:
            return self.locate(path)
        except FileNotFoundError:
            wanted = Path(os.path.realpath(path))
        for parent in wanted.parents:
            try:
                there = self.locate(parent)
            except FileNotFoundError:
                continue
            rest = str(wanted.relative_to(parent))
            return Located(
                there.identity,
                _join(there.relpath, rest),
                _join(there.abspath, rest),
                there.mount_point,
                there.st_dev,
            )
        raise FileNotFoundError(f"no directory above {os.fspath(path)!r} exists")

    def to_abspath(self, fs_key: str, relpath: str, *, preferred: str | None = None) -> str | None:
        """A path of today for a place in the catalog; None when no mount shows it to us.

        The preferred mount point is tried first, then mounts of the whole filesystem, then binds.
        The answer was located again, so it is that place or, if nothing is there, would be.
        """
        snapshot = self._look_again()
        mounts = [m for m in snapshot.mounts if _may_show(m, fs_key, snapshot.identities)]
        wish = preferred.rstrip("/") or "/" if preferred else None
        mounts.sort(key=lambda m: (m.mount_point != wish, len(m.root), m.mount_point))
        for mount in mounts:
            for path in _paths_through(mount, fs_key, relpath, snapshot.subvolumes):
                if self._is_at(path, fs_key, relpath):
                    return path
        return None

    def mount_points_of(self, fs_key: str) -> tuple[str, ...]:
        """Mount points that show this filesystem, or a part of it, here and now; sorted."""
        snapshot = self._look_again()
        points = {
            mount.mount_point
            for mount in snapshot.mounts
            if _may_show(mount, fs_key, snapshot.identities)
        }
        return tuple(sorted(point for point in points if self._shows(point, fs_key)))

    def _shows(self, point: str, fs_key: str) -> bool:
        try:
            there = self.locate(point)
        except (OSError, UnknownFilesystem):
            return False  # not ours to read, or hidden below another mount
        return there.identity.fs_key == fs_key and there.mount_point == point

    def _is_at(self, path: str, fs_key: str, relpath: str) -> bool:
        try:
            there = self.locate_missing(path)
        except (OSError, UnknownFilesystem):
            return False
        return (there.identity.fs_key, there.relpath, there.abspath) == (fs_key, relpath, path)

    def _look_again(self) -> _Snapshot:
        text = mount_table_text()
        snapshot = self._snapshot
        if text != snapshot.text:
            self._snapshot = snapshot = _Snapshot.of(text)
        return snapshot


def _open_place(path: str | Path) -> int:
    """A descriptor that only names the place; opening a pipe, a device or a lease disturbs none."""
    try:
        # O_DIRECTORY makes an automounter mount what belongs here; O_PATH alone does not.
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _check_still_there(abspath: str, seen: os.stat_result) -> None:
    """The kernel appends " (deleted)" to the path of what was removed meanwhile."""
    now = os.stat(abspath)
    if not os.path.samestat(now, seen):
        raise FileNotFoundError(f"{abspath!r} was replaced while it was looked at")


def _inside(mount: Mount, abspath: str, seen: os.stat_result) -> str:
    """The path from the root of the filesystem (on btrfs: of the subvolume)."""
    if mount.fs_type == "btrfs":
        return _inside_subvolume(mount, abspath, seen)
    return _join(mount.root, _rest_below(mount.mount_point, abspath)).lstrip("/")


def _inside_subvolume(mount: Mount, abspath: str, seen: os.stat_result) -> str:
    place = PurePosixPath(abspath)
    for directory in (place, *place.parents):
        info = seen if directory == place else os.stat(directory)
        if info.st_ino == btrfs.ROOT_INODE and stat.S_ISDIR(info.st_mode):
            return _rest_below(str(directory), abspath)
        if str(directory) == mount.mount_point:
            break
    # The mount shows a directory inside a subvolume, and the subvolume's root is out of sight.
    top = btrfs.shown_by(mount).path
    return _join(_rest_below(top, mount.root), _rest_below(mount.mount_point, abspath))


def _rest_below(top: str, path: str) -> str:
    """`path` relative to `top`, "" when equal; by whole components."""
    prefix = top.rstrip("/") + "/"
    if path == top:
        return ""
    if not path.startswith(prefix):
        raise UnknownFilesystem(
            f"{path!r} is not below {top!r}, although the kernel says that it is mounted there",
            hint="a directory above it may have been renamed just now: try again",
        )
    return path[len(prefix) :]


def _join(top: str, rest: str) -> str:
    return f"{top.rstrip('/')}/{rest}" if top and rest else top or rest


def _may_show(mount: Mount, fs_key: str, identities: Identities) -> bool:
    """Cheap to say no; a yes is checked by locating the path."""
    family = "zfs" if mount.fs_type in ZFS_TYPES else mount.fs_type
    if not fs_key.startswith(f"{family}:"):
        return False
    known = identities.known_of(mount)
    return known is None or known.fs_key == fs_key


def _paths_through(
    mount: Mount, fs_key: str, relpath: str, found: dict[tuple[str, str], str]
) -> Iterator[str]:
    """Paths that could be the place, if `mount` shows it."""
    if mount.fs_type != "btrfs":
        yield from _below_root(mount, mount.root, relpath)
        return
    wanted = fs_key.rpartition(":")[2]
    own = btrfs.shown_by(mount)
    if str(own.subvolume_id) == wanted:
        yield from _below_root(mount, "/" + _rest_below(own.path, mount.root), relpath)
    key = (mount.mount_point, wanted)
    if key in found:
        yield _join(found[key], relpath)
    for subvolume, below in btrfs.subvolumes_below(mount.mount_point):
        if str(subvolume) == wanted:
            found[key] = _join(mount.mount_point, below)
            yield _join(found[key], relpath)


def _below_root(mount: Mount, shown: str, relpath: str) -> Iterator[str]:
    """The path below the mount point when `relpath` lies in the shown directory."""
    place = "/" + relpath
    if place == shown or place.startswith(shown.rstrip("/") + "/"):
        yield _join(mount.mount_point, _rest_below(shown, place))
