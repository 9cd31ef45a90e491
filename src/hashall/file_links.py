"""All names of a file, who uses each, and whether these really are all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hashall.catalog.lookups import Lookups, TorrentUse
from hashall.catalog.trees import TreeTable
from hashall.devices import link_count_doubt
from hashall.links import prove
from hashall.model import LinkVerdict, RelPath
from hashall.places import Places, Spot
from hashall.shown import ShownPaths
from seedkeep.errors import Misused


@dataclass(frozen=True)
class LinkName:
    path: str  # absolute
    torrents: tuple[TorrentUse, ...]  # none: a library, or something else outside of torrents


@dataclass(frozen=True)
class FileLinks:
    """One inode with the names that the catalog knows."""

    path: str  # as it was asked for
    device_id: int
    inode: int
    size: int  # bytes
    sha256: str | None
    verdict: LinkVerdict
    nlink: int  # what the disk says now; 0 when it could not be asked
    reason: str  # why it is not proved; "" when it is
    names: tuple[LinkName, ...]  # sorted


def find_links(places: Places, path: Path) -> list[FileLinks]:
    """The links of a file, or of each inode below a directory, in order of path.

    Raises:
        Misused: The catalog does not know the place.
        OSError: It is not there.
    """
    spot = places.known(path)
    shown = ShownPaths(places)
    if stat.S_ISDIR(spot.abspath.stat().st_mode):
        return list(_below(places, spot, shown))
    found = _file(places, spot, spot.place.relpath, str(spot.abspath), shown)
    if found is None:
        raise Misused(
            f"the catalog does not know the file {spot.abspath}",
            detail="no scan has seen it, or it was replaced since",
            hint=f"hashall scan {spot.abspath.parent}",
        )
    return [found]


def _below(places: Places, spot: Spot, shown: ShownPaths) -> Iterator[FileLinks]:
    table = TreeTable(places.catalog.db, spot.device.device_id)
    top = table.directory(spot.place.relpath)
    if top is None:
        raise Misused(
            f"the catalog does not know the directory {spot.abspath}",
            hint=f"hashall scan {spot.abspath}",
        )
    done: set[int] = set()
    for directory in sorted(table.below(top.dir_id), key=lambda d: d.path):
        folder = shown.folder(spot.device.device_id, directory.path)
        for entry in sorted(table.entries(directory.dir_id)):
            if entry.inode not in done:
                done.add(entry.inode)
                relpath = f"{directory.path}/{entry.name}" if directory.path else entry.name
                found = _file(places, spot, relpath, folder + entry.name, shown)
                if found is not None:
                    yield found


def _file(
    places: Places, spot: Spot, relpath: RelPath, path: str, shown: ShownPaths
) -> FileLinks | None:
    """None when the catalog has no such name."""
    device = spot.device
    files = places.catalog.files(device.device_id)
    known = files.file(relpath)
    if known is None:
        return None
    doubt = link_count_doubt(device.fs_type)
    nlink = _links_now(path, known.inode)
    proof = prove(files, known.inode, nlink, counts_are_true=doubt is None)
    lookups = Lookups(places.catalog.db, device.device_id)
    if nlink is None:
        reason = "it is not there any more, or it is another file now: scan again"
    elif doubt is not None:
        reason = doubt
    elif proof.verdict is LinkVerdict.PROVED:
        reason = ""
    elif nlink > len(proof.known):
        reason = "no scan has seen the other names: scan the rest of the filesystem"
    else:
        reason = "some of these names are gone: scan again"
    return FileLinks(
        path=path,
        device_id=device.device_id,
        inode=known.inode,
        size=known.size,
        sha256=known.sha256,
        verdict=proof.verdict,
        nlink=proof.nlink,
        reason=reason,
        names=tuple(
            LinkName(shown.in_words(device.device_id, name), lookups.uses(name))
            for name in proof.known
        ),
    )


def _links_now(path: str, inode: int) -> int | None:
    try:
        seen = os.lstat(path)
    except OSError:
        return None
    return seen.st_nlink if seen.st_ino == inode else None
