"""The hardlinks of a torrent, as rules see them: a part of the bridge, `seed_data.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hashall.devices import link_counts_are_true
from hashall.domain import Domain
from hashall.links import prove
from hashall.model import LinkVerdict, Place, TorrentFileOnDisk
from hashall.places import Places
from hashall.qbittorrent import stamp_at


@dataclass(frozen=True)
class LinksOfTorrent:
    """All names of all files of a torrent, put together."""

    verdict: LinkVerdict  # the worst of its files
    why: str
    outside: tuple[str, ...]  # absolute, outside of the seeding domain of its side
    siblings: int  # names inside that are not the torrent's own


def links_of(places: Places, domain: Domain, files: Sequence[TorrentFileOnDisk]) -> LinksOfTorrent:
    """The hardlink proof for each file, from lstats of this moment."""
    outside: set[str] = set()
    inside: set[Place] = set()
    own = {Place(file.device_id, file.path) for file in files}
    worst, why = LinkVerdict.PROVED, ""
    if not files:
        worst, why = LinkVerdict.UNKNOWN, "the catalog has no files of the torrent"
    for file in files:
        device = places.catalog.devices.get(file.device_id)
        path = places.abspath(Place(file.device_id, file.path))
        stamp = stamp_at(path) if path is not None else None
        if stamp is None or stamp.inode != file.inode:
            worst, why = LinkVerdict.UNKNOWN, f"{file.name} is not the file that was catalogued"
            continue
        proof = prove(
            places.catalog.files(file.device_id),
            stamp.inode,
            stamp.nlink,
            counts_are_true=link_counts_are_true(device.fs_type),
        )
        if proof.verdict is not LinkVerdict.PROVED and worst is not LinkVerdict.UNKNOWN:
            worst, why = (
                proof.verdict,
                f"{file.name} has {stamp.nlink} names, known are {len(proof.known)}",
            )
        for name in proof.known:
            place = Place(file.device_id, name)
            if domain.below(place) is None:
                outside.add(places.shown(file.device_id, name))
            else:
                inside.add(place)
    return LinksOfTorrent(worst, why, tuple(sorted(outside)), len(inside - own))
