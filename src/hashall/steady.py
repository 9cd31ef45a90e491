"""Places for one look at thousands of paths.

Asking the kernel which mount is behind a path costs a hundred microseconds.  Here a directory is
asked about once, and what lies right in it is believed to be on the same filesystem when its device
number is the same and nothing is mounted there.  That holds while no mount comes or goes near it,
so whoever decides by it asks `is_steady` at the end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hashall.folders import Folder, Folders
from hashall.model import Place, RelPath
from hashall.mounts import Mount, mount_table_text, read_mounts
from hashall.pathing import Located
from hashall.places import Places, Spot, not_mounted


@dataclass(frozen=True)
class _Near:
    """What the answers so far rest on."""

    folders: frozenset[str]
    above: frozenset[str]  # every folder above these
    shown: frozenset[str]  # the same folders inside their filesystems
    filesystems: frozenset[str]  # "major:minor"

    def touches(self, mount: Mount) -> bool:
        """Whether it covers one of the folders, or a file in one, or shows one a second time."""
        point = mount.mount_point
        if point in self.folders or point in self.above:
            return True
        if point.rpartition("/")[0] in self.folders and not os.path.isdir(point):
            return True
        if mount.dev not in self.filesystems:
            return False
        root = mount.root.rstrip("/") + "/"
        # A btrfs root begins with the subvolume's path, which these do not: any may be meant.
        return mount.fs_type == "btrfs" or any(f"{path}/".startswith(root) for path in self.shown)


@dataclass
class SteadyPlaces(Places):
    """Gives the answers of `Places`; what is not plain is asked of it."""

    _text: bytes = field(default_factory=mount_table_text)
    _spots: dict[str, Spot] = field(default_factory=dict)  # of directories
    _missing: dict[str, Spot] = field(default_factory=dict)
    _absent: set[str] = field(default_factory=set)  # of which only the device was asked
    _folders: dict[tuple[int, RelPath], str | None] = field(default_factory=dict)

    def is_steady(self) -> bool:
        """Whether no mount came or went since this began that could make an answer another one."""
        now = mount_table_text()
        if now == self._text:
            return True
        before, after = set(read_mounts(self._text)), set(read_mounts(now))
        near = self._near()
        return not any(near.touches(mount) for mount in before ^ after)

    def _near(self) -> _Near:
        spots = [*self._spots.values(), *self._missing.values()]
        folders = {*self._absent, *(spot.located.abspath for spot in spots)}
        folders.update(path for path in self._folders.values() if path is not None)
        points = {spot.located.mount_point for spot in spots}
        mounts = read_mounts(self._text)
        return _Near(
            folders=frozenset(folders),
            above=_above(folders),
            shown=frozenset(f"/{spot.located.relpath}" for spot in spots),
            filesystems=frozenset(mount.dev for mount in mounts if mount.mount_point in points),
        )

    def find(self, path: Path | str) -> Spot:
        return self._find(str(path))

    def find_missing(self, path: Path | str) -> Spot:
        return self._find_missing(str(path))

    def device_where_absent(self, path: str) -> int:
        """Which device `find_missing` names, for a path at which the caller has seen nothing."""
        parent, _, name = path.rpartition("/")
        above = self._missing.get(parent) or self._spots.get(parent)
        if above is not None and name not in ("", ".", ".."):
            abspath = f"{above.located.abspath.rstrip('/')}/{name}"
            if not self.mounts.is_mount_point(abspath):
                self._absent.add(abspath)
                return above.device.device_id
        return self._find_missing(path).device.device_id

    def abspath(self, place: Place) -> Path | None:
        found = self._shown(place.device_id, place.relpath)
        return None if found is None else Path(found)

    def texts_of(self, device_id: int, paths: Iterable[RelPath]) -> list[str | None]:
        """`abspath` of many as text, most of them in few folders."""
        folders, roots, is_mount_point = self._folders, self._roots, self.mounts.is_mount_point
        found = []
        for path in paths:
            parent, _, name = path.rpartition("/")
            above = folders.get((device_id, parent))
            text = f"{above}/{name}"
            if not (above and path) or above == "/" or path in roots or is_mount_point(text):
                found.append(self._shown(device_id, path))
            else:
                found.append(text)
        return found

    def shown(self, device_id: int, path: RelPath) -> str:
        found = self._shown(device_id, path)
        return not_mounted(device_id, path) if found is None else found

    def _find(self, path: str) -> Spot:
        known = self._spots.get(path)
        if known is not None:
            return known
        return self._find_seen(path, os.lstat(path))

    def _find_seen(self, path: str, seen: os.stat_result) -> Spot:
        parent, _, name = path.rpartition("/")
        spot = None
        if parent and name not in (".", "..") and stat.S_IFMT(seen.st_mode) in _PLAIN:
            above = self._spots.get(parent)
            # Above a mount point is a filesystem that nobody asked for; a look would note it.
            if above is None and os.lstat(parent).st_dev == seen.st_dev:
                above = self._find(parent)
            if above is not None:
                spot = self._inside(above, name, seen.st_dev)
        if spot is None:
            spot = super().find(Path(path))
        if stat.S_ISDIR(seen.st_mode):
            self._spots[path] = spot
        return spot

    def _find_missing(self, path: str) -> Spot:
        known = self._missing.get(path)
        if known is not None:
            return known
        known = self._spots.get(path)
        if known is not None:
            return known
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            return self._find_absent(path)
        try:
            return self._find_seen(path, seen)
        except FileNotFoundError:
            return super().find_missing(Path(path))  # a dangling symlink is followed

    def _find_absent(self, path: str) -> Spot:
        parent, _, name = path.rpartition("/")
        if not parent or name in (".", ".."):
            return super().find_missing(Path(path))
        above = self._find_missing(parent)
        spot = self._inside(above, name, above.located.st_dev) or super().find_missing(Path(path))
        self._missing[path] = spot
        return spot

    def _inside(self, above: Spot, name: str, st_dev: int) -> Spot | None:
        """What lies right in a directory; None when something else may be mounted there."""
        there = above.located
        abspath = f"{there.abspath.rstrip('/')}/{name}"
        if st_dev != there.st_dev or self.mounts.is_mount_point(abspath):
            return None
        relpath = f"{there.relpath}/{name}" if there.relpath else name
        located = Located(there.identity, relpath, abspath, there.mount_point, st_dev)
        return Spot(above.device, located)

    def _shown(self, device_id: int, relpath: RelPath) -> str | None:
        """Through the directory above, which is looked up once."""
        parent, _, name = relpath.rpartition("/")
        if relpath and relpath not in self._roots:
            above = self._folder(device_id, parent)
            if above is not None:
                path = f"{above.rstrip('/')}/{name}"
                if not self.mounts.is_mount_point(path):
                    return path
        return self._asked(device_id, relpath)

    def _folder(self, device_id: int, relpath: RelPath) -> str | None:
        key = (device_id, relpath)
        if key not in self._folders:
            path = self._shown(device_id, relpath)
            if path is not None and relpath and not self._is_plain_folder(path, device_id):
                path = self._asked(device_id, relpath)
            self._folders[key] = path
        return self._folders[key]

    def _is_plain_folder(self, path: str, device_id: int) -> bool:
        known = self._spots.get(path)
        if known is not None:
            return known.device.device_id == device_id
        try:
            return self._find_missing(path).device.device_id == device_id and not os.path.islink(
                path
            )
        except OSError:
            return False

    def _asked(self, device_id: int, relpath: RelPath) -> str | None:
        found = super().abspath(Place(device_id, relpath))
        return None if found is None else str(found)

    @cached_property
    def _roots(self) -> frozenset[str]:
        """Paths that may be the top of what some mount shows: another mount may be preferred there.

        The kernel's path may begin with that of a btrfs subvolume, so every end of it counts.
        """
        parts = (mount.root.strip("/").split("/") for mount in self.mounts.mounts)
        return frozenset("/".join(way[start:]) for way in parts for start in range(len(way)))


def _above(paths: Iterable[str]) -> frozenset[str]:
    """Every folder above one of these absolute paths."""
    found: set[str] = set()
    for path in paths:
        above = path
        while above != "/" and (above := above.rpartition("/")[0] or "/") not in found:
            found.add(above)
    return frozenset(found)


@dataclass
class SteadyFolders(Folders):
    """Folders as these places know them, so that no folder is looked up twice."""

    places: SteadyPlaces

    def at(self, path: str) -> Folder:
        found = self._found.get(path)
        if found is None:
            spot = self.places.find(path)
            there = spot.located
            found = self._found[path] = Folder(spot.place, there.abspath, there.st_dev)
        return found


_PLAIN = frozenset({stat.S_IFDIR, stat.S_IFREG})
