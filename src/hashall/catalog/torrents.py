"""Torrents of the clients, the files of each on our disk, and what moves together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hashall.model import TorrentFileOnDisk, TorrentInstance
from seedkeep.sqlite import Database, Row, from_db, to_db
from seedkeep.torrent_client import Prints, TorrentFile

# An unchanged torrent is not written again: it was seen when its client was read last.
_INSTANCE = """
    SELECT i.*, max(i.last_seen_at, coalesce(c.synced_at, '')) AS seen_at
      FROM torrent_instances AS i LEFT JOIN clients AS c ON c.name = i.client
"""


Proved = tuple[int, str]  # device and payload hash, as `TorrentInstance.proved`
UNTOLD = Prints("", "")  # equals no print of a client: the next sync looks again


class FolderStamp(NamedTuple):
    path: str  # absolute
    inode: int
    mtime_ns: int  # 0: was too young, equals nothing


@dataclass(frozen=True)
class Look:
    """What one look at a torrent found, and what it was based on."""

    instance: TorrentInstance
    files: Sequence[TorrentFileOnDisk]
    prints: Prints = UNTOLD
    listed: Sequence[TorrentFile] | None = None  # None: its list was not read
    folders: Sequence[FolderStamp] = ()


@dataclass(frozen=True)
class TorrentTable:
    """A torrent is named by its key: the id, with `@client` for any but the main client."""

    db: Database

    # -- writing

    def put_instance(self, instance: TorrentInstance, files: Iterable[TorrentFileOnDisk]) -> None:
        """Replace what is known of one torrent; the next sync looks at it again."""
        self.put_looks([Look(instance, tuple(files))])

    def put_looks(self, looks: Sequence[Look]) -> None:
        """Replace what is known of these torrents, each another one.

        What a torrent was last proved to seed stays, until it is proved to seed something else or
        lies on another device.
        """
        proved = self._proofs(looks)
        self.forget_instances([look.instance.key for look in looks])
        row = self.db.one("SELECT coalesce(max(instance_id), 0) + 1 FROM torrent_instances")
        assert row is not None
        numbered = [*enumerate(looks, int(row[0]))]
        self.db.executemany(
            """
            INSERT INTO torrent_instances
                   (torrent_hash, infohash_v1, infohash_v2, name, payload_id, device_id,
                    save_path, root_name, category, tags, problem, last_seen_at,
                    instance_id, client, download_path, place_print, label_print,
                    proved_device, proved_hash)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                (*_instance_row(number, look.instance, look.prints), *proof)
                for (number, look), proof in zip(numbered, proved, strict=True)
            ],
        )
        self.db.executemany(
            "INSERT INTO torrent_file_rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(number, position, to_db(file.name), file.size, file.device_id),
                    *(to_db(file.path), file.inode, file.mtime_ns, file.sha256),
                )
                for number, look in numbered
                for position, file in enumerate(look.files)
            ],
        )
        self.db.executemany(
            "INSERT INTO torrent_lists VALUES (?, ?)",
            [
                (number, json.dumps([[f.name, f.size, int(f.wanted)] for f in look.listed]))
                for number, look in numbered
                if look.listed is not None
            ],
        )
        self.db.executemany(
            "INSERT INTO torrent_folders VALUES (?, ?, ?, ?)",
            [
                (number, to_db(folder.path), folder.inode, folder.mtime_ns)
                for number, look in numbered
                for folder in look.folders
            ],
        )

    def _proofs(self, looks: Sequence[Look]) -> list[Proved | tuple[None, None]]:
        """(device, payload hash) of each: what it is now, else what it was before."""
        before = {
            key: (device_id, payload_hash)
            for key, device_id, payload_hash in self.db.tuples(
                "SELECT torrent_hash, proved_device, proved_hash FROM torrent_instances"
                " WHERE proved_hash IS NOT NULL"
                " AND torrent_hash IN (SELECT value FROM json_each(?))",
                (json.dumps([look.instance.key for look in looks]),),
            )
        }
        now = {
            payload_id: (device_id, payload_hash)
            for payload_id, device_id, payload_hash in self.db.tuples(
                "SELECT payload_id, device_id, payload_hash FROM payloads"
                " WHERE payload_hash IS NOT NULL"
                " AND payload_id IN (SELECT value FROM json_each(?))",
                (json.dumps([look.instance.payload_id for look in looks]),),
            )
        }
        return [_proof(look.instance, before, now) for look in looks]

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
        torrents of all clients, those of others than the main one as `id@client`.  A torrent whose
        files cannot be seen now counts with the payload that it was last proved to seed.
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
              FROM torrent_instances AS mine
              JOIN torrent_instances AS other USING (proved_hash, proved_device)
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


def _instance_row(number: int, instance: TorrentInstance, prints: Prints) -> tuple[Any, ...]:
    return (
        *(instance.key, instance.infohash_v1, instance.infohash_v2, instance.name),
        *(instance.payload_id, instance.device_id),
        *(to_db(instance.save_path), to_db(instance.root_name)),
        *(instance.category, json.dumps(instance.tags)),
        *(instance.problem, instance.last_seen_at),
        *(number, instance.client, to_db(instance.download_path), *prints),
    )


def _proof(
    instance: TorrentInstance, before: Mapping[str, Proved], now: Mapping[int, Proved]
) -> Proved | tuple[None, None]:
    found = None if instance.payload_id is None else now.get(instance.payload_id)
    if found is not None:
        return found
    found = before.get(instance.key)
    # On another device it is none of those any more that it was with.
    return found if found and instance.device_id in (None, found[0]) else (None, None)


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
        proved=None if row["proved_hash"] is None else (row["proved_device"], row["proved_hash"]),
    )
