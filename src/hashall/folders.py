"""Where folders are: many files lie in few folders, and finding a mount costs more than a look.

One object serves one pass over many torrents and keeps what it saw.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hashall.catalog.files import join
from hashall.catalog.inventory import StoredFolder
from hashall.catalog.torrents import FolderStamp
from hashall.hashing import inode_of
from hashall.model import Place
from hashall.places import Places
from seedkeep.errors import SeedError
from seedkeep.sqlite import from_db

# A folder as young as this can change again without another mtime, on filesystems that keep
# whole seconds.
YOUNG_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Folder:
    place: Place
    abspath: str  # symlinks resolved
    st_dev: int


@dataclass
class Folders:
    places: Places
    _found: dict[str, Folder] = field(default_factory=dict)

    def at(self, path: str) -> Folder:
        """Where an existing folder is.

        Raises:
            OSError, UnknownFilesystem: As `Places.find`.
        """
        found = self._found.get(path)
        if found is None:
            found = self._found[path] = self._beside_parent(path) or self._by_mount(path)
        return found

    def _beside_parent(self, path: str) -> Folder | None:
        """Below its parent, when it is a plain folder there and nothing is mounted on it."""
        parent, _, name = path.rpartition("/")
        if not parent or name in ("", ".", ".."):
            return None
        seen = os.lstat(path)
        # Above a mount point is a filesystem that nobody asked for; looking it up would note it.
        if not stat.S_ISDIR(seen.st_mode) or os.lstat(parent).st_dev != seen.st_dev:
            return None
        above = self.at(parent)
        abspath = f"{above.abspath.rstrip('/')}/{name}"
        if above.st_dev != seen.st_dev or self.places.mounts.is_mount_point(abspath):
            return None
        place = Place(above.place.device_id, join(above.place.relpath, name))
        return Folder(place, abspath, seen.st_dev)

    def _by_mount(self, path: str) -> Folder:
        spot = self.places.find(Path(path))
        return Folder(spot.place, spot.located.abspath, spot.located.st_dev)


def stamps_of(folders: Iterable[str]) -> Iterator[FolderStamp]:
    """What stat says of each folder, or of the nearest one above it that exists, each once."""
    now = time.time_ns()
    seen: set[str] = set()
    for folder in folders:
        path = folder
        while path not in seen:
            seen.add(path)
            found = _stat(path)
            if found is not None:
                young = now - found.st_mtime_ns < YOUNG_NS
                yield FolderStamp(path, inode_of(found), 0 if young else found.st_mtime_ns)
                break
            path = path.rpartition("/")[0] or "/"


def changed_since(before: Iterable[StoredFolder]) -> set[int]:
    """Torrents with a folder in which a name was made, removed or replaced since."""
    found: set[int] = set()
    seen: dict[str | bytes, tuple[int, int]] = {}  # each is looked at once
    for number, path, inode, mtime_ns in before:
        now = seen.get(path)
        if now is None:
            stat_ = _stat(path)
            now = seen[path] = (inode_of(stat_), stat_.st_mtime_ns) if stat_ else (-1, -1)
        if now != (inode, mtime_ns):
            found.add(number)
    return found


def elsewhere(
    homes: Iterable[tuple[int, str, Iterable[int]]],
    before: Iterable[StoredFolder],
    folders: Folders,
) -> set[int]:
    """Torrents whose folders are as they were, on what is another filesystem for the catalog now.

    A program in a container may not be told the identity that the host was told.

    Args:
        homes: (device, save path, torrents), as of the last look.
    """
    moved = {
        number: device_id
        for device_id, save_path, numbers in homes
        if _device_of(save_path, folders) not in (None, device_id)
        for number in numbers
    }
    return {
        number
        for number, path, *_ in before
        if number in moved and _device_of(from_db(path), folders) not in (None, moved[number])
    }


def _device_of(path: str, folders: Folders) -> int | None:
    try:
        return folders.at(path).place.device_id
    except (OSError, SeedError):
        return None


def _stat(path: str | bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
