"""What btrfs says about itself through ioctls that need no privilege (linux/btrfs.h).

A btrfs filesystem holds many subvolumes.  Each is a filesystem of its own to us: hardlinks do not
cross into another one, inode numbers repeat, st_dev differs (and is given again after a deletion,
so it identifies nothing).  The root directory of a subvolume always has inode 256.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hashall.mounts import Mount, UnknownFilesystem

ROOT_INODE = 256
_FS_INFO = 0x8400941F
_INO_LOOKUP = 0xD0009412
_GET_SUBVOL_ROOTREF = 0xD000943D  # Linux 4.18
_INO_LOOKUP_USER = 0xD000943E  # Linux 4.18
_ARGUMENT_SIZE = 4096  # of all but FS_INFO
_PATH_AT, _NAME_AT, _COUNT_AT = 272, 16, 4088
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class Subvolume:
    """The subvolume that a mount shows, or a directory of which it shows."""

    subvolume_id: int
    path: str  # from the top of the filesystem, "/" = the top itself


def shown_by(mount: Mount) -> Subvolume:
    """Read the subvolume at a mount's root from its options; the kernel prints them last."""
    found = re.search(r"(?:^|,)subvolid=(\d+),subvol=(/.*)$", mount.super_options, re.DOTALL)
    if found is None:  # a name may hold commas, so the options must not be split at them
        raise UnknownFilesystem(
            f"the mount at {mount.mount_point!r} does not say which btrfs subvolume it shows",
            detail=mount.super_options,
        )
    return Subvolume(int(found[1]), found[2])


def filesystem_uuid(fd: int) -> str:
    """The UUID of the filesystem that `fd` (opened for reading) is on."""
    answer = fcntl.ioctl(fd, _FS_INFO, bytes(1024))
    return str(uuid.UUID(bytes=answer[16:32]))


def subvolume_id(fd: int) -> int:
    """The id of the subvolume that holds `fd`.  Ids are never given twice."""
    # Asking for the root directory's own name is the one question that anybody may ask.
    argument = bytearray(struct.pack("=QQ", 0, ROOT_INODE).ljust(_ARGUMENT_SIZE, b"\0"))
    fcntl.ioctl(fd, _INO_LOOKUP, argument)
    return int(struct.unpack_from("=Q", argument)[0])


def subvolumes_below(top: str) -> Iterator[tuple[int, str]]:
    """Every subvolume that can be reached below the directory `top`, nearest first.

    Yields:
        The subvolume's id and the path of its root directory below `top`.
    """
    waiting = deque([""])
    while waiting:
        here = waiting.popleft()
        for found, below in _children(Path(top, here)):
            path = str(Path(here, below))
            yield found, path
            waiting.append(path)


def _children(directory: Path) -> list[tuple[int, str]]:
    """Subvolumes directly inside the one that holds `directory`, and below `directory`."""
    try:
        fd = os.open(directory, _DIRECTORY)
    except OSError:  # not ours to read, or gone: no way leads through it
        return []
    try:
        found = [(child, _path_below(fd, child, parent)) for child, parent in _references(fd)]
    finally:
        os.close(fd)
    return [(child, path) for child, path in found if path is not None]


def _references(fd: int) -> list[tuple[int, int]]:
    """(id, inode of the directory that holds it) of each child, as far as they can be asked."""
    references: list[tuple[int, int]] = []
    argument = bytearray(_ARGUMENT_SIZE)
    while True:
        more = False
        try:
            fcntl.ioctl(fd, _GET_SUBVOL_ROOTREF, argument)
        except OSError as why:
            # EOVERFLOW: this many were given, and min_treeid is set to where to go on.
            if why.errno != errno.EOVERFLOW:
                return references
            more = True
        for place in range(argument[_COUNT_AT]):
            references.append(struct.unpack_from("=QQ", argument, 8 + 16 * place))
        if not more:
            return references


def _path_below(fd: int, child: int, parent_inode: int) -> str | None:
    """The path from the directory `fd` to a child subvolume; None when it is not below it."""
    argument = bytearray(struct.pack("=QQ", parent_inode, child).ljust(_ARGUMENT_SIZE, b"\0"))
    try:
        fcntl.ioctl(fd, _INO_LOOKUP_USER, argument)
    except OSError:
        return None
    name = bytes(argument[_NAME_AT:_PATH_AT]).split(b"\0", 1)[0]
    path = bytes(argument[_PATH_AT:]).split(b"\0", 1)[0]  # ends in a slash unless empty
    return os.fsdecode(path + name)
