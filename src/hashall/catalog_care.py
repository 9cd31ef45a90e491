"""Looking after catalog.db: its state, a backup, the migrations, and proof that it is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.health import MIGRATIONS, Health, Pages, Problem, Versions
from hashall.catalog.store import check_catalog_file
from hashall.hashing import inode_of
from hashall.lock import exclusive, holder
from hashall.model import PayloadStatus
from hashall.payload import payload_hash
from hashall.places import Places
from hashall.shown import ShownPaths
from seedkeep.database_place import filesystem_type
from seedkeep.migrations import migrate
from seedkeep.sqlite import Database, backup, open_database

MOST_EXAMPLES = 20


@dataclass(frozen=True)
class FileSize:
    path: Path
    bytes: int


@dataclass(frozen=True)
class DatabaseState:
    path: Path
    filesystem: str  # type of the mount that it is on
    bytes: int
    wal_bytes: int  # not folded into the file yet
    versions: Versions
    pages: Pages
    holder: str | None  # who writes for long just now
    backups: tuple[FileSize, ...]  # made by migrations, beside it


@dataclass(frozen=True)
class Migrated:
    path: Path
    applied: tuple[str, ...]
    schema: int


@dataclass
class TreeCheck:
    """The catalog's names beside what is on the disk now."""

    names: int = 0
    same: int = 0
    missing: list[str] = field(default_factory=list)  # no such file
    replaced: list[str] = field(default_factory=list)  # another inode has the name
    changed: list[str] = field(default_factory=list)  # other size or mtime
    linked: list[str] = field(default_factory=list)  # other link count
    unreadable: dict[str, str] = field(default_factory=dict)  # path → why it cannot be looked at
    not_mounted: int = 0

    @property
    def differing(self) -> int:
        return self.names - self.same - self.not_mounted - len(self.unreadable)


@dataclass(frozen=True)
class DatabaseCheck:
    path: Path
    problems: tuple[Problem, ...]
    tree: TreeCheck | None  # None: was not asked for


@contextmanager
def _opened(path: Path) -> Iterator[Database]:
    """As it is: no migration.  Raises for what is no catalog, which stays untouched."""
    check_catalog_file(path, may_be_empty=False)
    with open_database(path, create=False) as db:
        yield db


def state(path: Path) -> DatabaseState:
    with _opened(path) as db:
        health = Health(db)
        wal = path.with_name(path.name + "-wal")
        return DatabaseState(
            path=path,
            filesystem=filesystem_type(path.parent),
            bytes=path.stat().st_size,
            wal_bytes=wal.stat().st_size if wal.exists() else 0,
            versions=health.versions(),
            pages=health.pages(),
            holder=holder(path),
            backups=tuple(
                FileSize(copy, copy.stat().st_size)
                for copy in sorted(path.parent.glob(f"{path.name}.before-*"))
            ),
        )


def bring_up_to_date(path: Path) -> Migrated:
    """Apply missing migrations, each after a copy of the file."""
    with exclusive(path, "hashall db migrate"), _opened(path) as db:
        applied = migrate(db, MIGRATIONS)
        return Migrated(path, tuple(applied), Health(db).versions().schema)


def save(path: Path, target: Path) -> FileSize:
    """A copy of the catalog as of one moment, while others may write to it.

    Raises:
        DatabaseError: `target` exists or cannot be written; nothing is left of it.
    """
    with _opened(path) as db:
        backup(db, target)
    return FileSize(target, target.stat().st_size)


def check(
    places: Places, *, tree: bool, progress: Callable[[int], None] = lambda _: None
) -> DatabaseCheck:
    """Prove the catalog against itself and, with `tree`, against the disk."""
    catalog = places.catalog
    health = Health(catalog.db)
    damaged = health.pages_damaged()
    if damaged is not None:
        return DatabaseCheck(catalog.db.path, (damaged,), None)
    problems = [*health.contradictions(), *_wrong_payloads(catalog)]
    return DatabaseCheck(
        catalog.db.path, tuple(problems), check_tree(places, progress) if tree else None
    )


def _wrong_payloads(catalog: Catalog) -> Iterator[Problem]:
    wrong = []
    for payload in catalog.payloads.all():
        members = catalog.payloads.get(payload.payload_id).members
        complete = payload.status is PayloadStatus.COMPLETE
        if complete and payload_hash(members) != payload.payload_hash:
            wrong.append(str(payload.payload_id))
    if wrong:
        what = "payloads whose hash is not that of their members"
        yield Problem("payload-hash", what, len(wrong), tuple(wrong[:5]))


def check_tree(places: Places, progress: Callable[[int], None] = lambda _: None) -> TreeCheck:
    """Look at every name on the disk.  What differs was changed after its scan."""
    found, shown = TreeCheck(), ShownPaths(places)
    for device in places.catalog.devices.all():
        for file in places.catalog.files(device.device_id).everything():
            found.names += 1
            progress(found.names)
            path = shown.abspath(device.device_id, file.path)
            if path is None:
                found.not_mounted += 1
                continue
            try:
                seen = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                found.missing.append(path)
                continue
            except OSError as why:
                found.unreadable[path] = why.strerror or str(why)
                continue
            if inode_of(seen) != file.inode:
                found.replaced.append(path)
            elif (seen.st_size, seen.st_mtime_ns) != (file.size, file.mtime_ns):
                found.changed.append(path)
            elif seen.st_nlink != file.nlink:
                found.linked.append(path)
            else:
                found.same += 1
    return found
