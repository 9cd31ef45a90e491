"""The target's side of the facts: what lies where the group wants to go, and what can be reused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from hashall.catalog.files import join
from hashall.catalog.scans import is_at_or_below
from hashall.hashing import FileStamp
from hashall.model import CatalogFile, Place
from hashall.places import Spot
from hashall.presence import may_lie_at
from hashall.qbittorrent import stamp_at
from rehome.domain import find_root
from rehome.facts import ReuseFact, TargetFact, TorrentFact
from rehome.look import Look
from rehome.model import Direction, Fingerprint
from seedkeep.errors import SeedError

_NOTHING, _FOLDER, _LINK, _OTHER = "nothing", "folder", "link", "other"


@dataclass(frozen=True)
class _Wanted:
    """Where the files of one torrent belong on this side.  Paths as text: there are many."""

    target: str  # save path
    root: str  # its own folder; "" when it has none
    files: tuple[tuple[str, str], ...]  # folder, name
    folders: frozenset[str]

    @classmethod
    def by(cls, torrent: TorrentFact) -> _Wanted:
        top = str(torrent.target_path)
        files = []
        for file in torrent.files:
            folder, slash, name = file.name.rpartition("/")
            files.append((f"{top}/{folder}" if slash else top, name))
        root = f"{top}/{torrent.root_name}" if torrent.root_name else ""
        return cls(top, root, tuple(files), frozenset([folder for folder, _ in files]))


Wanted = Sequence[_Wanted]


@dataclass
class TargetSide:
    """Shared by all groups of one look; each question says what the torrents of its group want."""

    look: Look
    direction: Direction
    _kinds: dict[str, str] = field(default_factory=dict)  # of folders
    _unfit: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by save path

    @property
    def root(self) -> Path:
        return self.look.layout.target_root(self.direction)

    def devices(self, wanted: Wanted) -> tuple[int, ...]:
        """Filesystems that the group's places on this side are on."""
        folders = {folder for one in wanted for folder in one.folders}
        devices = {self._device(folder) for folder in folders}
        return tuple(sorted({self._root.device.device_id, *devices}))

    def _device(self, folder: str) -> int:
        if self._kind(folder) == _NOTHING:
            try:
                return self.look.places.device_where_absent(folder)
            except NotADirectoryError:
                pass
        return self._nearest(Path(folder)).device.device_id

    def _nearest(self, path: Path) -> Spot:
        """Where a folder will be made; one that a file stands in the way of, or that
        cannot be looked at, is foreign anyway.
        """
        try:
            return self.look.places.find_missing(path)
        except OSError:
            if path == path.parent:
                raise
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

    def files(self, wanted: Wanted) -> tuple[TargetFact, ...]:
        """What lies where the group's files belong, sorted by path."""
        there = set()
        for one in wanted:
            if all(self._kind(folder) == _NOTHING for folder in one.folders):
                continue
            paths = [f"{folder}/{name}" for folder, name in one.files]
            there.update([path for path in paths if may_lie_at(path)])
        return tuple([self._file(path) for path in sorted(there)])

    def _file(self, path: str) -> TargetFact:
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

    def foreign(self, wanted: Wanted) -> tuple[str, ...]:
        """What lies in a torrent's own folder on this side and is in no list of the group."""
        found = set(self._no_folders(wanted))
        ours: set[str] | None = None
        for root in {one.root for one in wanted if one.root}:
            if self._kind(root) in (_NOTHING, _LINK):
                continue  # found already, and what it leads to is not in the way
            if ours is None:
                ours = {f"{folder}/{name}" for one in wanted for folder, name in one.files}
            unread: list[OSError] = []
            for parent, dirs, names in os.walk(root, onerror=unread.append):
                links = [name for name in dirs if os.path.islink(f"{parent}/{name}")]
                found |= {f"{parent}/{name}" for name in (*names, *links)} - ours
            # What cannot be listed may hold anything; a folder that is missing holds nothing.
            found |= {why.filename for why in unread if may_lie_at(why.filename)}
        return tuple(sorted(found))

    def _no_folders(self, wanted: Wanted) -> Iterator[str]:
        """What stands where the group needs a folder and is none."""
        for one in wanted:
            yield from self._no_folders_above(one.target)
            for deepest in one.folders:
                folder = deepest
                while len(folder) > len(one.target):
                    # A symlink below the save path would lead what is placed to somewhere else.
                    if self._kind(folder) in (_LINK, _OTHER):
                        yield folder
                    folder = folder.rpartition("/")[0]

    def _no_folders_above(self, target: str) -> tuple[str, ...]:
        """The same for a save path and what is above it, where symlinks to folders are welcome."""
        if target not in self._unfit:
            unfit = []
            folder = target
            while folder:
                kind = self._kind(folder)
                if kind == _OTHER or (kind == _LINK and not os.path.isdir(folder)):
                    unfit.append(folder)
                folder = folder.rpartition("/")[0]
            self._unfit[target] = tuple(unfit)
        return self._unfit[target]

    def new_dirs(self, wanted: Wanted) -> tuple[str, ...]:
        """Directories that have to be made, deepest first."""
        missing: set[str] = set()
        for one in wanted:
            for deepest in one.folders:
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


def wanted_by(torrents: Iterable[TorrentFact]) -> Wanted:
    """What the torrents of a group want on this side; nothing for one that goes nowhere."""
    return [_Wanted.by(torrent) for torrent in torrents if torrent.target_path is not None]


def _kind_of(folder: str) -> str:
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    except OSError:
        return _OTHER  # it may be anything
    if stat.S_ISLNK(mode):
        return _LINK
    return _FOLDER if stat.S_ISDIR(mode) else _OTHER
