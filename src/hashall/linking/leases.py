"""Leases: nobody has a file open for writing, and nobody opens it so without our being told.

A read lease (F_SETLEASE) admits readers, so torrents go on seeding, and is refused while a writer
has the file open.  A writer that comes later waits in its open() until we let go, for 45 s at most
(/proc/sys/fs/lease-break-time), and `is_held` says that it came.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

_NO_LEASES_HERE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class HasWriter(OSError):
    """Somebody has the file open for writing."""


def take(fd: int) -> bool:
    """Take a read lease on an open file.  False: this filesystem or user cannot have one.

    Raises:
        HasWriter: Somebody writes to the file.
    """
    try:
        # The usual signal, SIGIO, would end the process; this one is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as why:
        if why.errno == errno.EAGAIN:
            raise HasWriter(errno.EAGAIN, "open for writing") from why
        if why.errno in (*_NO_LEASES_HERE, errno.EACCES, errno.EPERM):
            if has_writer(fd):
                raise HasWriter(errno.EAGAIN, "open for writing") from why
            return False
        raise
    return True


def is_held(fd: int) -> bool:
    """False as soon as a writer waits for the lease to end."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def has_writer(fd: int) -> bool:
    """Without leases: look through every process that this user may see.  Proves less."""
    wanted = os.fstat(fd)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            opened = list((process / "fd").iterdir())
        except OSError:  # another user's, or ended
            continue
        if any(_writes_to(process, entry.name, wanted) for entry in opened):
            return True
    return False


def _writes_to(process: Path, number: str, wanted: os.stat_result) -> bool:
    try:
        found = (process / "fd" / number).stat()
        if not os.path.samestat(found, wanted):
            return False
        text = (process / "fdinfo" / number).read_text("ascii")
    except (OSError, ValueError):
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags:")), "flags: 0")
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
