"""Files with equal bytes: groups, and what hardlinks in their place would save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

from hashall.catalog.duplicates import EqualBytes
from hashall.devices import link_counts_are_true
from hashall.places import Places
from hashall.shown import ShownPaths


@dataclass(slots=True)  # frozen would take four times as long to make, and there are many
class Copy:
    """One inode of a group."""

    device_id: int
    inode: int
    nlink: int  # as of the last scan; above len(paths): names that no scan has seen
    paths: tuple[str, ...]  # absolute, sorted


@dataclass(slots=True)
class DuplicateGroup:
    """Equal bytes in more than one inode."""

    sha256: str
    size: int  # bytes of one copy
    saves: int  # bytes that hardlinks inside each filesystem would free
    redundant: int  # bytes beyond one copy, wherever they are
    copies: tuple[Copy, ...]  # what hardlinks would keep comes first on each device


@dataclass(frozen=True)
class Duplicates:
    groups: tuple[DuplicateGroup, ...]  # the most redundant first
    saves: int  # bytes
    redundant: int  # bytes
    unhashed: int  # files without a SHA-256, which may have copies too


def find_duplicates(places: Places, *, across: bool = False, min_size: int = 1) -> Duplicates:
    """Groups of inodes with the same SHA-256, as of the last scan.

    Args:
        across: Groups may span filesystems, where no hardlink can join them.
        min_size: Bytes; 0 takes empty files in.
    """
    table = EqualBytes(places.catalog.db)
    devices = places.catalog.devices.all()
    ids = [device.device_id for device in devices]  # from 1
    countable = frozenset(d.device_id for d in devices if link_counts_are_true(d.fs_type))
    shown = ShownPaths(places)
    groups = [
        group
        for among in ([ids] if across and ids else [[device_id] for device_id in ids])
        for group in _groups(table, among, min_size, shown, countable)
    ]
    groups.sort(key=lambda group: (-group.redundant, group.sha256, group.copies[0].device_id))
    return Duplicates(
        groups=tuple(groups),
        saves=sum(group.saves for group in groups),
        redundant=sum(group.redundant for group in groups),
        unhashed=sum(table.unhashed(device_id, min_size=min_size) for device_id in ids),
    )


def _groups(
    table: EqualBytes,
    devices: list[int],
    min_size: int,
    shown: ShownPaths,
    countable: frozenset[int],
) -> Iterator[DuplicateGroup]:
    found = list(table.inodes(devices, min_size=min_size))
    names: dict[int, dict[int, list[str]]] = {device: {} for device in devices}
    for _, _, device, inode in found:
        names[device][inode] = []
    links = {}
    for device in devices:
        table.add_names(device, names[device], partial(shown.folder, device))
        links[device] = table.link_counts(device)
    for (sha256, size), rows in groupby(found, key=itemgetter(0, 1)):
        # The inode with the most names stays when the others become links to it: fewest changes.
        members = [
            (device, -len(paths), paths, inode)
            for _, _, device, inode in rows
            if (paths := names[device][inode])
        ]
        if len(members) > 1:
            yield _group(sha256, size, members, links, countable)


def _group(
    sha256: str,
    size: int,
    members: list[tuple[int, int, list[str], int]],
    links: dict[int, dict[int, int]],
    countable: frozenset[int],
) -> DuplicateGroup:
    for _, count, paths, _ in members:
        if count != -1:
            paths.sort()
    members.sort()
    copies, kept, saves = [], 0, 0
    for device, count, paths, inode in members:
        nlink = links[device].get(inode, 1)
        copies.append(Copy(device, inode, nlink, tuple(paths)))
        if device != kept:
            kept = device
        # A name that nobody knows would keep the inode, and its bytes, alive.
        elif -count == nlink and device in countable:
            saves += size
    return DuplicateGroup(sha256, size, saves, size * (len(copies) - 1), tuple(copies))
