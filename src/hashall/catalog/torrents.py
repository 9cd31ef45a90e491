"""Torrents of the clients, the files of each on our disk, and what moves together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hashall.model import TorrentFileOnDisk, TorrentInstance
from seedkeep.sqlite import Database, Row, from_db, to_db

# An unchanged torrent is not written again: it was seen when its client was read last.
_INSTANCE = """
    SELECT i.*, max(i.last_seen_at, coalesce(c.synced_at, '')) AS seen_at
      FROM torrent_instances AS i LEFT JOIN clients AS c ON c.name = i.client
"""


@dataclass(frozen=True)
class TorrentTable:
    """A torrent is named by its key: the id, with `@client` for any but the main client."""

    db: Database

    # -- writing

    def put_instance(self, instance: TorrentInstance, files: Iterable[TorrentFileOnDisk]) -> int:
        """Replace what is known of one torrent; returns its number."""
        self.forget_instances([instance.key])
        row = self.db.one("SELECT coalesce(max(instance_id), 0) + 1 FROM torrent_instances")
        assert row is not None
        number = int(row[0])
        self.db.execute(
            """
            INSERT INTO torrent_instances
                   (torrent_hash, infohash_v1, infohash_v2, name, payload_id, device_id,
                    save_path, root_name, category, tags, problem, last_seen_at,
                    instance_id, client, download_path)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            (
                instance.key,
                instance.infohash_v1,
                instance.infohash_v2,
                instance.name,
                instance.payload_id,
                instance.device_id,
                to_db(instance.save_path),
                to_db(instance.root_name),
                instance.category,
                json.dumps(instance.tags),
                instance.problem,
                instance.last_seen_at,
                number,
                instance.client,
                to_db(instance.download_path),
            ),
        )
        self.db.executemany(
            "INSERT INTO torrent_file_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(number, position, to_db(file.name), file.size, file.device_id),
                    *(to_db(file.path), file.inode, file.mtime_ns, file.sha256),
                )
                for position, file in enumerate(files)
            ],
        )
        return number

    def forget_instances(self, keys: Collection[str]) -> None:
        self.db.executemany(
            "DELETE FROM torrent_instances WHERE torrent_hash = ?", [(key,) for key in keys]
        )

    # -- reading

    def instance(self, key: str) -> TorrentInstance | None:
        row = self.db.one(f"{_INSTANCE} WHERE torrent_hash = ?", (key,))
        return _instance(row) if row else None

    def instances(self) -> list[TorrentInstance]:
        """Of all clients."""
        return [_instance(row) for row in self.db.all(f"{_INSTANCE} ORDER BY torrent_hash")]

    def instances_of(self, payload_id: int) -> list[TorrentInstance]:
        rows = self.db.all(f"{_INSTANCE} WHERE payload_id = ? ORDER BY torrent_hash", (payload_id,))
        return [_instance(row) for row in rows]

    def files_of(self, key: str) -> list[TorrentFileOnDisk]:
        rows = self.db.all(
            "SELECT * FROM torrent_files WHERE torrent_hash = ? ORDER BY name", (key,)
        )
        return [
            TorrentFileOnDisk(
                name=from_db(row["name"]),
                size=row["size"],
                device_id=row["device_id"],
                path=from_db(row["path"]),
                inode=row["inode"],
                mtime_ns=row["mtime_ns"],
                sha256=row["sha256"],
            )
            for row in rows
        ]

    def group_of(self, key: str) -> tuple[str, ...]:
        """Every torrent that moves together with this one, itself included, sorted.

        The connected component over shared inodes, shared paths and shared payload, on one device;
        torrents of all clients, those of others than the main one as `id@client`.
        """
        start = self.db.one(
            "SELECT instance_id FROM torrent_instances WHERE torrent_hash = ?", (key,)
        )
        if start is None:
            return (key,)
        group = {int(start[0])}
        fresh = list(group)
        while fresh:
            found = set[int]().union(*(self._next_to(number) for number in fresh))
            fresh = sorted(found - group)
            group.update(fresh)
        return tuple(sorted(self._key(number) for number in group))

    def _next_to(self, number: int) -> set[int]:
        rows = self.db.tuples(
            """
            SELECT other.instance_id
              FROM torrent_file_rows AS mine
              JOIN torrent_file_rows AS other USING (device_id, inode)
             WHERE mine.instance_id = :t
             UNION
            SELECT other.instance_id
              FROM torrent_file_rows AS mine
              JOIN torrent_file_rows AS other USING (device_id, path)
             WHERE mine.instance_id = :t
             UNION
            SELECT other.instance_id
              FROM torrent_instances AS mine JOIN torrent_instances AS other USING (payload_id)
             WHERE mine.instance_id = :t
            """,
            {"t": number},
        )
        return {row[0] for row in rows}

    def _key(self, number: int) -> str:
        row = self.db.one(
            "SELECT torrent_hash FROM torrent_instances WHERE instance_id = ?", (number,)
        )
        assert row is not None
        return str(row[0])


def _instance(row: Row) -> TorrentInstance:
    return TorrentInstance(
        torrent_id=str(row["torrent_hash"]).partition("@")[0],
        infohash_v1=row["infohash_v1"],
        infohash_v2=row["infohash_v2"],
        name=row["name"],
        payload_id=row["payload_id"],
        device_id=row["device_id"],
        save_path=from_db(row["save_path"]),
        root_name=from_db(row["root_name"]),
        category=row["category"],
        tags=tuple(json.loads(row["tags"])),
        problem=row["problem"],
        last_seen_at=row["seen_at"],
        client=row["client"],
        download_path=from_db(row["download_path"]),
    )
