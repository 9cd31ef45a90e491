"""A new text file that a person asked for: written whole, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hashall.dirfd import explained, shown
from seedkeep.errors import Misused


@contextmanager
def new_file(path: Path, doing: str) -> Iterator[IO[str]]:
    """Open `path` for writing; what fails, or is interrupted, leaves nothing of it behind.

    Args:
        doing: What the file is for, as in "could not DOING: the disk is full".

    Raises:
        Misused: It exists, or cannot be made.
        SeedError: It could not be written to its end.
    """
    try:
        out = path.open("x", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as why:
        raise Misused(
            f"cannot write {shown(path)}",
            detail=str(why.strerror),
            hint="name a file that does not exist yet",
        ) from why
    made = os.fstat(out.fileno())
    try:
        with explained(doing, path), out:
            yield out
    except BaseException:  # Ctrl-C included
        with suppress(OSError):
            if os.path.samestat(path.lstat(), made):
                path.unlink()
        raise
