"""Descriptors of the directories that a plan touches, found by their place in the catalog."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hashall.catalog.scans import is_at_or_below
from hashall.dirfd import UnsafePath, mount_of, opened_folder, shown
from hashall.model import Place, RelPath
from hashall.places import Places
from seedkeep.errors import SeedError

MOST_OPEN = 64  # directories between two batches; within one, as many as it needs


class NotShown(SeedError):
    """No mount shows the filesystem, or the part of it where the file lies."""

    code = "not-mounted"


@dataclass(frozen=True)
class Folder:
    """One open directory."""

    fd: int
    path: str  # absolute


@dataclass(frozen=True)
class _Top:
    relpath: RelPath
    path: str
    fd: int
    mount: tuple[int, int]


@dataclass
class Folders:
    """Opens each directory once.  Below a mount nothing is reached through a symlink."""

    places: Places
    _tops: dict[int, list[_Top]] = field(default_factory=dict)
    _open: dict[tuple[int, RelPath], Folder] = field(default_factory=dict)

    def at(self, device_id: int, relpath: RelPath) -> Folder:
        """The directory at a place.

        Raises:
            NotShown: No mount shows it now.
            UnsafePath: Something else is mounted on the way.
            OSError: It is gone; ENOTDIR or ELOOP: a symlink or file is in its place.
        """
        key = device_id, relpath
        if key not in self._open:
            self._open[key] = self._opened(device_id, relpath)
        return self._open[key]

    def shown(self, device_id: int, relpath: RelPath) -> str:
        """A path in words; cheap, so it tells what the last look at the mounts said."""
        try:
            top = self._top(device_id, relpath.rpartition("/")[0])
        except NotShown:
            return f"{relpath} on device {device_id} (not mounted)"
        return _below(top, relpath)

    def trim(self, most: int | None = None) -> None:
        """Close the directories that were opened first, down to a bound."""
        while len(self._open) > (MOST_OPEN if most is None else most):
            os.close(self._open.pop(next(iter(self._open))).fd)

    def close(self) -> None:
        for folder in self._open.values():
            os.close(folder.fd)
        for top in (top for tops in self._tops.values() for top in tops):
            os.close(top.fd)
        self._open.clear()
        self._tops.clear()

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, device_id: int, relpath: RelPath) -> Folder:
        top = self._top(device_id, relpath)
        below = relpath[len(top.relpath) :].strip("/")
        with opened_folder(top.fd, tuple(below.split("/")) if below else ()) as found:
            if mount_of(found) != top.mount:
                raise UnsafePath(f"something else is mounted at {shown(_below(top, relpath))}")
            return Folder(os.dup(found), _below(top, relpath))

    def _top(self, device_id: int, relpath: RelPath) -> _Top:
        """The highest directory of a mount that shows the place."""
        tops = self._tops.setdefault(device_id, [])
        known = next((top for top in tops if is_at_or_below(relpath, top.relpath)), None)
        if known is None:
            known = self._find_top(device_id, relpath)
            tops.append(known)
        return known

    def _find_top(self, device_id: int, relpath: RelPath) -> _Top:
        here, path = relpath, self.places.abspath(Place(device_id, relpath))
        while path is None and here:  # what is gone, or is a symlink now, no mount shows
            here = here.rpartition("/")[0]
            path = self.places.abspath(Place(device_id, here))
        if path is None:
            raise NotShown(
                f"{shown(relpath)} on device {device_id} is not to be seen",
                hint="mount the filesystem, then run the same command again",
            )
        mount_point = self.places.mounts.locate(_existing(path)).mount_point
        while here and str(path) != mount_point:
            here, path = here.rpartition("/")[0], path.parent
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return _Top(here, str(path), fd, mount_of(fd))


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _below(top: _Top, relpath: RelPath) -> str:
    rest = relpath[len(top.relpath) :].strip("/")
    return os.path.join(top.path, rest) if rest else top.path
