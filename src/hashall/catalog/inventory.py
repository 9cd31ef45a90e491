"""What the last look at a client's torrents was based on, so that the next one costs little."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seedkeep import clock
from seedkeep.sqlite import Database, from_db, to_db
from seedkeep.torrent_client import Prints, TorrentFile


class Known(NamedTuple):
    """One torrent as it was when it was looked at last."""

    instance_id: int
    prints: Prints
    problem: str | None
    has_hash: bool  # its payload is complete


class FolderStamp(NamedTuple):
    path: str  # absolute
    inode: int
    mtime_ns: int  # 0: was too young, equals nothing


@dataclass(frozen=True)
class InventoryTable:
    db: Database

    # -- writing

    def put_look(
        self,
        instance_id: int,
        prints: Prints,
        files: Sequence[TorrentFile],
        folders: Iterable[FolderStamp],
    ) -> None:
        """Keep what a torrent's rows, which were written just now, came from."""
        self.db.execute(
            "UPDATE torrent_instances SET place_print = ?, label_print = ? WHERE instance_id = ?",
            (*prints, instance_id),
        )
        listed = [[file.name, file.size, int(file.wanted)] for file in files]
        self.db.execute(
            "INSERT OR REPLACE INTO torrent_lists VALUES (?, ?)", (instance_id, json.dumps(listed))
        )
        self.db.executemany(
            "INSERT INTO torrent_folders VALUES (?, ?, ?, ?)",
            [(instance_id, to_db(f.path), f.inode, f.mtime_ns) for f in folders],
        )

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
        self.db.execute(
            "UPDATE clients SET synced_at = ? WHERE name = ?", (clock.iso(clock.now()), client)
        )

    # -- reading

    def known(self, client: str) -> dict[str, Known]:
        """By torrent id."""
        rows = self.db.tuples(
            """
            SELECT torrent_hash, instance_id, place_print, label_print, problem,
                   payload_hash IS NOT NULL
              FROM torrent_instances LEFT JOIN payloads USING (payload_id) WHERE client = ?
            """,
            (client,),
        )
        return {
            key.partition("@")[0]: Known(number, Prints(place, labels), problem, bool(has_hash))
            for key, number, place, labels, problem, has_hash in rows
        }

    def folders(self, client: str) -> Iterable[tuple[int, FolderStamp]]:
        rows = self.db.tuples(
            """
            SELECT f.instance_id, f.path, f.inode, f.mtime_ns
              FROM torrent_instances AS i JOIN torrent_folders AS f USING (instance_id)
             WHERE client = ?
            """,
            (client,),
        )
        return ((row[0], FolderStamp(from_db(row[1]), row[2], row[3])) for row in rows)

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
