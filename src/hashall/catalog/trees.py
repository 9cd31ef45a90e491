"""Directories of one filesystem with what is in them, for hashes over whole trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hashall.model import RelPath
from seedkeep.sqlite import Database, from_db, to_db


class Directory(NamedTuple):
    dir_id: int
    parent_id: int | None
    path: RelPath


class Entry(NamedTuple):
    """An active name in a directory."""

    name: str
    inode: int
    size: int  # bytes
    sha256: str | None  # None: not hashed, or changed since


@dataclass(frozen=True)
class TreeTable:
    db: Database
    device_id: int

    def directory(self, path: RelPath) -> Directory | None:
        row = self.db.one(
            f"SELECT dir_id, parent_id, path FROM dirs_{self.device_id} WHERE path = ?",
            (to_db(path),),
        )
        return None if row is None else Directory(row[0], row[1], from_db(row[2]))

    def directories(self) -> Iterator[Directory]:
        """All that a scan has met, also those that are gone or empty, in no order."""
        rows = self.db.tuples(f"SELECT dir_id, parent_id, path FROM dirs_{self.device_id}")
        return (Directory(dir_id, parent, from_db(path)) for dir_id, parent, path in rows)

    def below(self, dir_id: int) -> Iterator[Directory]:
        """A directory and all below it, parents before children."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            WITH RECURSIVE below(dir_id) AS (
                VALUES (?) UNION ALL
                SELECT d.dir_id FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
            )
            SELECT d.dir_id, d.parent_id, d.path FROM below JOIN dirs_{n} AS d USING (dir_id)
            """,
            (dir_id,),
        )
        return (Directory(row[0], row[1], from_db(row[2])) for row in rows)

    def inodes_below(self, dir_id: int) -> dict[int, int]:
        """Inode → bytes of every file below a directory."""
        n = self.device_id
        return dict(
            self.db.tuples(
                f"""
                WITH RECURSIVE below(dir_id) AS (
                    VALUES (?) UNION ALL
                    SELECT d.dir_id FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
                )
                SELECT i.inode, i.size
                  FROM below JOIN names_{n} AS n USING (dir_id) JOIN inodes_{n} AS i USING (inode)
                 WHERE n.gone_at IS NULL
                """,
                (dir_id,),
            )
        )

    def children(self, dir_id: int) -> list[Directory]:
        rows = self.db.tuples(
            f"SELECT dir_id, parent_id, path FROM dirs_{self.device_id} WHERE parent_id = ?",
            (dir_id,),
        )
        return [Directory(row[0], row[1], from_db(row[2])) for row in rows]

    def entries(self, dir_id: int) -> list[Entry]:
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT n.name, n.inode, i.size, i.sha256
              FROM names_{n} AS n JOIN inodes_{n} AS i USING (inode)
             WHERE n.dir_id = ? AND n.gone_at IS NULL
            """,
            (dir_id,),
        )
        return [Entry(from_db(name), *rest) for name, *rest in rows]
