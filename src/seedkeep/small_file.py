"""Read a file that a person named in a setting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from seedkeep.errors import Misused


def read_small_file(path: Path, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        Misused: It cannot be read, is not a regular file, or is larger than `limit` bytes.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Misused(f"{path} is not a regular file")
            content = stream.read(limit + 1)
    except OSError as why:
        raise Misused(f"cannot read {path}", detail=why.strerror or str(why)) from why
    if len(content) > limit:
        raise Misused(f"{path} is larger than {limit} bytes")
    return content
