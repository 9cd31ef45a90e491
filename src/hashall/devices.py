"""Which filesystem is this: a key that outlives reboots, and whether its link counts are true.

A wrong key mixes two filesystems up in the catalog, which is data loss later.  So a lasting key
needs proof (an id that the filesystem itself carries, and that no other mounted one carries too);
everything else gets a key marked `stable=False`, or UnknownFilesystem.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hashall import btrfs
from hashall.mounts import Mount, UnknownFilesystem, mount_id_of

ZFS_TYPES = frozenset({"zfs", "fuse.zfs"})
TOOL_TIMEOUT_S = 20.0
# Services and users often lack the sbin folders; a key must not depend on who asks.
TOOL_PATH = os.pathsep.join([*os.get_exec_path(), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_GETFSUUID = 0x80111500  # FS_IOC_GETFSUUID, Linux 6.9: struct { u8 len; u8 uuid[16]; }
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Identity:
    """What a filesystem is, as far as it can be proved."""

    fs_key: str  # "ext4:<uuid>", "zfs:<guid>", "btrfs:<uuid>:<subvolume>"; never two live ones
    fs_type: str  # as mounted: "fuse.zfs", not "zfs"
    stable: bool  # False: the key may mean another filesystem, or none, after a reboot


# Filesystems whose st_nlink is the number of names that the inode really has.
_TRUE_LINK_COUNTS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "fuse.zfs", "f2fs", "jfs", "tmpfs", "ramfs"}
)
_LINK_COUNT_DOUBTS = {
    "overlay": "writing or linking a file of a lower layer makes a copy, which breaks its links",
    "vfat": "FAT has no hardlinks",
    "msdos": "FAT has no hardlinks",
    "exfat": "exFAT has no hardlinks",
    "ntfs3": "NTFS counts a file's short name as a link",
    "ntfs": "NTFS counts a file's short name as a link",
    "nfs": "other clients and silly renames change names unseen, and attributes are cached",
    "nfs4": "other clients and silly renames change names unseen, and attributes are cached",
    "cifs": "an SMB server may report 1 for every file",
    "smb3": "an SMB server may report 1 for every file",
    "9p": "the server invents inode numbers, and may hide names that are outside its export",
    "virtiofs": "the host may have names that are outside the shared folder",
    "fuse": "a FUSE program reports what it likes, often 1 (mergerfs: of one branch)",
}


def link_count_doubt(fs_type: str) -> str | None:
    """Why st_nlink proves nothing on this type of filesystem; None when it does."""
    if fs_type in _TRUE_LINK_COUNTS:
        return None
    family = "fuse" if fs_type.startswith("fuse") else fs_type
    return _LINK_COUNT_DOUBTS.get(family, f"{fs_type} is not known to count links truthfully")


def link_counts_are_true(fs_type: str) -> bool:
    """Whether st_nlink counts every name of an inode; unknown filesystems do not."""
    return link_count_doubt(fs_type) is None


def device_number(st_dev: int) -> str:
    """`st_dev` as the mount table writes it."""
    return f"{os.major(st_dev)}:{os.minor(st_dev)}"


class Identities:
    """The identities of the filesystems in one mount table; asks each question once."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._mounts = mounts
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, tuple[int, Identity]] = {}  # by Mount.dev, with f_fsid
        self._uuids: dict[str, str | None] = {}  # by Mount.dev
        self._findmnt_uuids: Mapping[str, str] | None = None  # by Mount.dev
        self._zfs_guids: Mapping[str, str] | None = None  # by dataset

    def of(self, mount: Mount, abspath: str, seen: os.stat_result) -> Identity:
        """Identify the filesystem of a real path that was opened through `mount`.

        Raises:
            UnknownFilesystem: Not provable, or two mounted filesystems claim the same id.
        """
        if mount.fs_type == "btrfs":
            return self._btrfs(mount, abspath, seen)
        if mount.fs_type == "autofs":
            raise UnknownFilesystem(
                f"{abspath!r} waits for a filesystem that is not mounted",
                hint="see why the automounter does not mount it",
            )
        if stat.S_ISDIR(seen.st_mode) and device_number(seen.st_dev) != mount.dev:
            raise UnknownFilesystem(
                f"{abspath!r} has a device number that its mount does not have",
                detail=f"{device_number(seen.st_dev)}, and not {mount.dev} ({mount.fs_type})",
            )
        fsid = os.statvfs(abspath).f_fsid
        known_fsid, known = self._known.get(mount.dev, (fsid, None))
        if known is None or known_fsid != fsid:
            # One filesystem unmounted and another mounted can leave an equal mount table.
            if known is not None:
                self._forget()
            known = self._identify(mount, abspath, fsid)
            self._known[mount.dev] = (fsid, known)
        return known

    def known_of(self, mount: Mount) -> Identity | None:
        """What `of` has found out about a mount so far; None when nobody asked."""
        return self._known[mount.dev][1] if mount.dev in self._known else None

    def _identify(self, mount: Mount, abspath: str, fsid: int) -> Identity:
        if mount.fs_type in ZFS_TYPES:
            return self._zfs(mount)
        # Filesystems without a disk have an anonymous device number; the UUID that newer kernels
        # report for some of them (tmpfs, overlay) is drawn anew at each mount.
        if not mount.dev.startswith("0:"):
            lasting = self._uuid(mount, abspath)
            if lasting is not None:
                self._refuse_twins(mount, lasting)
                return Identity(f"{mount.fs_type}:{lasting}", mount.fs_type, stable=True)
        return Identity(_passing_key(mount, fsid), mount.fs_type, stable=False)

    def _btrfs(self, mount: Mount, abspath: str, seen: os.stat_result) -> Identity:
        fd = _open_inside(mount, abspath, seen.st_dev)
        if fd is None:
            raise UnknownFilesystem(
                f"cannot ask which btrfs subvolume {abspath!r} is in",
                hint="make it or one of the directories above it readable",
            )
        try:
            key = f"btrfs:{btrfs.filesystem_uuid(fd)}:{btrfs.subvolume_id(fd)}"
        except OSError as why:
            raise UnknownFilesystem(
                f"cannot ask which btrfs subvolume {abspath!r} is in", detail=str(why)
            ) from why
        finally:
            os.close(fd)
        return Identity(key, "btrfs", stable=True)

    def _zfs(self, mount: Mount) -> Identity:
        if self._zfs_guids is None:
            names = sorted({m.source for m in self._mounts if m.fs_type in ZFS_TYPES})
            self._zfs_guids = ask_zfs(names)
        guid = self._zfs_guids.get(mount.source)
        if guid is None:  # a container without the tool, or without its control device
            return Identity(f"zfs:{_printable(mount.source)}", mount.fs_type, stable=False)
        for other in self._mounts:
            claims = other.fs_type in ZFS_TYPES and self._zfs_guids.get(other.source) == guid
            if claims and other.dev != mount.dev:  # `zpool split` copies the guids
                raise _twins(mount, other, f"zfs guid {guid}")
        return Identity(f"zfs:{guid}", mount.fs_type, stable=True)

    def _refuse_twins(self, mount: Mount, lasting: str) -> None:
        """A snapshot or a copy of a disk carries its original's UUID."""
        for other in self._mounts:
            if other.fs_type != mount.fs_type or other.dev == mount.dev:
                continue
            if self._uuid(other, other.mount_point) == lasting:
                raise _twins(mount, other, f"UUID {lasting}")

    def _uuid(self, mount: Mount, abspath: str) -> str | None:
        """The UUID of a filesystem on a disk; None when it has none or nobody can tell."""
        if mount.dev not in self._uuids:
            found = self._kernel_or_tool_uuid(mount, abspath)
            self._uuids[mount.dev] = None if found is None or not found.strip("0-") else found
        return self._uuids[mount.dev]

    def _kernel_or_tool_uuid(self, mount: Mount, abspath: str) -> str | None:
        fd = _open_inside(mount, abspath, None)
        if fd is not None:
            try:
                return kernel_uuid(fd)
            except OSError:
                pass  # an older kernel, or a filesystem that does not tell it (vfat, ntfs3)
            finally:
                os.close(fd)
        if not _source_is_the_device(mount):
            return None
        if self._findmnt_uuids is None:
            self._findmnt_uuids = ask_findmnt()
        return self._findmnt_uuids.get(mount.dev) or ask_blkid(mount.source)


