"""Files that a torrent is still writing to, or checking: no link may be made of them.

Linking two equal files of which one belongs to an unfinished torrent would let the client write
the pieces that it still wants into both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hashall.model import RelPath
from hashall.places import Places
from hashall.qbittorrent import PathMap, stamp_at
from seedkeep.errors import SeedError
from seedkeep.torrent_client import NoSuchTorrent, Torrent, TorrentClient

SUFFIX = ".!qB"  # what the client may hang on the name of a file that is not complete


def is_unfinished(torrent: Torrent) -> bool:
    return torrent.state.is_busy or torrent.progress < 1 or torrent.amount_left > 0


def files_of(
    torrent: Torrent, names: Iterable[str], path_map: PathMap, places: Places
) -> Iterator[tuple[int, RelPath, int]]:
    """(device, path, inode) of what lies on disk, unwanted files too: their pieces are shared."""
    wanted = list(names)
    for folder in {torrent.save_path, torrent.download_path} - {""}:
        for listed in wanted:
            for name in (listed, listed + SUFFIX):
                path = path_map.to_ours(folder) / name
                stamp = stamp_at(path)
                if stamp is None:
                    continue
                try:
                    spot = places.find(path.parent)
                except (OSError, SeedError):
                    continue  # no filesystem of the catalog
                yield spot.device.device_id, _join(spot.place.relpath, path), stamp.inode


def ask(
    client: TorrentClient, path_map: PathMap, places: Places, *, finished_too: bool = False
) -> set[tuple[int, int]]:
    """(device, inode) of every unfinished file, as the client says at this moment."""
    found = set()
    for torrent in client.torrents():
        if finished_too or is_unfinished(torrent):
            try:
                names = [file.name for file in client.files(torrent.torrent_id)]
            except NoSuchTorrent:
                continue
            found |= {(d, inode) for d, _, inode in files_of(torrent, names, path_map, places)}
    return found


def _join(parent: RelPath, path: Path) -> RelPath:
    return f"{parent}/{path.name}" if parent else path.name
