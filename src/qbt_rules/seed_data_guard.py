"""The last-copy guard of `delete_torrent` with files: promise 1, for what the client removes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from hashall.catalog.lookups import Lookups
from hashall.hashing import hash_file
from hashall.model import MAIN_CLIENT, Place, TorrentFileOnDisk, TorrentInstance
from hashall.places import Places
from hashall.presence import lies_at, may_lie_at
from hashall.qbittorrent import PathMap, stamp_at
from seedkeep.errors import SeedError
from seedkeep.torrent_client import Torrent, TorrentClient

UNFINISHED = ".!qB"  # what the client may put behind the name of such a file
SYNC = "run hashall payload sync"


def why_not_delete(  # noqa: PLR0911  one way out for each thing that forbids it
    client: TorrentClient,
    places: Places,
    path_map: PathMap,
    torrent_id: str,
    leaving: Collection[str],
    *,
    allow_last_copy: bool,
) -> str:
    """Why the client must not remove the files of a torrent; "" when it may.

    A file may go when no torrent that stays needs its path, and its bytes stay: under another name
    of its inode, or in another file that was read just now and has the same SHA-256.
    """
    torrents = places.catalog.payloads
    instance = torrents.instance(torrent_id)
    if instance is None:
        return f"the catalog does not know the torrent: {SYNC}"
    files = torrents.files_of(torrent_id)
    if problem := _is_not_as_catalogued(client, path_map, instance, files):
        return problem
    gone = {
        Place(file.device_id, file.path) for key in leaving for file in torrents.files_of(key)
    } | {Place(file.device_id, file.path) for file in files}
    going = {*leaving, torrent_id}
    known, present = torrents.instances(), client.torrents()
    paths = {Place(file.device_id, file.path) for file in files}
    if name := _unsynced_neighbour(client, places, path_map, present, known, paths, going):
        return (
            f"the torrent {name} has these files, and the catalog does not know it there"
            f" (unfinished, or not synced: {SYNC})"
        )
    # The client forgets a torrent at once and removes its files later: they are no copy any more.
    here = {torrent.torrent_id for torrent in present}
    for one in known:
        if one.client == MAIN_CLIENT and one.torrent_id not in here:
            gone |= {Place(file.device_id, file.path) for file in torrents.files_of(one.key)}
    for file in files:
        if not _is_as_read(places, file):
            return (
                f"{places.shown(file.device_id, file.path)} was changed since the last sync: {SYNC}"
            )
        if needs := _needed_by(places, file, {*leaving, torrent_id}):
            return f"{needs} needs {places.shown(file.device_id, file.path)}"
        if not allow_last_copy and file.size and not _stays(places, file, gone):
            path = places.shown(file.device_id, file.path)
            return (
                f"no other copy of {path} is known and readable (allow_last_copy: true lets it go)"
            )
    return ""


def needed_by_other(
    client: TorrentClient, places: Places, path_map: PathMap, torrent_id: str
) -> str:
    """A torrent that has a file at the very path of one of this torrent's; "" for none.

    Both as the catalog knows this torrent and as the client lists it now.
    """
    payloads = places.catalog.payloads
    paths = {Place(file.device_id, file.path) for file in payloads.files_of(torrent_id)}
    present = client.torrents()
    for torrent in present:
        if torrent.torrent_id == torrent_id:
            top = path_map.to_ours(torrent.save_path)
            listed = [_place_of(places, top / file.name) for file in client.files(torrent_id)]
            paths.update(place for place in listed if place is not None)
    for place in sorted(paths, key=lambda place: (place.device_id, place.relpath)):
        if needs := _user_of(places, place, {torrent_id}):
            return needs
    known = payloads.instances()
    return _unsynced_neighbour(client, places, path_map, present, known, paths, {torrent_id})


def is_seen(path: Path, roots: Collection[Path]) -> bool:
    """Whether a folder of ours is the client's, also one that is still to be made.

    Above a folder that exists only in the client's container there is always one that exists
    here, in the end /.  So what is not there counts only below a root that somebody named.
    """
    return path.is_dir() or any(root.is_dir() and path.is_relative_to(root) for root in roots)


def has_files(
    client: TorrentClient,
    path_map: PathMap,
    torrent_id: str,
    seen: Callable[[Path], bool],
) -> bool | None:
    """Whether anything that a torrent lists is on the disk, finished or not; None: not to be seen.

    `seen` tells of a folder of ours whether the client has the same one.
    """
    found = client.torrents([torrent_id])
    if not found:
        return None
    folders = [found[0].save_path, *filter(None, [found[0].download_path])]
    ours = [path_map.to_ours(folder) for folder in folders]
    if not all(seen(folder) for folder in ours):
        return None
    try:
        return any(
            lies_at(folder / (file.name + suffix))
            for file in client.files(torrent_id)
            for folder in ours
            for suffix in ("", UNFINISHED)
        )
    except OSError:
        return None  # a disk that fails is not an empty one


def _is_not_as_catalogued(
    client: TorrentClient,
    path_map: PathMap,
    instance: TorrentInstance,
    files: list[TorrentFileOnDisk],
) -> str:
    """The client removes what it lists now, so that has to be what the catalog knows."""
    found = client.torrents([instance.torrent_id])
    if not found:
        return "the client does not have the torrent any more"
    now = found[0]
    if str(path_map.to_ours(now.save_path)) != instance.save_path:
        return f"the torrent was moved since the last sync: {SYNC}"
    listed = {(file.name, file.size) for file in client.files(instance.torrent_id) if file.wanted}
    if lying := _unwanted_on_disk(client, instance):
        return f"{lying} is not wanted by the torrent, and would be removed with it"
    if not files or listed != {(file.name, file.size) for file in files}:
        return f"the client lists other files than the catalog: {SYNC}"
    return ""


def _unwanted_on_disk(client: TorrentClient, instance: TorrentInstance) -> str:
    """A file that the torrent left out and that lies there: the client removes it, too."""
    top = Path(instance.save_path)
    for file in client.files(instance.torrent_id):
        if not file.wanted and may_lie_at(top / file.name):
            return str(top / file.name)
    return ""


def _unsynced_neighbour(  # noqa: PLR0917
    client: TorrentClient,
    places: Places,
    path_map: PathMap,
    present: Collection[Torrent],
    known: Collection[TorrentInstance],
    paths: Collection[Place],
    leaving: Collection[str],
) -> str:
    """A torrent at one of `paths` that the catalog does not know there."""
    # A torrent without a payload is one whose files the catalog does not list: unfinished, missing.
    synced = {
        one.torrent_id: one.save_path
        for one in known
        if one.client == MAIN_CLIENT and one.payload_id is not None
    }
    for torrent in present:
        place = path_map.to_ours(torrent.save_path)
        if torrent.torrent_id in leaving or synced.get(torrent.torrent_id) == str(place):
            continue
        for file in client.files(torrent.torrent_id):
            if _place_of(places, place / file.name) in paths:
                return torrent.name
    return ""


def _place_of(places: Places, path: Path) -> Place | None:
    """Where a file is or would be, symlinks followed."""
    try:
        return places.find_missing(path).place
    except (OSError, SeedError):
        return None


def _is_as_read(places: Places, file: TorrentFileOnDisk) -> bool:
    path = places.abspath(Place(file.device_id, file.path))
    stamp = stamp_at(path) if path is not None else None
    return stamp is not None and (stamp.inode, stamp.size, stamp.mtime_ns) == (
        file.inode,
        file.size,
        file.mtime_ns,
    )


def _needed_by(places: Places, file: TorrentFileOnDisk, leaving: Collection[str]) -> str:
    return _user_of(places, Place(file.device_id, file.path), leaving)


def _user_of(places: Places, place: Place, leaving: Collection[str]) -> str:
    """Another torrent, by name, that has this very path.  A hardlink of its own is no need."""
    for use in Lookups(places.catalog.db, place.device_id).uses(place.relpath):
        if use.torrent_id not in leaving:
            return f"the torrent {use.name}"
    return ""


def _stays(places: Places, file: TorrentFileOnDisk, gone: Collection[Place]) -> bool:
    """Whether the bytes of a file are still there when every path of `gone` is not."""
    files = places.catalog.files(file.device_id)
    if file.inode is not None:
        for name in files.names_of(file.inode):
            place = Place(file.device_id, name)
            if place not in gone and _is_inode(places, place, file.inode):
                return True
    return any(_reads_the_same(places, place, file) for place in _copies(places, file, gone))


def _is_inode(places: Places, place: Place, inode: int) -> bool:
    path = places.abspath(place)
    stamp = stamp_at(path) if path is not None else None
    return stamp is not None and stamp.inode == inode


def _copies(places: Places, file: TorrentFileOnDisk, gone: Collection[Place]) -> Iterator[Place]:
    """Files of other inodes that had the same bytes when they were scanned."""
    known = places.catalog.files(file.device_id).file(file.path)
    sha256 = known.sha256 if known is not None else file.sha256
    if sha256 is None:
        return
    for device in places.catalog.devices.all():
        for copy in places.catalog.files(device.device_id).with_bytes(sha256, file.size):
            place = Place(device.device_id, copy.path)
            same = device.device_id == file.device_id and copy.inode == file.inode
            if place not in gone and not same:
                yield place


def _reads_the_same(places: Places, place: Place, file: TorrentFileOnDisk) -> bool:
    path = places.abspath(place)
    known = places.catalog.files(place.device_id).file(place.relpath)
    if path is None or known is None:
        return False
    try:
        return hash_file(path).sha256 == known.sha256 and known.size == file.size
    except (OSError, SeedError):
        return False
