"""Whether something lies at a path, where a disk that fails must not look like an empty one."""

from __future__ import annotations

import os
from pathlib import Path

from hashall.hashing import FileStamp
from hashall.qbittorrent import stamp_at


def lies_at(path: str | Path) -> bool:
    """False only where there surely is nothing; a disk that fails raises `OSError`."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def may_lie_at(path: str | Path) -> bool:
    """The same, but True where nobody can say."""
    try:
        return lies_at(path)
    except OSError:
        return True


def regular_at(path: str | Path) -> FileStamp | None:
    """What is there, if it is a regular file; a disk that fails raises `OSError`."""
    stamp = stamp_at(path)
    if stamp is None:
        lies_at(path)
    return stamp
