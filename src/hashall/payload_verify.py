"""`payload verify`: read a torrent's files and hold them against what they should be."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall.app import App
from hashall.catalog.verifications import Reading, VerificationTable
from hashall.hashing import FileStamp, Hashed, forget_cached, hash_descriptor, open_regular
from hashall.metainfo import BadTorrentFile, Metainfo, read_metainfo
from hashall.model import Place, TorrentFileOnDisk
from hashall.payload import check_name
from hashall.payload_clients import client_of, path_map_of
from hashall.pieces import PieceReport, check_pieces
from hashall.places import Places
from hashall.qbittorrent import PathMap, stamp_at
from seedkeep.errors import Refused, SeedError
from seedkeep.torrent_client import NoSuchTorrent, Torrent, TorrentClient, TorrentFile


@dataclass(frozen=True)
class FileFault:
    path: str
    reason: str


@dataclass(frozen=True)
class Verification:
    torrent_id: str
    name: str
    bytes_read: int
    files: int  # that were read, or have a part in a piece that was
    faults: tuple[FileFault, ...]  # against the catalog's hashes
    pieces: PieceReport | None  # None: compared with the catalog

    @property
    def is_proved(self) -> bool:
        if self.pieces is not None:
            return self.pieces.is_proved
        return self.files > 0 and not self.faults


def verify_pieces(
    app: App, text: str, *, share: float, progress: Callable[[int], None]
) -> Verification:
    """Against the piece hashes in the torrent itself, which the client exports."""
    instance = app.torrent(text).instance
    client = client_of(app, instance.client)
    report = pieces_of_torrent(
        client, instance.torrent_id, path_map_of(app, instance.client), share, progress
    )
    remember_pieces(app.places, instance.key, report)
    return Verification(
        instance.torrent_id, instance.name, report.bytes_read, report.files, (), report
    )


def pieces_of_torrent(
    client: TorrentClient,
    torrent_id: str,
    path_map: PathMap,
    share: float = 1.0,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> PieceReport:
    """Check a torrent of a client where it lies now.

    Raises:
        NoSuchTorrent, ClientTooOld, Unreachable: The client cannot export it.
        BadTorrentFile, Refused: What it exports is not this torrent, or not with these files.
    """
    found = client.torrents([torrent_id])
    if not found:
        raise NoSuchTorrent(f"the client has no torrent {torrent_id}")
    metainfo = read_metainfo(client.export(torrent_id))
    paths = paths_of(metainfo, found[0], client.files(torrent_id), path_map)
    return check_pieces(metainfo, paths, share=share, progress=progress)


def remember_pieces(places: Places, key: str, report: PieceReport) -> None:
    """Keep what a check of pieces says of the files of the catalog, as `hashall verify` would.

    Pieces that were read whole and fit prove every file; a bad one takes back what was said
    before.  Files that are not as they were scanned are left to the next scan.
    """
    whole = report.is_proved and report.checked == report.pieces
    # Not by path: the client may see a file through a symlink or a mount of its own.
    bad = {_identity(path) for path in report.files_in_bad} - {None}
    proved: list[Reading] = []
    doubted: list[tuple[int, int]] = []
    for file in places.catalog.payloads.files_of(key):
        path = places.abspath(Place(file.device_id, file.path))
        if path is None or file.inode is None or file.sha256 is None or not file.size:
            continue
        if bad and _identity(path) in bad:
            doubted.append((file.device_id, file.inode))
        elif whole and is_as_scanned(file, stamp_at(path)):
            proved.append(Reading(file.device_id, file.inode, file.sha256, None))
    table = VerificationTable(places.catalog.db)
    table.withdraw(doubted)
    table.put(proved)


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _read(path: Path, progress: Callable[[int], None]) -> Hashed:
    """Raises what `hash_file` raises."""
    fd = open_regular(path)
    try:
        forget_cached(fd)
        return hash_descriptor(fd, path, progress=progress)
    finally:
        os.close(fd)


def is_as_scanned(file: TorrentFileOnDisk, stamp: FileStamp | None) -> bool:
    """Whether a file on disk is the one that the catalog's hash is of."""
    return stamp is not None and (stamp.inode, stamp.size, stamp.mtime_ns) == (
        file.inode,
        file.size,
        file.mtime_ns,
    )


def paths_of(
    metainfo: Metainfo, torrent: Torrent, files: Sequence[TorrentFile], path_map: PathMap
) -> list[Path | None]:
    """Where each file of the torrent lies; None for one that is not wanted.

    The client may have renamed every file, but not their order and sizes.
    """
    hashes = {metainfo.infohash_v1, metainfo.infohash_v2} - {""}
    if hashes.isdisjoint({torrent.infohash_v1, torrent.infohash_v2}):
        raise BadTorrentFile(
            "the client exported another torrent", detail=f"{torrent.torrent_id}: {sorted(hashes)}"
        )
    if [file.size for file in metainfo.content] != [file.size for file in files]:
        raise Refused(
            f"the client lists other files for {torrent.name} than the torrent has",
            detail=f"{len(files)} listed, {len(metainfo.content)} in the torrent",
        )
    for file in files:
        check_name(file.name)
    top = path_map.to_ours(torrent.save_path)
    return [top / file.name if file.wanted else None for file in files]


def verify_hashes(app: App, text: str, *, progress: Callable[[int], None]) -> Verification:
    """Against the SHA-256 in the catalog: has anything changed since it was scanned?"""
    instance = app.torrent(text).instance
    files = app.catalog.payloads.files_of(instance.key)
    if not files:
        raise Refused(
            f"the catalog has no files for {instance.name}",
            detail=instance.problem or "",
            hint="run `hashall payload sync`, or compare with the torrent itself: --pieces",
        )
    faults = []
    readings: list[Reading] = []
    read = 0
    for file in files:
        path = app.places.abspath(Place(file.device_id, file.path))
        shown = str(path or file.path)
        if path is None:
            faults.append(FileFault(shown, "no mount shows it"))
            continue
        try:
            hashed = _read(path, progress)
        except (OSError, SeedError) as why:
            faults.append(FileFault(shown, why.brief if isinstance(why, SeedError) else str(why)))
            continue
        read += hashed.stamp.size
        if file.inode is not None and file.sha256 is not None and is_as_scanned(file, hashed.stamp):
            other = hashed.sha256 if hashed.sha256 != file.sha256 else None
            readings.append(Reading(file.device_id, file.inode, file.sha256, other))
        if file.sha256 is None:
            faults.append(FileFault(shown, "the catalog has no hash of it"))
        elif hashed.sha256 != file.sha256:
            faults.append(FileFault(shown, "its bytes are not those that were scanned"))
    VerificationTable(app.catalog.db).put(readings)
    return Verification(instance.torrent_id, instance.name, read, len(files), tuple(faults), None)
