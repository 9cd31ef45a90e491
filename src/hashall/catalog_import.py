"""Take hashes over from an older hashall's catalog: what was read once is not read again."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.old_catalog import OldCatalog, OldFile, TakenHashes
from hashall.hashing import inode_of
from hashall.places import Places
from seedkeep.errors import SeedError
from seedkeep.sqlite import open_database, transaction

_FRACTION = 1e-6  # seconds; a float of seconds cannot tell nanoseconds


@dataclass
class Imported:
    """What became of the files of the old catalog."""

    taken: int = 0
    had_one: int = 0  # this catalog has a hash of its own
    unscanned: int = 0  # not in this catalog as it is on the disk: scan first
    changed: int = 0  # other size or mtime than then, or no regular file
    gone: int = 0
    without_sha256: int = 0  # or nothing else that could be used


def import_hashes(
    places: Places, old: Path, progress: Callable[[int], None] = lambda _: None
) -> Imported:
    """Give files of this catalog the SHA-256 that an old one has, where size and mtime agree.

    Raises:
        Misused: `old` is no such catalog.
        SeedError: It cannot be read.
    """
    result, tables = Imported(), _Tables(places)
    with open_database(old, readonly=True) as db:
        source = OldCatalog(db)
        source.check()
        result.without_sha256 = source.without_sha256()
        with transaction(places.catalog.db):
            for number, file in enumerate(source.files(), 1):
                _take(tables, file, result)
                progress(number)
    return result


class _Tables:
    """The catalog's table for a file, by the device number of today."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._by_dev: dict[int, TakenHashes | None] = {}

    def of(self, path: str, st_dev: int) -> TakenHashes | None:
        if st_dev not in self._by_dev:
            self._by_dev[st_dev] = self._find(path)
        return self._by_dev[st_dev]

    def _find(self, path: str) -> TakenHashes | None:
        try:
            device = self._places.known(Path(path)).device
        except (SeedError, OSError):
            return None
        return TakenHashes(self._places.catalog.db, device.device_id)


def _take(tables: _Tables, file: OldFile, result: Imported) -> None:
    try:
        seen = os.lstat(file.path)
    except (OSError, ValueError):
        result.gone += 1
        return
    if not stat.S_ISREG(seen.st_mode) or not _unchanged(file, seen):
        result.changed += 1
        return
    table = tables.of(file.path, seen.st_dev)
    done = None
    if table is not None:
        done = table.take(inode_of(seen), seen.st_size, seen.st_mtime_ns, file.sha256)
    if done is None:
        result.unscanned += 1
    elif done:
        result.taken += 1
    else:
        result.had_one += 1


def _unchanged(file: OldFile, seen: os.stat_result) -> bool:
    if file.size != seen.st_size:
        return False
    if file.mtime.is_integer():
        return int(file.mtime) == seen.st_mtime_ns // 1_000_000_000
    return abs(file.mtime - seen.st_mtime) <= _FRACTION
