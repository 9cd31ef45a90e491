"""A catalog that reads what torrents seed in a few large queries, and answers from memory.

For one look at everything: nothing that is written meanwhile is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hashall.catalog.files import FileTable, join
from hashall.catalog.store import Catalog
from hashall.model import MAIN_CLIENT, CatalogFile, RelPath
from seedkeep.sqlite import from_db
from seedkeep.torrent_client import TorrentFile


class SeededFile(NamedTuple):
    """A file of a torrent as of the last sync.  A tuple, because there are millions."""

    name: str  # below the save path
    device_id: int
    path: RelPath
    inode: int | None


@dataclass(frozen=True)
class RememberingCatalog(Catalog):
    _tables: dict[int, RememberingFiles] = field(default_factory=dict)

    def files(self, device_id: int) -> RememberingFiles:
        if device_id not in self._tables:
            self._tables[device_id] = RememberingFiles(self.db, device_id)
        return self._tables[device_id]

    def read_torrent_files(self) -> dict[str, list[SeededFile]]:
        """Every torrent's files as of the last sync, and all names of their inodes."""
        found: dict[str, list[SeededFile]] = {}
        devices = set()
        rows = self.db.tuples(
            "SELECT torrent_hash, name, device_id, path, inode FROM torrent_files"
            " ORDER BY torrent_hash, name"
        )
        for torrent, name, device_id, path, inode in rows:
            devices.add(device_id)
            item = SeededFile(from_db(name), device_id, from_db(path), inode)
            found.setdefault(torrent, []).append(item)
        for device_id in sorted(devices):
            self.files(device_id).read_seeded()
        return found

    def read_torrent_lists(self) -> dict[str, tuple[TorrentFile, ...]]:
        """Every torrent's list as the client gave it to the last sync; progress is not kept."""
        rows = self.db.tuples(
            "SELECT torrent_hash, files FROM torrent_lists JOIN torrent_instances"
            " USING (instance_id)"
        )
        return _lists(rows)

    def read_lists_without_hash(self) -> dict[str, tuple[TorrentFile, ...]]:
        """The same of torrents whose files were seen and have not all a hash."""
        rows = self.db.tuples(
            "SELECT torrent_hash, files FROM payloads JOIN torrent_instances USING (payload_id)"
            " JOIN torrent_lists USING (instance_id) WHERE payload_hash IS NULL"
        )
        return _lists(rows)

    def read_lists_of_others(self) -> dict[str, tuple[TorrentFile, ...]]:
        """The same, by key, of torrents of other clients than the main one whose files were not."""
        rows = self.db.tuples(
            "SELECT torrent_hash, files FROM torrent_instances JOIN torrent_lists"
            " USING (instance_id) WHERE client <> ? AND payload_id IS NULL",
            (MAIN_CLIENT,),
        )
        return _lists(rows)

    def read_payload_hashes(self) -> dict[int, str | None]:
        """By the number of each payload."""
        return dict(self.db.tuples("SELECT payload_id, payload_hash FROM payloads"))

    def read_payload_bytes(self) -> dict[int, int]:
        """How many bytes each payload's members have, by its number."""
        return dict(self.db.tuples("SELECT payload_id, total_bytes FROM payloads"))

    def read_common_bytes(self, source: Iterable[int], target: int) -> None:
        """Which files of `target` have the bytes of seeded files of the `source` devices."""
        for device_id in source:
            if device_id != target:
                self.files(target).read_with_bytes_of(self.files(device_id))


@dataclass(frozen=True)
class RememberingFiles(FileTable):
    """One device's files; asks the database for what was not read beforehand."""

    _names: dict[int, tuple[RelPath, ...]] = field(default_factory=dict)
    _hashes: dict[int, tuple[int, int, str | None]] = field(default_factory=dict)
    _bytes: dict[tuple[str, int], list[CatalogFile]] = field(default_factory=dict)
    _seeded: set[tuple[str | None, int]] = field(default_factory=set)  # SHA-256, bytes
    _asked: set[tuple[str | None, int]] = field(default_factory=set)  # no entry: none has them

    def read_seeded(self) -> None:
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT d.path, n.name, i.inode, i.size, i.mtime_ns, i.sha256
              FROM (SELECT DISTINCT inode FROM torrent_file_rows WHERE device_id = ?) AS t
              JOIN names_{n} AS n USING (inode) JOIN dirs_{n} AS d USING (dir_id)
              JOIN inodes_{n} AS i USING (inode)
             WHERE n.gone_at IS NULL
            """,
            (n,),
        )
        names: dict[int, list[RelPath]] = {}
        for parent, name, inode, size, mtime_ns, sha256 in rows:
            names.setdefault(inode, []).append(join(from_db(parent), from_db(name)))
            self._hashes[inode] = (size, mtime_ns, sha256)
            self._seeded.add((sha256, size))
        for inode, paths in names.items():
            if len(paths) > 1:
                paths.sort()
            self._names[inode] = tuple(paths)

    def read_with_bytes_of(self, source: RememberingFiles) -> None:
        """Which files here have the bytes of seeded files of `source`, which were read before."""
        n = self.device_id
        self._asked.update(source._seeded)
        rows = self.db.tuples(
            f"""
            SELECT d.path, n.name, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.sha256
              FROM (SELECT DISTINCT s.sha256, s.size FROM torrent_file_rows AS t
                      JOIN inodes_{source.device_id} AS s USING (inode)
                     WHERE t.device_id = ? AND s.sha256 IS NOT NULL) AS s
              JOIN inodes_{n} AS i ON i.sha256 = s.sha256 AND i.size = s.size
              JOIN names_{n} AS n ON n.inode = i.inode
              JOIN dirs_{n} AS d USING (dir_id)
             WHERE n.gone_at IS NULL
            """,
            (source.device_id,),
        )
        found: dict[tuple[str, int], list[CatalogFile]] = {}
        for parent, name, *rest in rows:
            file = _file(n, join(from_db(parent), from_db(name)), *rest)
            assert file.sha256 is not None
            found.setdefault((file.sha256, file.size), []).append(file)
        for files in found.values():
            files.sort(key=lambda file: file.path)
        self._bytes.update(found)

    def hashes_of(self, inodes: Iterable[int]) -> dict[int, tuple[int, int, str | None]]:
        wanted = [*inodes]
        unread = [inode for inode in wanted if inode not in self._hashes]
        if unread:
            self._hashes.update(super().hashes_of(unread))
        return {inode: self._hashes[inode] for inode in wanted if inode in self._hashes}

    def names_of(self, inode: int) -> tuple[RelPath, ...]:
        if inode not in self._names:
            self._names[inode] = super().names_of(inode)
        return self._names[inode]

    def with_bytes(self, sha256: str, size: int) -> list[CatalogFile]:
        key = (sha256, size)
        if key not in self._bytes:
            self._bytes[key] = [] if key in self._asked else super().with_bytes(sha256, size)
        return self._bytes[key]


def _lists(rows: Iterable[tuple[Any, ...]]) -> dict[str, tuple[TorrentFile, ...]]:
    return {
        key: tuple(TorrentFile(name, size, 1.0, bool(w)) for name, size, w in json.loads(files))
        for key, files in rows
    }


def _file(device_id: int, path: RelPath, *row: Any) -> CatalogFile:
    inode, size, mtime_ns, ctime_ns, nlink, sha256 = row
    return CatalogFile(
        device_id=device_id,
        path=path,
        inode=inode,
        size=size,
        mtime_ns=mtime_ns,
        ctime_ns=ctime_ns,
        nlink=nlink,
        sha256=sha256,
    )
