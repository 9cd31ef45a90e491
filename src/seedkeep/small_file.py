"""Read a file that a person named in a setting, and write one that is not there yet."""

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


def write_small_file(path: Path, text: str, *, mode: int, replace: bool = False) -> None:
    """Write a regular file with exactly `mode`, and the folders above it where they are missing.

    What is replaced keeps its content in a file beside it, whose name ends in `.old`.

    Raises:
        Misused: It is there (and `replace` is False), or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise Misused(
            f"cannot write {path}", detail=f"{path.parent}: {why.strerror or why}"
        ) from why
    try:
        if replace and path.exists():
            _write(path.with_name(f"{path.name}.old"), path.read_bytes(), 0o600, os.O_TRUNC)
        _write(path, text.encode(), mode, os.O_TRUNC if replace else os.O_EXCL)
    except FileExistsError as why:
        raise Misused(f"{path} is there already", hint="--force replaces it") from why
    except OSError as why:
        raise Misused(f"cannot write {path}", detail=why.strerror or str(why)) from why
    except UnicodeEncodeError as why:
        raise Misused(f"{path} would hold a name that is not UTF-8") from why


def _write(path: Path, content: bytes, mode: int, how: int) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how, mode & 0o600
    )
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
