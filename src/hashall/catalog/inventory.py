"""What the last look at a client's torrents was based on, so that the next one costs little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from hashall.model import key_of
from seedkeep import clock
from seedkeep.sqlite import Database, from_db
from seedkeep.torrent_client import TorrentFile

# (instance id, path as it is stored, inode, mtime in ns); a plain row, since there are so many.
StoredFolder = tuple[int, str | bytes, int, int]
NOT_READ = "not read:"  # how the problem of a torrent begins whose list did not come


@dataclass(frozen=True)
class ClientState:
    """How old the knowledge of one client is."""

    client: str
    synced_at: str | None  # UTC; when all of its torrents were read last; None: never
    torrents: int  # in the catalog
    unread: int  # of these, that could not be read when they were tried last
    why: str  # of one of them


class Known(NamedTuple):
    """One torrent as it was when it was looked at last."""

    instance_id: int
    place_print: str
    label_print: str
    problem: str | None
    has_hash: int  # 1: its payload is complete


@dataclass(frozen=True)
class InventoryTable:
    db: Database

    # -- writing

    def put_labels(
        self, instance_id: int, name: str, category: str, tags: Sequence[str], print_: str
    ) -> None:
        self.db.execute(
            """
            UPDATE torrent_instances SET name = ?, category = ?, tags = ?, label_print = ?
             WHERE instance_id = ?
            """,
            (name, category, json.dumps(tags), print_, instance_id),
        )

    def doubt(self, instance_id: int, problem: str) -> None:
        """Its rows stand as they were, and the next sync looks again."""
        self.db.execute(
            "UPDATE torrent_instances SET place_print = '', problem = ? WHERE instance_id = ?",
            (problem, instance_id),
        )

    def meet(self, client: str) -> None:
        """Enter a client's name when it is new."""
        self.db.execute("INSERT OR IGNORE INTO clients (name) VALUES (?)", (client,))

    def synced(self, client: str) -> None:
        """Every torrent of the client is in the catalog as it was a moment ago."""
        self.db.execute(
            "UPDATE clients SET synced_at = ? WHERE name = ?", (clock.iso(clock.now()), client)
        )

    # -- reading

    def oldest_sync(self) -> str | None:
        """When the client that was not read for the longest time was read, UTC.

        Of clients with torrents, if there are any: another one may be gone for good.  None before
        the first sync, or while one of them was never read to its end.
        """
        row = self.db.one(
            """
            SELECT iif(count(*) = count(synced_at), min(synced_at), NULL) FROM clients AS c
             WHERE EXISTS (SELECT 1 FROM torrent_instances AS i WHERE i.client = c.name)
            HAVING count(*) > 0
            """
        ) or self.db.one("SELECT max(synced_at) FROM clients")
        assert row is not None
        return None if row[0] is None else str(row[0])

    def clients(self) -> tuple[ClientState, ...]:
        """Clients with torrents, and those that were read as a whole; by name."""
        rows = self.db.tuples(
            """
            SELECT clients.name, synced_at, count(torrent_hash),
                   count(*) FILTER (WHERE problem LIKE :not_read || '%'),
                   coalesce(max(problem) FILTER (WHERE problem LIKE :not_read || '%'), '')
              FROM clients LEFT JOIN torrent_instances ON client = clients.name
             GROUP BY clients.name HAVING synced_at IS NOT NULL OR count(torrent_hash) > 0
             ORDER BY clients.name
            """,
            {"not_read": NOT_READ},
        )
        return tuple(
            ClientState(client, at, torrents, unread, why.removeprefix(NOT_READ).strip())
            for client, at, torrents, unread, why in rows
        )

    def known(self, client: str) -> dict[str, Known]:
        """By torrent id."""
        rows = self.db.all_tuples(
            """
            SELECT substr(torrent_hash, 1, length(torrent_hash) - ?), instance_id, place_print,
                   label_print, problem, payload_hash IS NOT NULL
              FROM torrent_instances LEFT JOIN payloads USING (payload_id) WHERE client = ?
            """,
            (len(key_of("", client)), client),
        )
        return {row[0]: Known._make(row[1:]) for row in rows}

    def folders(self, client: str) -> list[StoredFolder]:
        """Folders as they were when their torrents were looked at last."""
        rows = self.db.all_tuples(
            """
            SELECT f.instance_id, f.path, f.inode, f.mtime_ns
              FROM torrent_instances AS i JOIN torrent_folders AS f USING (instance_id)
             WHERE client = ?
            """,
            (client,),
        )
        return cast(list[StoredFolder], rows)

    def homes(self, client: str) -> list[tuple[int, str, tuple[int, ...]]]:
        """(device, save path, instance ids) of torrents whose files were seen."""
        rows = self.db.tuples(
            """
            SELECT device_id, save_path, json_group_array(instance_id) FROM torrent_instances
             WHERE client = ? AND device_id IS NOT NULL GROUP BY device_id, save_path
            """,
            (client,),
        )
        return [(device, from_db(path), tuple(json.loads(ids))) for device, path, ids in rows]

    def overtaken(self) -> set[int]:
        """Torrents with a file whose hash in the catalog is another one now, or is there at last.

        By inode: whether the names still lead to these inodes, the folders tell.  Of all clients,
        because one index has all that is needed, in the order of the inodes.
        """
        found: set[int] = set()
        devices = self.db.all("SELECT device_id FROM devices")
        for (n,) in [tuple(row) for row in devices]:
            rows = self.db.tuples(
                f"""
                SELECT DISTINCT f.instance_id FROM torrent_file_rows AS f
                  LEFT JOIN inodes_{int(n)} AS x ON x.inode = f.inode
                 WHERE f.device_id = ?
                   AND (f.sha256 IS NOT x.sha256
                        OR (x.sha256 IS NOT NULL AND f.mtime_ns IS NOT x.mtime_ns))
                """,
                (n,),
            )
            found.update(row[0] for row in rows)
        return found

    def listed(self, instance_id: int) -> tuple[TorrentFile, ...]:
        """The client's file list as it was read last; progress is not kept."""
        row = self.db.one("SELECT files FROM torrent_lists WHERE instance_id = ?", (instance_id,))
        if row is None:
            return ()
        rows = json.loads(row["files"])
        return tuple(TorrentFile(name, size, 1.0, bool(wanted)) for name, size, wanted in rows)

    def seen_files(self, instance_id: int) -> list[tuple[str, int | None, int, int | None]]:
        """(name, inode, size, mtime_ns) of each member, as it was seen on disk."""
        rows = self.db.tuples(
            "SELECT name, inode, size, mtime_ns FROM torrent_file_rows WHERE instance_id = ?",
            (instance_id,),
        )
        return [(from_db(name), *rest) for name, *rest in rows]

    def without_hash(self, client: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Torrent id → (its save path here, names of members that need a scan)."""
        rows = self.db.tuples(
            """
            SELECT torrent_hash, save_path, f.name
              FROM torrent_instances JOIN torrent_file_rows AS f USING (instance_id)
             WHERE client = ? AND problem IS NOT NULL AND sha256 IS NULL
             ORDER BY torrent_hash, position
            """,
            (client,),
        )
        found: dict[str, tuple[str, list[str]]] = {}
        for key, save_path, name in rows:
            torrent_id = key.partition("@")[0]
            found.setdefault(torrent_id, (from_db(save_path), []))[1].append(from_db(name))
        return {torrent_id: (path, tuple(names)) for torrent_id, (path, names) in found.items()}
