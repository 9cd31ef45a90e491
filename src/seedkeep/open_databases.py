"""Which files must not be opened: those of the databases that this process has open.

Who opens and closes such a file by itself drops the locks that SQLite holds on it (fcntl(2): a
closed descriptor of a file gives up all locks of the process on it).  Another process could then
write in the middle of a transaction, and what it committed would be lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet


class _Database(Protocol):
    path: Path


open_databases: WeakSet[_Database] = WeakSet()


def files_in_use() -> list[os.stat_result]:
    """The database itself, and what SQLite has beside it."""
    found = []
    for database in [*open_databases]:
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                found.append(os.stat(f"{database.path}{end}"))
    return found


def is_in_use(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to one of them."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return any(os.path.samestat(found, it) for it in files_in_use())