def kernel_uuid(fd: int) -> str:
    """Ask the kernel for the UUID of a mounted filesystem; needs no privilege.

    Raises:
        OSError: Linux before 6.9, or a filesystem that has none.
    """
    answer = fcntl.ioctl(fd, _GETFSUUID, bytes(17))
    return str(uuid.UUID(bytes=answer[1:17]))


def ask_zfs(names: Sequence[str]) -> dict[str, str]:
    """The guids of datasets by name; without those that `zfs` cannot tell."""
    command = ["zfs", "get", "-Hp", "-o", "name,value", "guid", *names]
    lines = (line.partition("\t") for line in _run(command).split("\n"))
    return {name: guid for name, _, guid in lines if guid.isascii() and guid.isdigit()}


def ask_findmnt() -> dict[str, str]:
    """UUIDs by "major:minor", as udev's database or a look at the disk gives them."""
    text = _run(["findmnt", "--kernel", "--list", "--json", "--output", "MAJ:MIN,UUID"])
    try:
        rows = json.loads(text)["filesystems"] if text else []
    except (ValueError, KeyError):
        return {}
    return {row["maj:min"]: row["uuid"] for row in rows if row["uuid"]}


def ask_blkid(source: str) -> str | None:
    """The UUID on a block device, where this user may read it."""
    # --probe, or blkid answers from its cache what another disk had under this device name.
    answer = _run(["blkid", "--probe", "-o", "value", "-s", "UUID", source]).strip()
    return answer if re.fullmatch(r"[0-9A-Fa-f-]{8,36}", answer) else None


