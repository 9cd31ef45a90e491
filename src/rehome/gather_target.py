"""The target's side of the facts: what lies where the group wants to go, and what can be reused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from hashall.catalog.files import join
from hashall.catalog.scans import is_at_or_below
from hashall.hashing import FileStamp
from hashall.model import CatalogFile, Place
from hashall.places import Spot
from hashall.qbittorrent import stamp_at
from rehome.domain import find_root
from rehome.facts import ReuseFact, TargetFact, TorrentFact
from rehome.look import Look
from rehome.model import Direction, Fingerprint
from seedkeep.errors import SeedError

_NOTHING, _FOLDER, _LINK, _OTHER = "nothing", "folder", "link", "other"


@dataclass
class TargetSide:
    """Shared by all groups of one look; each question names the torrents of its group."""

    look: Look
    direction: Direction
    _kinds: dict[str, str] = field(default_factory=dict)  # of folders

    @property
    def root(self) -> Path:
        return self.look.layout.target_root(self.direction)

    def devices(self, torrents: tuple[TorrentFact, ...]) -> tuple[int, ...]:
        """Filesystems that the group's places on this side are on."""
        folders = {folder for folder, _ in _folders(torrents)}
        spots = [self._root, *(self._nearest(Path(folder)) for folder in sorted(folders))]
        return tuple(sorted({spot.device.device_id for spot in spots}))

    def _nearest(self, path: Path) -> Spot:
        """Where a folder will be made; one that a file stands in the way of is foreign anyway."""
        try:
            return self.look.places.find_missing(path)
        except NotADirectoryError:
            return self._nearest(path.parent)

    @cached_property
    def free_bytes(self) -> int:
        space = os.statvfs(self.root)
        return space.f_bavail * space.f_frsize

    def _kind(self, folder: str) -> str:
        """What stands where a folder is needed; each is looked at once."""
        kind = self._kinds.get(folder)
        if kind is None:
            above = folder.rpartition("/")[0]
            kind = _NOTHING if above and self._kind(above) == _NOTHING else _kind_of(folder)
            self._kinds[folder] = kind
        return kind

    def files(self, torrents: tuple[TorrentFact, ...]) -> tuple[TargetFact, ...]:
        found = {}
        for folder, name in _folders(torrents):
            path = f"{folder}/{name}"
            if path not in found:
                there = self._kind(folder) != _NOTHING
                found[path] = self._file(path) if there else _nothing_at(path)
        return tuple(found[path] for path in sorted(found))

    def _file(self, path: str) -> TargetFact:
        if not os.path.lexists(path):
            return _nothing_at(path)
        stamp = stamp_at(Path(path))
        if stamp is None:
            return TargetFact(path, True, None, None, ())
        return TargetFact(
            path=path,
            exists=True,
            sha256=self._known_hash(Path(path), stamp),
            seen=Fingerprint(stamp.inode, stamp.size, stamp.mtime_ns),
            used_by=tuple(self.look.users_of(Path(path))),
        )

    def _known_hash(self, path: Path, stamp: FileStamp) -> str | None:
        place = self.look.places.find(path.parent).place
        known = self.look.catalog.files(place.device_id).file(join(place.relpath, path.name))
        if known is None or not is_fresh(known, stamp):
            return None
        return None if self._may_be_written(place.device_id, stamp.inode) else known.sha256

    def foreign(self, torrents: tuple[TorrentFact, ...]) -> tuple[str, ...]:
        """What lies in a torrent's own folder on this side and is in no list of the group."""
        found = set(self._no_folders(torrents))
        wanted: set[Path] | None = None
        for root in {f"{t.target_path}/{t.root_name}" for t in torrents if t.root_name}:
            if self._kind(root) in (_NOTHING, _LINK):
                continue  # found already, and what it leads to is not in the way
            if wanted is None:
                wanted = {Path(folder, name) for folder, name in _folders(torrents)}
            unread: list[OSError] = []
            for parent, dirs, names in os.walk(root, onerror=unread.append):
                links = [name for name in dirs if Path(parent, name).is_symlink()]
                found |= {Path(parent, name) for name in (*names, *links)} - wanted
            # What cannot be listed may hold anything; a folder that is missing holds nothing.
            found |= {Path(why.filename) for why in unread if os.path.lexists(why.filename)}
        return tuple(sorted(str(path) for path in found))

    def _no_folders(self, torrents: tuple[TorrentFact, ...]) -> Iterator[Path]:
        """What stands where the group needs a folder and is none."""
        known: set[tuple[str, bool]] = set()
        for torrent in torrents:
            if torrent.target_path is None:
                continue
            target = str(torrent.target_path)
            for deepest in {folder for folder, _ in _folders((torrent,))} | {target}:
                folder = deepest
                while folder and (folder, len(folder) > len(target)) not in known:
                    # A symlink below the save path would lead what is placed to somewhere else.
                    inside = len(folder) > len(target)
                    known.add((folder, inside))
                    kind = self._kind(folder)
                    no_folder = kind == _LINK and (inside or not os.path.isdir(folder))
                    if kind == _OTHER or no_folder:
                        yield Path(folder)
                    folder = folder.rpartition("/")[0]

    def new_dirs(self, torrents: tuple[TorrentFact, ...]) -> tuple[str, ...]:
        """Directories that have to be made, deepest first."""
        missing: set[str] = set()
        for deepest, _ in _folders(torrents):
            folder = deepest
            while folder and folder not in missing and self._kind(folder) == _NOTHING:
                missing.add(folder)
                folder = folder.rpartition("/")[0]
        return tuple(sorted(missing, key=lambda path: (-path.count("/"), path)))

    def reusable(self, torrents: tuple[TorrentFact, ...]) -> Iterator[ReuseFact]:
        """Files on this side that have bytes of the group, as they are now.

        For each content the first by path.  Files of unfinished torrents never: the client may
        still write into them.
        """
        files = self.look.catalog.files(self._root.device.device_id)
        contents = {(f.sha256, f.size) for t in torrents for f in t.files if f.sha256}
        for sha256, size in sorted(contents):
            for known in files.with_bytes(sha256, size):
                path = self._as_catalogued(known)
                if path is None or self._may_be_written(known.device_id, known.inode):
                    continue
                seen = Fingerprint(known.inode, known.size, known.mtime_ns)
                yield ReuseFact(size, sha256, path, seen)
                break

    @cached_property
    def _root(self) -> Spot:
        return find_root(self.look.places, self.root)

    def _may_be_written(self, device_id: int, inode: int) -> bool:
        """Whether an unfinished torrent has the file under any of its names."""
        unfinished = self.look.unfinished
        if not unfinished:
            return False
        names = self.look.catalog.files(device_id).names_of(inode)
        return any(
            f"{self.look.places.shown(device_id, name)}/".startswith(unfinished) for name in names
        )

    def _as_catalogued(self, known: CatalogFile) -> str | None:
        """Where the file is now, if it still is what the catalog says and may be linked to."""
        path = self._linkable(known)
        stamp = stamp_at(Path(path)) if path else None
        return path if stamp is not None and is_fresh(known, stamp) else None

    def _linkable(self, known: CatalogFile) -> str | None:
        """A hardlink cannot cross from one mount to another, even on one filesystem; so the file is
        named through the seeding root, or where it is shown on the same mount.

        On the pool only what lies in the seeding domain is reused; on stash a library's file is
        what a promotion is made for.
        """
        root = self._root
        if is_at_or_below(known.path, root.place.relpath):
            way = PurePosixPath(known.path).relative_to(root.place.relpath or ".")
            return f"{self.root}/{way}"
        if self.direction is not Direction.PROMOTE or not any(
            place.device_id == known.device_id and is_at_or_below(known.path, place.relpath)
            for place in self._libraries
        ):
            return None
        path = self.look.places.abspath(Place(known.device_id, known.path))
        if path is None:
            return None
        try:
            there = self.look.places.find(path.parent).located
        except (OSError, SeedError):
            return None
        return str(path) if there.mount_point == root.located.mount_point else None

    @cached_property
    def _libraries(self) -> tuple[Place, ...]:
        roots = self.look.layout.library_roots
        return tuple(find_root(self.look.places, root).place for root in roots)


def is_fresh(known: CatalogFile, stamp: FileStamp) -> bool:
    """Whether a file still is what the catalog hashed."""
    return (known.inode, known.size, known.mtime_ns) == (stamp.inode, stamp.size, stamp.mtime_ns)


def _folders(torrents: tuple[TorrentFact, ...]) -> Iterator[tuple[str, str]]:
    """(folder, name) of each place on this side."""
    for torrent in torrents:
        if torrent.target_path is None:
            continue
        root = str(torrent.target_path)
        for file in torrent.files:
            folder, slash, name = file.name.rpartition("/")
            yield (f"{root}/{folder}" if slash else root), name


def _nothing_at(path: str) -> TargetFact:
    return TargetFact(path, False, None, None, ())


def _kind_of(folder: str) -> str:
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    if stat.S_ISLNK(mode):
        return _LINK
    return _FOLDER if stat.S_ISDIR(mode) else _OTHER
