"""All names of a file, who uses each, and whether these really are all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hashall.catalog.lookups import Lookups, TorrentUse
from hashall.catalog.scans import is_at_or_below
from hashall.catalog.trees import Entry, TreeTable
from hashall.devices import link_count_doubt
from hashall.hashing import inode_of
from hashall.links import judge
from hashall.model import LinkVerdict, RelPath, shown_inode
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
    inode: int  # as stat(1) shows it
    size: int  # bytes
    sha256: str | None
    verdict: LinkVerdict
    nlink: int  # what the disk says now; 0 when it could not be asked
    reason: str  # why it is not proved; "" when it is
    names: tuple[LinkName, ...]  # sorted


def find_links(places: Places, path: Path) -> list[FileLinks]:
    """The links of a file, or of each inode below a directory, in order of path.

    Raises:
        Misused: It is not there, or the catalog does not know the place.
        Partial: It cannot be looked at.
    """
    spot = places.named(path)
    asking = _Asking(spot, ShownPaths(places), Lookups(places.catalog.db, spot.device.device_id))
    if stat.S_ISDIR(spot.abspath.stat().st_mode):
        return list(_below(asking, TreeTable(places.catalog.db, spot.device.device_id)))
    files = places.catalog.files(spot.device.device_id)
    known = files.file(spot.place.relpath)
    if known is None:
        raise Misused(
            f"the catalog does not know the file {spot.abspath}",
            detail="no scan has seen it, or it was replaced since",
            hint=f"hashall scan {spot.abspath.parent}",
        )
    entry = Entry(known.path, known.inode, known.size, known.sha256)
    return [asking.about(entry, str(spot.abspath), files.names_of(known.inode))]


def _below(asking: _Asking, table: TreeTable) -> Iterator[FileLinks]:
    spot = asking.spot
    top = table.directory(spot.place.relpath)
    if top is None:
        raise Misused(
            f"the catalog does not know the directory {spot.abspath}",
            hint=f"hashall scan {spot.abspath}",
        )
    asking.uses = asking.lookups.uses_below(top.path)
    done: set[int] = set()
    for directory in sorted(table.below(top.dir_id), key=lambda d: d.path):
        folder = asking.shown.folder(spot.device.device_id, directory.path)
        names = asking.lookups.names_beside(directory.dir_id)
        for entry in sorted(table.entries(directory.dir_id)):
            if entry.inode not in done:
                done.add(entry.inode)
                yield asking.about(entry, folder + entry.name, names[entry.inode])


@dataclass
class _Asking:
    """One question about a place, with what was read for it beforehand."""

    spot: Spot
    shown: ShownPaths
    lookups: Lookups
    uses: dict[RelPath, tuple[TorrentUse, ...]] | None = None  # of all names below the place

    @cached_property
    def doubt(self) -> str | None:
        return link_count_doubt(self.spot.device.fs_type)

    def about(self, entry: Entry, path: str, known: tuple[RelPath, ...]) -> FileLinks:
        """What is to say of an inode whose names the catalog has as `known`."""
        device_id = self.spot.device.device_id
        nlink = self._links_now(path, entry.inode)
        proof = judge(known, entry.inode, nlink, counts_are_true=self.doubt is None)
        names = [self.shown.in_words(device_id, name) for name in known]
        verdict, reason = proof.verdict, ""
        if nlink is None:
            reason = "it is not there any more, or it is another file now: scan again"
        elif self.doubt is not None:
            reason = self.doubt
        elif nlink > len(known):
            reason = "no scan has seen the other names: scan the rest of the filesystem"
        # Equal numbers prove nothing when a name went away and another one came.
        elif nlink < len(known) or any(
            self._links_now(name, entry.inode) is None for name in names if name != path
        ):
            verdict = LinkVerdict.UNACCOUNTED
            reason = "some of these names are gone: scan again"
        return FileLinks(
            path=path,
            device_id=device_id,
            inode=shown_inode(entry.inode),
            size=entry.size,
            sha256=entry.sha256,
            verdict=verdict,
            nlink=proof.nlink,
            reason=reason,
            names=tuple(map(LinkName, names, map(self._uses, known))),
        )

    def _uses(self, name: RelPath) -> tuple[TorrentUse, ...]:
        if self.uses is not None and is_at_or_below(name, self.spot.place.relpath):
            return self.uses.get(name, ())
        return self.lookups.uses(name)

    def _links_now(self, path: str, inode: int) -> int | None:
        """None when the path does not lead to the inode: a mount may hide it, too."""
        try:
            seen = os.lstat(path)
        except OSError:
            return None
        # What doubts its links may give files and folders different device numbers (overlay).
        here = self.doubt is not None or seen.st_dev == self.spot.located.st_dev
        return seen.st_nlink if here and inode_of(seen) == inode else None
