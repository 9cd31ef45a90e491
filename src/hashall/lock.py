"""One writer at a time on a catalog."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seedkeep import clock
from seedkeep.errors import Locked

MOST_WORDS = 400  # of a command line; the whole note has to fit into one read


@contextmanager
def exclusive(
    catalog: Path, doing: str, *, wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the catalog for something long that writes.

    The kernel lets go when the process ends, however it ends, so a lock is never left behind.
    With `wait`, another holder is waited for without end: `wait` is told once who it is.

    Raises:
        Locked: Another process holds it; the error says which and since when.
    """
    path = catalog.with_name(catalog.name + ".lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise Locked(
                    f"the catalog {catalog} is in use",
                    detail=_holder(fd),
                    hint="wait for it to end, then run the same command again",
                ) from None
            wait(_holder(fd))
            fcntl.flock(fd, fcntl.LOCK_EX)
        note = {"pid": os.getpid(), "doing": doing[:MOST_WORDS], "since": clock.iso(clock.now())}
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(note).encode(), 0)
        yield
    finally:
        os.close(fd)


def holder(catalog: Path) -> str | None:
    """Who holds the catalog now, in words; None when nobody does."""
    try:
        fd = os.open(catalog.with_name(catalog.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd: int) -> str:
    try:
        note = json.loads(os.pread(fd, 8192, 0))
        return f"process {note['pid']} holds it since {note['since']}: {note['doing']}"
    except (ValueError, KeyError, TypeError):
        return "another process holds it"