def _run(command: Sequence[str]) -> str:
    """The output of a tool; "" when it is not installed.  Its exit code is not looked at:
    one unknown name among many makes it fail, with all the other answers given.
    """
    import shutil  # slow to import, and rarely needed
    import subprocess

    program = shutil.which(command[0], path=TOOL_PATH)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as why:
        # Taking silence for "no id" would give the same filesystem another key this time.
        raise UnknownFilesystem(
            f"{command[0]} did not answer within {TOOL_TIMEOUT_S:.0f} s",
            detail=" ".join(command[:6]),
            hint="look for a disk that does not respond",
        ) from why
    except OSError:
        return ""
    return os.fsdecode(done.stdout)


def _open_inside(mount: Mount, abspath: str, st_dev: int | None) -> int | None:
    """Open a directory for reading that is surely in `mount` (and has that st_dev), or None.

    Goes up from `abspath` until a directory may be read.  A file is opened only when it is
    mounted itself, so that no lease is broken and no device or pipe is touched.
    """
    here = PurePosixPath(abspath)
    for place in (here, *here.parents):
        fd = _open_readable(str(place), is_mounted_itself=str(place) == mount.mount_point)
        if fd is not None:
            same = st_dev is None or os.fstat(fd).st_dev == st_dev
            if same and mount_id_of(fd) == mount.mount_id:
                return fd
            os.close(fd)
        if str(place) == mount.mount_point:
            break
    return None


def _open_readable(path: str, *, is_mounted_itself: bool) -> int | None:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode) or (is_mounted_itself and stat.S_ISREG(mode)):
            return os.open(path, _READ)
    except OSError:
        return None
    return None


def _source_is_the_device(mount: Mount) -> bool:
    """False when the name that was mounted now belongs to another device."""
    try:
        found = os.stat(mount.source)
    except (OSError, ValueError):
        return True
    return stat.S_ISBLK(found.st_mode) and device_number(found.st_rdev) == mount.dev


def _passing_key(mount: Mount, fsid: int) -> str:
    """A key for what has no lasting id: true while it is mounted, a guess after that."""
    key = f"{mount.fs_type}:{_printable(mount.source)}:{fsid:x}"
    # Only tmpfs draws its own random f_fsid.  FUSE and NFS have 0, and overlays of one disk may
    # share that disk's: only the device number tells those apart.
    alone = fsid != 0 and (mount.fs_type == "tmpfs" or not mount.dev.startswith("0:"))
    return key if alone else f"{key}:{mount.dev}"


def _printable(text: str) -> str:
    """A source's name as plain text, for keys that go into databases and reports."""
    plain = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in plain)


def _twins(mount: Mount, other: Mount, claim: str) -> UnknownFilesystem:
    return UnknownFilesystem(
        "two mounted filesystems claim to be the same one",
        detail=f"{mount.source!r} at {mount.mount_point!r} and {other.source!r} at "
        f"{other.mount_point!r}, both with {claim}",
        hint="one is a copy or a snapshot of the other: unmount it, or give it an id of its own",
    )
