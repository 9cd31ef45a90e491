"""Questions about all payloads and all torrents at once; each one pass over an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from hashall.model import RelPath
from seedkeep.sqlite import Database, from_db, to_db


@dataclass(frozen=True, slots=True)
class NameRow:
    """An active name in the catalog."""

    path: RelPath
    inode: int
    size: int
    nlink: int
    first_seen_at: str


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A torrent's whole list, and where it lies; all paths ours."""

    key: str
    save_path: str
    download_path: str
    names: tuple[str, ...] | None  # None: the list was never read


@dataclass(frozen=True)
class PayloadQuestions:
    db: Database

    def links_between_torrents(self) -> Iterator[tuple[str, ...]]:
        """Sets of torrents (keys) that share an inode, a path or a payload."""
        for shared in (
            "torrent_file_rows WHERE inode IS NOT NULL GROUP BY device_id, inode",
            "torrent_file_rows GROUP BY device_id, path",
            "torrent_instances WHERE proved_hash IS NOT NULL GROUP BY proved_hash, proved_device",
        ):
            rows = self.db.tuples(
                f"SELECT json_group_array(DISTINCT instance_id) FROM {shared}"
                " HAVING min(instance_id) < max(instance_id)"
            )
            for (numbers,) in rows:
                yield tuple(map(str, json.loads(numbers)))

    def keys_by_number(self) -> dict[str, str]:
        rows = self.db.tuples("SELECT instance_id, torrent_hash FROM torrent_instances")
        return {str(number): key for number, key in rows}

    def on_several_devices(self) -> list[tuple[str, tuple[int, ...]]]:
        """(payload hash, payload ids) of what lies on more than one device."""
        return self._sets("payload_hash", "count(*) > 1")

    def same_content(self) -> list[tuple[str, tuple[int, ...]]]:
        """(content hash, payload ids): equal bytes under other names or in another layout."""
        return self._sets("content_hash", "count(DISTINCT payload_hash) > 1")

    def same_media(self) -> list[tuple[str, tuple[int, ...]]]:
        """(media hash, payload ids): equal but for extras."""
        return self._sets("media_hash", "count(DISTINCT payload_hash) > 1")

    def _sets(self, column: str, condition: str) -> list[tuple[str, tuple[int, ...]]]:
        rows = self.db.tuples(
            f"""
            SELECT {column}, json_group_array(payload_id) FROM payloads
             WHERE {column} IS NOT NULL GROUP BY {column} HAVING {condition}
            """
        )
        return [(value, tuple(sorted(json.loads(ids)))) for value, ids in rows]

    def contents(self) -> Iterator[tuple[int, str, int]]:
        """(payload id, sha256, size) of every member of every complete payload, empty ones not."""
        return self.db.tuples(
            """
            SELECT payload_id, sha256, size FROM payload_members JOIN payloads USING (payload_id)
             WHERE payload_hash IS NOT NULL AND size > 0
            """
        )

    def alone(self, payload_id: int, device_id: int) -> int:
        """Bytes of a payload's inodes whose every name belongs to a torrent."""
        row = self.db.one(
            f"""
            WITH mine AS (SELECT DISTINCT inode, size FROM payload_members WHERE payload_id = ?)
            SELECT coalesce(sum(mine.size), 0)
              FROM mine JOIN inodes_{int(device_id)} AS i USING (inode)
             WHERE i.nlink = (SELECT count(DISTINCT path) FROM torrent_file_rows AS f
                               WHERE f.device_id = ? AND f.inode = mine.inode)
            """,
            (payload_id, device_id),
        )
        assert row is not None
        return int(row[0])

    def first_files(self) -> Iterator[tuple[int, int, RelPath]]:
        """(payload id, device, path) of one file of every torrent that has a payload."""
        rows = self.db.tuples(
            """
            SELECT payload_id, f.device_id, path
              FROM torrent_instances JOIN torrent_file_rows AS f USING (instance_id)
             WHERE payload_id IS NOT NULL AND position = 0
            """
        )
        return ((payload_id, device_id, from_db(path)) for payload_id, device_id, path in rows)

    def listed(self) -> Iterator[ListedRow]:
        rows = self.db.tuples(
            """
            SELECT torrent_hash, save_path, download_path, files
              FROM torrent_instances LEFT JOIN torrent_lists USING (instance_id)
            """
        )
        for key, save_path, download_path, files in rows:
            names = None if files is None else tuple(row[0] for row in json.loads(files))
            yield ListedRow(key, from_db(save_path), from_db(download_path), names)

    def seeded(self, device_id: int) -> tuple[set[RelPath], set[int]]:
        """Paths and inodes on a device that torrents have their wanted files at."""
        rows = self.db.tuples(
            "SELECT path, inode FROM torrent_file_rows WHERE device_id = ?", (device_id,)
        )
        paths: set[RelPath] = set()
        inodes: set[int] = set()
        for path, inode in rows:
            paths.add(from_db(path))
            inodes.add(inode)
        return paths, inodes

    def names_below(self, device_id: int, root: RelPath) -> Iterator[NameRow]:
        """Active names at or below a folder."""
        n = int(device_id)
        rows = self.db.tuples(
            f"""
            WITH RECURSIVE below(dir_id, path) AS (
                SELECT dir_id, path FROM dirs_{n} WHERE path = ? UNION ALL
                SELECT d.dir_id, d.path FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
            )
            SELECT below.path, n.name, i.inode, i.size, i.nlink, n.first_seen_at
              FROM below JOIN names_{n} AS n USING (dir_id) JOIN inodes_{n} AS i USING (inode)
             WHERE n.gone_at IS NULL
            """,
            (to_db(root),),
        )
        for folder, name, inode, size, nlink, first_seen_at in rows:
            parent = from_db(folder)
            path = f"{parent}/{from_db(name)}" if parent else from_db(name)
            yield NameRow(path, inode, size, nlink, first_seen_at)
