"""SQLite's settings of a connection, for as long as a piece of work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from seedkeep.sqlite import Database

# SQLite sorts as much at once as its cache may take.  Pieces that fit a processor's own cache, in a
# thread beside the reading, take half the time, with 200,000 rows and with 3,000,000.
_SORTING = {"cache_size": -4000, "threads": 1}
_ROOM = 128 << 20  # bytes; what needs more went there before, when its cache of 64 MiB was full
_TEMPORARY = ("/var/tmp", "/usr/tmp", "/tmp", ".")  # sqlite.org/tempfiles.html


@contextmanager
def pragmas(db: Database, values: Mapping[str, int | str]) -> Iterator[None]:
    rows = [db.one(f"PRAGMA {name}") for name in values]
    before = [row[0] for row in rows if row is not None]
    for name, value in values.items():
        db.script(f"PRAGMA {name} = {value}")
    try:
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
    """Bytes free where SQLite puts such files when nobody names a place; 0 without a place."""
    for path in _TEMPORARY:
        if os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK):
            room = os.statvfs(path)
            return room.f_bavail * room.f_frsize
    return 0
