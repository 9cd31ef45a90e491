"""Walk directories and compare each with the catalog; nothing is written here.

One walker is one process's: it has a descriptor of the place's top and a view of the catalog.
Everything is opened below that descriptor, so that an unmount during the scan cannot show an empty
mount point in the place of a filesystem.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from hashall.catalog.scan_reads import CatalogView, KnownFolder, KnownRow
from hashall.disk_failures import count_failure
from hashall.hashing import WIDEST, folded
from hashall.relpath import join
from hashall.scan_model import (
    Difference,
    DriftPolicy,
    Findings,
    FolderChange,
    Gone,
    Unread,
    WalkPlace,
    as_listed,
)
from seedkeep.sqlite import to_db

if TYPE_CHECKING:
    from hashall.model import RelPath
    from hashall.scan_model import FileRow

# Snapshots, recovery folders and our own staging and hidden directories.
SKIPPED_NAMES = frozenset({".zfs", ".snapshots", "lost+found"})
SKIPPED_PREFIXES = (".nfs", ".fuse_hidden", ".seedkeep-")
_FIRST_LETTERS = frozenset(".l")  # that a skipped name can have
_name_first = itemgetter(0)
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPE, _FILE, _DIRECTORY, _SYMLINK = 0o170000, 0o100000, 0o040000, 0o120000
EXCLUDED = "excluded (--exclude)"
MOST_UNSEEN = 20  # names in one directory; then it counts as unreadable itself


class _View(Protocol):
    def folder(self, relpath: RelPath, /) -> KnownFolder | None: ...

    def close(self) -> None: ...


class _Nothing:
    """The view of a catalog that knows nothing at this place."""

    def folder(self, _: RelPath) -> KnownFolder | None:
        return None

    def close(self) -> None:
        pass


@dataclass
class _Listing:
    below: RelPath
    files: list[tuple[str, os.stat_result]]
    dirs: list[str]
    hidden: set[str]  # mounted, excluded or unseen: the catalog keeps what it has there
    unseen: int = 0  # names of which the disk did not say what they are


class Walker:
    def __init__(self, place: WalkPlace) -> None:
        self.place = place
        self._top = _open_top(place)
        self._view: _View = (
            CatalogView(place.catalog, place.device_id, place.mode) if place.catalog else _Nothing()
        )
        self._excluded = _matcher(place.exclude)
        self._databases = {inode for _, inode in place.databases}
        self._mounted: dict[str, set[str]] = {}  # directory → names in it where something is
        for point in place.mount_points:
            above, _, name = point.rpartition("/")
            self._mounted.setdefault(above or "/", set()).add(name)

    def close(self) -> None:
        os.close(self._top)
        self._view.close()

    def walk(self, todo: list[RelPath], budget: int) -> Findings:
        """Walk `todo` (below the place) from its end, parents before children.

        Stops after about `budget` entries; the rest is in the answer, in the same order.
        """
        found = Findings()
        while todo and budget > 0:
            below = todo.pop()
            listing = self._read(below, found)
            budget -= 1
            if found.failures is not None and _is_enough(found, listing):
                break
            if listing is not None:
                self._compare(below, listing, found)
                listing.dirs.sort(reverse=True)
                todo += [join(below, name) for name in listing.dirs]
                budget -= len(listing.files)
        found.rest = todo
        return found

    def _read(self, below: RelPath, found: Findings) -> _Listing | None:
        """List a directory; None when that cannot be done to the end.

        Nothing is concluded then about what the catalog knows below it, except when it is gone.
        """
        try:
            fd = os.open(below or ".", OPEN_DIRECTORY, dir_fd=self._top)
            try:
                if os.fstat(fd).st_dev != self.place.st_dev:
                    raise OSError(errno.EXDEV, "something was mounted here during the scan")
                return self._list(fd, below, found)
            finally:
                os.close(fd)
        except FileNotFoundError:
            found.vanished.append(self._relpath(below))
        except OSError as why:
            relpath, path = self._relpath(below), self._path(below)
            found.gaps[relpath] = found.unreadable[path] = str(why.strerror)
            count_failure(found, why, _given(found))
        return None

    def _list(self, fd: int, below: RelPath, found: Findings) -> _Listing:
        listing = _Listing(below, [], [], set())
        files, mounted = listing.files, self._mounted.get(self._path(below), ())
        excluded, databases = self._excluded, self._databases
        with os.scandir(fd) as entries:
            for entry in entries:
                name = entry.name
                if name[0] in _FIRST_LETTERS and (
                    name in SKIPPED_NAMES or name.startswith(SKIPPED_PREFIXES)
                ):
                    found.skipped["snapshot, recovery or staging name"] += 1
                    continue
                try:
                    seen = entry.stat(follow_symlinks=False)
                except OSError as why:
                    self._leave_unseen(name, why, listing, found)
                    continue
                if seen.st_ino > WIDEST:
                    seen = folded(seen)
                kind = seen.st_mode & _TYPE
                if excluded is not None and excluded.match(name, below):
                    self._leave_out(name, below, kind, listing, found)
                elif kind == _FILE:
                    doubtful = name in mounted or seen.st_ino in databases
                    if not (doubtful and self._is_barred(name, seen, listing, found)):
                        files.append((name, seen))
                elif kind == _DIRECTORY:
                    if name in mounted or seen.st_dev != self.place.st_dev:
                        listing.hidden.add(name)
                        found.borders.append(os.path.join(self._path(below), name))
                    else:
                        listing.dirs.append(name)
                else:
                    word = "symlink" if kind == _SYMLINK else "no regular file"
                    found.skipped[word] += 1
        return listing

    def _leave_unseen(self, name: str, why: OSError, listing: _Listing, found: Findings) -> None:
        """One damaged inode, or a dead disk that is mounted here, does not hide its neighbours."""
        path = os.path.join(self._path(listing.below), name)
        if name in self._mounted.get(self._path(listing.below), ()):
            found.borders.append(path)  # whatever it says, it is not said of what lies below it
        elif isinstance(why, FileNotFoundError):
            return  # vanished between listing and stat: as good as never there
        elif isinstance(why, PermissionError) or listing.unseen >= MOST_UNSEEN:
            raise why  # it is the same for every name in this directory
        else:
            listing.unseen += 1
            relpath = self._relpath(join(listing.below, name))
            found.gaps[relpath] = found.unreadable[path] = str(why.strerror)
            count_failure(found, why, _given(found))
        listing.hidden.add(name)

    def _is_barred(
        self, name: str, seen: os.stat_result, listing: _Listing, found: Findings
    ) -> bool:
        """Whether a file is mounted over another, or may not be opened: `files_in_use`."""
        if name in self._mounted.get(self._path(listing.below), ()):
            listing.hidden.add(name)  # its inode number may be another filesystem's
            found.skipped["mounted file"] += 1
            return True
        if (seen.st_dev, seen.st_ino) in self.place.databases:
            found.skipped["database in use by this scan"] += 1
            return True
        return False

    def _leave_out(
        self, name: str, below: RelPath, kind: int, listing: _Listing, found: Findings
    ) -> None:
        listing.hidden.add(name)
        found.skipped[EXCLUDED] += 1
        if kind == _DIRECTORY:  # what is in it is not covered by this scan
            found.gaps[self._relpath(join(below, name))] = EXCLUDED

    def _compare(self, below: RelPath, listing: _Listing, found: Findings) -> None:
        relpath = self._relpath(below)
        known = self._view.folder(relpath)
        change = FolderChange(relpath, known.dir_id if known else None, [], [], [], [], [])
        if known is None:
            self._all_new(listing, change, found)
        else:
            self._differences(listing, known, change, found)
            for name, row in known.names.items():  # those that the disk did not show
                if name not in listing.hidden:
                    change.gone.append(Gone(name, *row[1:4]))
                elif found.skipped[EXCLUDED] and self._is_excluded(name, below):
                    found.gaps[join(relpath, name)] = EXCLUDED  # known, and not looked at
            if len(known.dirs) or listing.hidden:
                here = listing.hidden.union(listing.dirs)
                change.gone_dirs.extend(i for name, i in known.dirs.items() if name not in here)
            if not (change.files or change.gone or change.gone_dirs):
                return
        found.changes.append(change)

    def _all_new(self, listing: _Listing, change: FolderChange, found: Findings) -> None:
        listing.files.sort(key=_name_first)
        found.added += len(listing.files)
        new = Difference.NEW  # by hand: a call for each name would cost a tenth of the listing
        change.files.extend(
            [
                (name if name.isascii() else to_db(name), new, *as_listed(seen))
                for name, seen in listing.files
            ]
        )

    def _differences(
        self, listing: _Listing, known: KnownFolder, change: FolderChange, found: Findings
    ) -> None:
        take = known.names.pop
        for name, seen in listing.files:
            row = take(name, None)
            if row is not None and row[1:6] == (
                seen.st_ino,
                seen.st_size,
                seen.st_mtime_ns,
                seen.st_ctime_ns,
                seen.st_nlink,
            ):
                found.unchanged += 1
                if row[7]:
                    found.unread.append(Unread(row[1], row[4], known.dir_id, name))
                continue
            what = self._difference(row, seen)
            found.added += what is Difference.NEW
            found.unchanged += what is Difference.TOUCHED
            found.changed += what is Difference.OTHER or what is Difference.WRITTEN
            if what is Difference.OTHER and row is not None:
                change.replaced.append(row[1])
            change.files.append(_row(name, what, seen))
        change.files.sort(key=_stored_name)

    def _difference(self, row: KnownRow | None, seen: os.stat_result) -> Difference:
        """`CatalogLoad` decides about the bytes once more, in SQL."""
        if row is None:
            return Difference.NEW
        if row[1] != seen.st_ino:
            return Difference.OTHER
        moved = row[4] != seen.st_ctime_ns
        full = moved and row[6] and self.place.drift is DriftPolicy.FULL
        if full or row[2:4] != (seen.st_size, seen.st_mtime_ns):
            return Difference.WRITTEN
        return Difference.TOUCHED

    def _is_excluded(self, name: str, below: RelPath) -> bool:
        return self._excluded is not None and self._excluded.match(name, below)

    def _path(self, below: RelPath) -> str:
        return os.path.join(self.place.abspath, below) if below else self.place.abspath

    def _relpath(self, below: RelPath) -> RelPath:
        return join(self.place.relpath, below) if below else self.place.relpath


def _given(found: Findings) -> int:
    return found.added + found.changed + found.unchanged


def _is_enough(found: Findings, listing: _Listing | None) -> bool:
    """Whether the disk failed too often, and is left alone for the rest of this task."""
    assert found.failures is not None
    if listing is not None and (listing.files or listing.dirs or not listing.unseen):
        found.failures.end_row()
    return found.failures.enough


def _open_top(place: WalkPlace) -> int:
    fd = os.open(place.abspath, OPEN_DIRECTORY)
    here = os.fstat(fd)
    if (here.st_dev, here.st_ino) != (place.st_dev, place.inode):
        os.close(fd)
        raise OSError(errno.EXDEV, "something was mounted here during the scan", place.abspath)
    return fd


def _stored_name(row: FileRow) -> str:
    return str(row[0])  # text or bytes: any order will do


def _row(name: str, what: Difference, seen: os.stat_result) -> FileRow:
    return (to_db(name), what, *as_listed(seen))


@dataclass(frozen=True)
class _Globs:
    names: re.Pattern[str] | None
    paths: re.Pattern[str] | None

    def match(self, name: str, below: RelPath) -> bool:
        if self.names is not None and self.names.match(name):
            return True
        return self.paths is not None and self.paths.match(join(below, name)) is not None


def _matcher(globs: tuple[str, ...]) -> _Globs | None:
    """A glob without a slash is for names, one with a slash for paths below the root."""
    if not globs:
        return None
    names = [fnmatch.translate(glob) for glob in globs if "/" not in glob.strip("/")]
    paths = [fnmatch.translate(glob.strip("/")) for glob in globs if "/" in glob.strip("/")]
    return _Globs(*(re.compile("|".join(part)) if part else None for part in (names, paths)))
