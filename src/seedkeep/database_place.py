"""Where a database file may live."""

from __future__ import annotations

import os
from pathlib import Path

from seedkeep.errors import Misused

# Locks and shared memory do not work between hosts on these, and WAL needs both.
_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "fuse.sshfs", "fuse.rclone"}
)


class MissingDatabase(Misused):
    """The file does not exist and was not to be created."""

    code = "database-missing"


def check_place(path: Path, *, create: bool) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Misused(
            f"SQLite cannot open a path that is not UTF-8: {str(path)!r}",
            hint="choose another place for the database",
        ) from None
    if path.is_dir():
        raise Misused(f"{path} is a folder, not a database file")
    if not create and not path.exists():
        raise MissingDatabase(f"there is no database at {path}", hint="is the path right?")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise Misused(
            f"cannot create the folder for {path}",
            detail=str(why),
            hint="create the folder, or choose another place for the database",
        ) from why
    kind = filesystem_type(path.parent)
    if kind in _NETWORK_FILESYSTEMS:
        raise Misused(
            f"{path} is on a network filesystem ({kind})",
            detail="locks are not reliable there; two programs could damage the database",
            hint="keep the database on a local disk",
        )


def filesystem_type(folder: Path) -> str:
    """Type of the mount that `folder` is on, as mountinfo names it; "" when it cannot be told."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            details = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        finally:
            os.close(descriptor)
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return ""
    mount_id = next((x.split()[1] for x in details.splitlines() if x.startswith("mnt_id:")), "")
    for line in mounts.splitlines():
        before, _, after = line.partition(b" - ")
        if before.split(b" ", 1)[0] == mount_id.encode():
            return after.split(b" ", 1)[0].decode("ascii", "replace")
    return ""
