"""From one torrent's files on disk to its payload and its rows in the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall import payload as identity
from hashall.catalog.files import join
from hashall.catalog.payloads import NewPayload
from hashall.catalog.torrents import UNTOLD, FolderStamp, Look
from hashall.folders import Folders, stamps_of
from hashall.model import MAIN_CLIENT, Member, RelPath, TorrentFileOnDisk, TorrentInstance
from hashall.places import Places
from hashall.qbittorrent import Mapped
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.torrent_client import Prints


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


@dataclass(frozen=True)
class Sighted:
    """A torrent's files, and the folders that they were seen in at that moment."""

    item: Mapped
    folders: tuple[FolderStamp, ...]

    @classmethod
    def of(cls, item: Mapped) -> Sighted:
        """To be asked for at once: a later change of a folder has to show in the next sync."""
        return cls(item, tuple(stamps_of(_folders_of(item))))


def by_place(item: Mapped) -> tuple[str, str]:
    """What a sync orders torrents by: a payload's row describes the first of its torrents."""
    return item.torrent.content_path, item.torrent.torrent_id


def record(item: Mapped, places: Places, fresh: set[int]) -> Outcome:
    """Write one torrent as it is on disk now; the caller holds the transaction.

    `fresh` collects the payloads that this transaction wrote (see `PayloadTable.put_all`).
    """
    (outcome,) = record_all([Sighted.of(item)], places, fresh)
    return outcome


def record_all(
    sighted: Sequence[Sighted],
    places: Places,
    fresh: set[int],
    *,
    client: str = MAIN_CLIENT,
    prints: Mapping[str, Prints] | None = None,
    folders: Folders | None = None,
) -> list[Outcome]:
    """The same for several torrents, each another one, with fewer statements than one by one."""
    folders = folders or Folders(places)
    catalog, prints = places.catalog, prints or {}
    items = [one.item for one in sighted]
    founds = find_all(items, places, folders)
    extras = catalog.payloads.extras
    built = [
        _build(found, item, folders, extras) for found, item in zip(founds, items, strict=True)
    ]
    ids = iter(catalog.payloads.put_all([new for new in built if new is not None], fresh))
    now = clock.iso(clock.now())
    looks, outcomes = [], []
    for one, found, new in zip(sighted, founds, built, strict=True):
        payload_id = next(ids) if new is not None else None
        payload_hash = new.payload_hash if new is not None else None
        instance = _instance(one.item, payload_id, found, client, now)
        print_ = prints.get(instance.torrent_id, UNTOLD)
        looks.append(Look(instance, found.on_disk, print_, one.item.listed, one.folders))
        outcomes.append(
            Outcome(
                *(instance.torrent_id, instance.name, payload_id, payload_hash),
                *(found.problem, found.needs_scan, client),
            )
        )
    catalog.payloads.put_looks(looks)
    for item, look in zip(items, looks, strict=True):
        if item.is_unfinished:
            catalog.link_groups.put_unfinished(look.instance.key, _on_disk(item, folders))
    return outcomes


@dataclass
class Found:
    """Members of one torrent as the catalog knows them."""

    problem: str | None = None
    device_id: int | None = None
    members: tuple[Member, ...] = ()
    on_disk: tuple[TorrentFileOnDisk, ...] = ()
    needs_scan: tuple[Path, ...] = ()


def find_members(item: Mapped, places: Places, folders: Folders | None = None) -> Found:
    """What the catalog knows of a torrent's files, held against the disk of this moment."""
    (found,) = find_all([item], places, folders or Folders(places))
    return found


def find_all(items: Sequence[Mapped], places: Places, folders: Folders) -> list[Found]:
    """`find_members` of several torrents."""
    homes = [_home(item, folders) for item in items]
    inodes: dict[int, list[int]] = {}
    for item, home in zip(items, homes, strict=True):
        if isinstance(home, _Home):
            stamps = [file.stamp for file in item.files]
            inodes.setdefault(home.device_id, []).extend([s.inode for s in stamps if s is not None])
    known = {
        device: places.catalog.files(device).hashes_of(some) for device, some in inodes.items()
    }
    return [
        _found(item, home, known[home.device_id]) if isinstance(home, _Home) else Found(home)
        for item, home in zip(items, homes, strict=True)
    ]


@dataclass(frozen=True)
class _Home:
    """Where the folders of one torrent's files are."""

    device_id: int
    relpaths: Mapping[str, RelPath]  # by absolute path


def _home(item: Mapped, folders: Folders) -> _Home | str:
    """Or why its files have none."""
    problem = item.problem
    if problem is not None:
        return problem
    try:
        places = {parent: folders.at(parent).place for parent in _folders_of(item, wanted=True)}
    except (OSError, SeedError) as why:
        brief = why.brief if isinstance(why, SeedError) else str(why)
        return f"unknown filesystem: {brief}"
    devices = {place.device_id for place in places.values()}
    if len(devices) > 1:
        return "its files lie on more than one filesystem"
    relpaths = {parent: place.relpath for parent, place in places.items()}
    return _Home(devices.pop(), relpaths)


def _found(item: Mapped, home: _Home, known: Mapping[int, tuple[int, int, str | None]]) -> Found:
    device_id, top = home.device_id, _top(item)
    members, on_disk, needs_scan = [], [], []
    for file in item.files:
        stamp = file.stamp
        assert stamp is not None  # else there was a problem
        size, mtime_ns, sha256 = known.get(stamp.inode, (-1, 0, None))
        if size != stamp.size or mtime_ns != stamp.mtime_ns:
            sha256 = None  # of other bytes than those that lie there now
        parent, _, name = (top + file.name).rpartition("/")
        path = join(home.relpaths[parent or "/"], name)
        members.append(Member(file.relpath, file.size, sha256, stamp.inode, path))
        on_disk.append(
            TorrentFileOnDisk(
                file.name, file.size, device_id, path, stamp.inode, stamp.mtime_ns, sha256
            )
        )
        if sha256 is None:
            needs_scan.append(Path(top + file.name))
    problem = f"needs-scan: {len(needs_scan)} of {len(members)} files" if needs_scan else None
    return Found(problem, device_id, tuple(members), tuple(on_disk), tuple(needs_scan))


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
            place = folders.at(parent or "/").place
        except (OSError, SeedError):
            continue
        yield place.device_id, join(place.relpath, name), file.stamp.inode


def _build(
    found: Found, item: Mapped, folders: Folders, extras: frozenset[str]
) -> NewPayload | None:
    """None when there is a problem other than a hash that lacks."""
    if found.device_id is None:
        return None
    hashes = identity.hashes_of(found.members, extras)
    root = folders.at((_top(item) + item.root_name).rstrip("/") or "/")
    return NewPayload(
        payload_hash=hashes.payload_hash if hashes else None,
        content_hash=hashes.content_hash if hashes else None,
        media_hash=hashes.media_hash if hashes else None,
        device_id=found.device_id,
        root_path=root.place.relpath,
        members=found.members,
    )


def _instance(
    item: Mapped, payload_id: int | None, found: Found, client: str, now: str
) -> TorrentInstance:
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
        last_seen_at=now,
        client=client,
        download_path=str(item.download_path or ""),
    )
