"""SQLite's settings of a connection, for as long as a piece of work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from seedkeep.settings import environment
from seedkeep.sqlite import Database

# SQLite sorts as much at once as its cache may take.  Pieces that fit a processor's own cache, in a
# thread beside the reading, take two thirds of the time with 200,000 rows, half with 3,000,000.
_SORTING = {"cache_size": -4000, "threads": 1}
_ROOM = 1 << 30  # bytes; with less they may not fit, and 64 MiB can be sorted without any
_NAMED, _USUAL = ("SQLITE_TMPDIR", "TMPDIR"), ("/var/tmp", "/usr/tmp", "/tmp", ".")


@contextmanager
def pragmas(db: Database, values: Mapping[str, int | str]) -> Iterator[None]:
    """Inside, the connection has these values; after it, however it ends, those of before."""
    rows = [db.one(f"PRAGMA {name}") for name in values]
    before = [row[0] for row in rows if row is not None]
    try:
        for name, value in values.items():
            db.script(f"PRAGMA {name} = {value}")
        yield
    finally:
        for name, value in zip(values, before, strict=True):
            db.script(f"PRAGMA {name} = {value}")


@contextmanager
def quick_sorting(db: Database) -> Iterator[None]:
    """For an index of many rows.

    Sorted pieces go to temporary files.  In a container whose own filesystem is read-only there may
    be no place for them: then all is sorted at once, as far as the usual cache takes it.
    """
    with pragmas(db, _SORTING if _temporary_room() >= _ROOM else {}):
        yield


def _temporary_room() -> int:
    """Bytes free in the first place that SQLite takes (sqlite.org/tempfiles.html); 0 without."""
    named = [environment().get(name) for name in _NAMED]
    for path in [*filter(None, named), *_USUAL]:
        if os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK):
            room = os.statvfs(path)
            return room.f_bavail * room.f_frsize
    return 0
