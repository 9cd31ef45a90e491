"""What lies at a path, where a disk that fails must not look like an empty one."""

from __future__ import annotations

from pathlib import Path

from hashall.hashing import FileStamp
from hashall.presence import lies_at
from hashall.qbittorrent import stamp_at


def regular_at(path: str | Path) -> FileStamp | None:
    """What is there, if it is a regular file; a disk that fails raises `OSError`."""
    stamp = stamp_at(path)
    if stamp is None:
        lies_at(path)
    return stamp
