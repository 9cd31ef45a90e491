"""What could be linked: read from the catalog, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall.catalog import Catalog
from hashall.catalog.links_groups import LinkTotals, Tally
from hashall.catalog.scans import is_at_or_below
from hashall.devices import link_count_doubt
from hashall.linking.folders import Folders
from hashall.linking.model import Copy, CrossGroup, Group, InodeFacts
from hashall.model import Device, shown_inode


@dataclass(frozen=True)
class InodeView:
    inode: int  # as stat(1) shows it
    nlink: int  # names on the disk
    unseen: int  # of those, names that no scan has seen
    unfinished: bool
    paths: tuple[str, ...]


@dataclass(frozen=True)
class GroupView:
    """Files with equal bytes on one filesystem that are more than one inode."""

    device_id: int
    sha256: str
    size: int  # bytes
    savings: int  # bytes that linking all of them would free in truth
    inodes: tuple[InodeView, ...]


@dataclass(frozen=True)
class DeviceLinks:
    """How far one filesystem is linked, and what is left to gain."""

    device_id: int
    fs_key: str
    mount_points: tuple[str, ...]
    last_scan_completed: str | None
    totals: LinkTotals
    groups: int
    surplus_inodes: int  # inodes beyond the first of each group
    savings: int  # bytes


@dataclass(frozen=True)
class CopyView:
    device_id: int
    paths: tuple[str, ...]
    torrents: tuple[str, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class CrossView:
    """Equal bytes on several filesystems; no hardlink can join them."""

    sha256: str
    size: int  # bytes
    copies: tuple[CopyView, ...]


@dataclass(frozen=True)
class LinkAnalysis:
    devices: tuple[DeviceLinks, ...]
    groups: tuple[GroupView, ...]  # most savings first
    cross: tuple[CrossView, ...]  # largest first; empty unless it was asked for
    more_groups: int  # beyond the limit
    more_cross: int


def cross_groups(
    catalog: Catalog,
    devices: Sequence[Device],
    min_size: int,
    libraries: Sequence[tuple[int, str, Path]],
) -> list[CrossGroup]:
    """Equal bytes on several of the devices, with who uses each copy.

    Args:
        libraries: (device, path inside it, as configured) of each library folder.
    """
    ids = [device.device_id for device in devices]
    found = []
    for sha256, size, having in catalog.link_groups.hashes_on_several(ids, min_size=min_size):
        copies = tuple(
            _copy(catalog, device_id, inode, libraries)
            for device_id in having
            for inode in catalog.link_groups.inodes_with(device_id, sha256, size)
        )
        found.append(CrossGroup(sha256, size, copies))
    return found


def _copy(
    catalog: Catalog,
    device_id: int,
    inode: InodeFacts,
    libraries: Sequence[tuple[int, str, Path]],
) -> Copy:
    within = sorted(
        {
            str(shown)
            for library_device, top, shown in libraries
            if library_device == device_id
            and any(is_at_or_below(path, top) for path in inode.paths)
        }
    )
    torrents = catalog.link_groups.torrents_of(device_id, inode.inode, inode.paths)
    device = catalog.devices.get(device_id)
    pool = device.fs_key.rpartition(":")[0] if device.fs_type == "btrfs" else ""
    doubt = link_count_doubt(device.fs_type)
    return Copy(device_id, inode, torrents, tuple(within), doubt, pool)


def device_links(
    catalog: Catalog, device: Device, tally: Tally, mount_points: tuple[str, ...]
) -> DeviceLinks:
    return DeviceLinks(
        device_id=device.device_id,
        fs_key=device.fs_key,
        mount_points=mount_points,
        last_scan_completed=device.last_scan_completed,
        totals=catalog.link_groups.totals(device.device_id),
        groups=tally.groups,
        surplus_inodes=tally.surplus_inodes,
        savings=tally.savings,
    )


def group_view(group: Group, folders: Folders) -> GroupView:
    return GroupView(
        group.device_id,
        group.sha256,
        group.size,
        group.savings,
        tuple(
            InodeView(
                shown_inode(inode.inode),
                inode.nlink,
                inode.unseen,
                inode.unfinished,
                tuple(folders.shown(group.device_id, path) for path in inode.paths),
            )
            for inode in group.inodes
        ),
    )


def cross_view(group: CrossGroup, folders: Folders) -> CrossView:
    return CrossView(
        group.sha256,
        group.size,
        tuple(
            CopyView(
                copy.device_id,
                tuple(folders.shown(copy.device_id, path) for path in copy.inode.paths),
                copy.torrents,
                copy.libraries,
            )
            for copy in group.copies
        ),
    )
