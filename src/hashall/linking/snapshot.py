"""A snapshot before an execution, on the filesystems that have such a thing."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime

from hashall import btrfs
from hashall.devices import TOOL_PATH, ZFS_TYPES
from hashall.dirfd import PREFIX
from hashall.pathing import Located, MountTable
from seedkeep import clock
from seedkeep.errors import Refused

TOOL_TIMEOUT_S = 120.0


class SnapshotFailed(Refused):
    """The filesystem has snapshots, and none could be taken.  Nothing was linked."""

    code = "snapshot-failed"


@dataclass(frozen=True)
class Snapshot:
    """What was taken, or the sentence why nothing was."""

    taken: bool
    text: str


def take(located: Located, mounts: MountTable, plan_id: int) -> Snapshot:
    """Take a snapshot of the filesystem of a place.

    Raises:
        SnapshotFailed: It could have one, and its tool failed.
    """
    fs_type = located.identity.fs_type
    stamp = _stamp(clock.now(), plan_id)
    if fs_type in ZFS_TYPES:
        return _zfs(located, mounts, stamp)
    if fs_type == "btrfs":
        return _btrfs(located, stamp)
    return Snapshot(False, f"no snapshot of {located.mount_point}: {fs_type} has none")


def _stamp(moment: datetime, plan_id: int) -> str:
    return f"seedkeep-link-{plan_id}-{moment:%Y%m%dT%H%M%SZ}"


def _zfs(located: Located, mounts: MountTable, stamp: str) -> Snapshot:
    source = next(
        mount.source for mount in mounts.mounts if mount.mount_point == located.mount_point
    )
    name = f"{source}@{stamp}"
    _run("zfs", "snapshot", name)
    return Snapshot(
        True, f"{name} (it holds the blocks of the replaced files: zfs destroy {name} frees them)"
    )


def _btrfs(located: Located, stamp: str) -> Snapshot:
    """A read-only one inside the subvolume, under a name that no scan looks at."""
    top = located.abspath
    if located.relpath:
        top = top[: -len(located.relpath)].rstrip("/") or "/"
        if not located.abspath.endswith("/" + located.relpath) or not _is_subvolume(top):
            return Snapshot(
                False, f"no snapshot: the root of the subvolume of {located.abspath} is not shown"
            )
    target = f"{top.rstrip('/')}/{PREFIX}{stamp}"
    _run("btrfs", "subvolume", "snapshot", "-r", top, target)
    return Snapshot(
        True,
        f"{target} (it holds the blocks of the replaced files:"
        f" btrfs subvolume delete {target} frees them)",
    )


def _is_subvolume(path: str) -> bool:
    try:
        return os.stat(path).st_ino == btrfs.ROOT_INODE
    except OSError:
        return False


def _run(*command: str) -> None:
    program = shutil.which(command[0], path=TOOL_PATH)
    if program is None:
        raise SnapshotFailed(
            f"{command[0]} is not installed, so no snapshot can be taken",
            hint="install it, or leave --snapshot out",
        )
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
            text=True,
            errors="replace",
        )
        said = done.stderr.strip() if done.returncode else ""
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as why:
        said, failed = str(why), True
    if failed:
        raise SnapshotFailed(
            "the snapshot could not be taken; nothing was linked",
            detail=f"{' '.join(command)}: {said}",
            hint="see what the tool says, or leave --snapshot out",
        )
