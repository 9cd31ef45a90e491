"""The mount table as the kernel prints it, and which of its lines a descriptor belongs to.

Everything here comes from procfs: `/proc/self/mountinfo` (format: proc_pid_mountinfo(5)) and
`/proc/self/fdinfo`.  No path is compared with another one here; `pathing.py` does that.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from seedkeep.errors import SeedError

MOUNTINFO = Path("/proc/self/mountinfo")
# The kernel marks the root of a bind mount whose directory or file was removed behind it.
DELETED = "//deleted"


class UnknownFilesystem(SeedError):
    """It cannot be proved which filesystem a path is on, so nothing may be decided about it."""

    code = "unknown-filesystem"


@dataclass(frozen=True)
class Mount:
    """One line of the mount table.  Bytes that are not UTF-8 are surrogate escapes."""

    mount_id: int  # given again to another mount as soon as this one is gone
    parent_id: int
    dev: str  # "major:minor" of the superblock; on btrfs no file's st_dev is ever equal to it
    root: str  # the directory (or file) of the filesystem that is shown here
    mount_point: str
    fs_type: str  # with its subtype: "fuse.zfs"
    source: str  # what the mounting program said: a device, a dataset, a server, any word
    super_options: str


def read_mounts(text: bytes | None = None) -> tuple[Mount, ...]:
    """Parse a mount table, by default this process's own, in the kernel's order.

    Raises:
        UnknownFilesystem: A line is not in the documented format, or there is no procfs.
    """
    raw = mount_table_text() if text is None else text
    # bytes.splitlines() also splits at carriage returns, which the kernel leaves unescaped.
    return tuple(_parse(line) for line in raw.split(b"\n") if line)


def mount_table_text() -> bytes:
    try:
        return MOUNTINFO.read_bytes()
    except OSError as why:
        raise _without_procfs(why) from why


def mount_id_of(fd: int) -> int:
    """The mount through which `fd` was opened: exact under binds and mounts on top of others."""
    try:
        text = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
    except OSError as why:
        raise _without_procfs(why) from why
    found = re.search(rb"^mnt_id:\s*(\d+)$", text, re.MULTILINE)
    if found is None:
        raise UnknownFilesystem(
            "this kernel does not say through which mount a file was opened",
            detail="no mnt_id in /proc/self/fdinfo",
            hint="Linux 3.15 or newer is needed",
        )
    return int(found[1])


def _parse(line: bytes) -> Mount:
    fields = line.split(b" ")
    try:
        # Any number of optional fields stands before the dash, none at all included.
        dash = fields.index(b"-", 6)
        fs_type, source = fields[dash + 1], fields[dash + 2]
        return Mount(
            mount_id=int(fields[0]),
            parent_id=int(fields[1]),
            dev=fields[2].decode("ascii"),
            root=_decode(fields[3]),
            mount_point=_decode(fields[4]),
            fs_type=_decode(fs_type),
            source=_decode(source),
            super_options=_decode(b" ".join(fields[dash + 3 :])),
        )
    except (ValueError, IndexError) as why:
        raise UnknownFilesystem(
            "a line of the mount table could not be read", detail=repr(line)
        ) from why


def _decode(field: bytes) -> str:
    """Undo the kernel's octal escapes (space, tab, newline, backslash, hash)."""
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), field))


def _without_procfs(why: OSError) -> UnknownFilesystem:
    return UnknownFilesystem(
        "the mount table of this process cannot be read",
        detail=str(why),
        hint="mount procfs at /proc",
    )
