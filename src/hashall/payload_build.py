"""From one torrent's files on disk to its payload and its rows in the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hashall import payload as identity
from hashall.catalog.files import join
from hashall.catalog.payloads import NewPayload
from hashall.folders import Folders, stamps_of
from hashall.model import MAIN_CLIENT, Member, TorrentFileOnDisk, TorrentInstance
from hashall.places import Places
from hashall.qbittorrent import Mapped
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.torrent_client import Prints

UNTOLD = Prints("", "")  # equals no print of a client: the next sync looks again


@dataclass(frozen=True)
class Outcome:
    """What one torrent came to."""

    torrent_id: str
    name: str
    payload_id: int | None
    payload_hash: str | None
    problem: str | None
    needs_scan: tuple[Path, ...] = ()  # members without a fresh sha256
    client: str = MAIN_CLIENT


def record(
    item: Mapped,
    places: Places,
    fresh: set[int],
    *,
    client: str = MAIN_CLIENT,
    prints: Prints = UNTOLD,
    folders: Folders | None = None,
) -> Outcome:
    """Write one torrent as it is on disk now; the caller holds the transaction.

    `fresh` collects the payloads that this transaction wrote (see `PayloadTable.put`).
    """
    folders = folders or Folders(places)
    found = find_members(item, places, folders)
    payload_id = payload_hash = None
    if found.members and found.device_id is not None:
        new = _build(found, item, folders)
        payload_id, payload_hash = places.catalog.payloads.put(new, fresh), new.payload_hash
    instance = _instance(item, payload_id, found, client)
    number = places.catalog.payloads.put_instance(instance, found.on_disk)
    places.catalog.inventory.put_look(number, prints, item.listed, stamps_of(_folders_of(item)))
    if item.is_unfinished:
        places.catalog.link_groups.put_unfinished(instance.key, _on_disk(item, folders))
    torrent = item.torrent
    return Outcome(
        torrent.torrent_id,
        instance.name,
        payload_id,
        payload_hash,
        found.problem,
        found.needs_scan,
        client,
    )


@dataclass
class Found:
    """Members of one torrent as the catalog knows them."""

    problem: str | None = None
    device_id: int | None = None
    members: tuple[Member, ...] = ()
    on_disk: list[TorrentFileOnDisk] = field(default_factory=list)
    needs_scan: tuple[Path, ...] = ()


def find_members(item: Mapped, places: Places, folders: Folders | None = None) -> Found:
    """What the catalog knows of a torrent's files, held against the disk of this moment."""
    if item.problem:
        return Found(problem=item.problem)
    folders = folders or Folders(places)
    try:
        homes = {parent: folders.at(parent).place for parent in _folders_of(item, wanted=True)}
    except (OSError, SeedError) as why:
        brief = why.brief if isinstance(why, SeedError) else str(why)
        return Found(problem=f"unknown filesystem: {brief}")
    devices = {place.device_id for place in homes.values()}
    if len(devices) > 1:
        return Found(problem="its files lie on more than one filesystem")
    device_id = devices.pop()
    stamps = [file.stamp for file in item.files]
    known = places.catalog.files(device_id).hashes_of([s.inode for s in stamps if s is not None])
    top = _top(item)
    found = Found(device_id=device_id)
    members = []
    for file, stamp in zip(item.files, stamps, strict=True):
        assert stamp is not None  # else there was a problem
        size, mtime_ns, sha256 = known.get(stamp.inode, (-1, 0, None))
        if (size, mtime_ns) != (stamp.size, stamp.mtime_ns):
            sha256 = None  # of other bytes than those that lie there now
        parent, _, name = (top + file.name).rpartition("/")
        path = join(homes[parent].relpath, name)
        members.append(Member(file.relpath, file.size, sha256, stamp.inode, path))
        found.on_disk.append(
            TorrentFileOnDisk(
                file.name, file.size, device_id, path, stamp.inode, stamp.mtime_ns, sha256
            )
        )
    found.members = tuple(members)
    found.needs_scan = tuple(Path(top + f.name) for f in found.on_disk if f.sha256 is None)
    if found.needs_scan:
        found.problem = f"needs-scan: {len(found.needs_scan)} of {len(members)} files"
    return found


def _top(item: Mapped) -> str:
    return f"{str(item.save_path).rstrip('/')}/"


def _folders_of(item: Mapped, *, wanted: bool = False) -> list[str]:
    """Folders that its files lie in, or would."""
    if not item.save_path.is_absolute() or item.refused:
        return []
    top = _top(item)
    files: Sequence[str] = [f.name for f in (item.files if wanted else item.listed)]
    return sorted({(top + name).rpartition("/")[0] or "/" for name in files})


def _on_disk(item: Mapped, folders: Folders) -> Iterator[tuple[int, str, int]]:
    """(device, path, inode) of each file that is there, whatever is in it."""
    top = _top(item)
    for file in item.files:
        if file.stamp is None:
            continue
        parent, _, name = (top + file.name).rpartition("/")
        try:
            place = folders.at(parent).place
        except (OSError, SeedError):
            continue
        yield place.device_id, join(place.relpath, name), file.stamp.inode


def _build(found: Found, item: Mapped, folders: Folders) -> NewPayload:
    assert found.device_id is not None
    hashes = identity.hashes_of(found.members)
    root = folders.at(str(item.save_path / item.root_name))
    return NewPayload(
        payload_hash=hashes.payload_hash if hashes else None,
        content_hash=hashes.content_hash if hashes else None,
        media_hash=hashes.media_hash if hashes else None,
        device_id=found.device_id,
        root_path=root.place.relpath,
        members=found.members,
    )


def _instance(item: Mapped, payload_id: int | None, found: Found, client: str) -> TorrentInstance:
    torrent = item.torrent
    return TorrentInstance(
        torrent_id=torrent.torrent_id,
        infohash_v1=torrent.infohash_v1,
        infohash_v2=torrent.infohash_v2,
        name=torrent.name.encode("utf-8", "backslashreplace").decode(),
        payload_id=payload_id,
        device_id=found.device_id,
        save_path=str(item.save_path),
        root_name=item.root_name,
        category=torrent.category,
        tags=torrent.tags,
        problem=found.problem,
        last_seen_at=clock.iso(clock.now()),
        client=client,
        download_path=str(item.download_path or ""),
    )
