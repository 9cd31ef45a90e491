"""Directories, names and inodes of one filesystem."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hashall.hashing import FileStamp
from hashall.model import CatalogFile, RelPath
from hashall.relpath import join, parent_of
from seedkeep import clock
from seedkeep.sqlite import Database, from_db, to_db

__all__ = ["FileTable", "KnownName", "join", "parent_of"]


@dataclass(frozen=True, slots=True)
class KnownName:
    """A name as the catalog has it, with what it knows of the inode."""

    name: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    nlink: int
    quick_hash: str | None
    sha256: str | None
    racy: bool  # was hashed in the very moment of its last change: do not trust


@dataclass(frozen=True)
class FileTable:
    db: Database
    device_id: int

    # -- directories

    def dir_id(self, path: RelPath) -> int | None:
        row = self.db.one(
            f"SELECT dir_id FROM dirs_{self.device_id} WHERE path = ?", (to_db(path),)
        )
        return row[0] if row else None

    def ensure_dir(self, path: RelPath, *, parent_id: int | None = None) -> int:
        """The id of `path`, made together with its ancestors when missing.

        `parent_id` saves looking for them, where it is known.
        """
        missing, found, way = [], self.dir_id(path), path
        while found is None:
            missing.append(way)
            if parent_id is not None or not way:
                found = parent_id
                break
            way = parent_of(way)
            found = self.dir_id(way)
        for below in reversed(missing):
            self.db.execute(
                f"INSERT INTO dirs_{self.device_id} (parent_id, path) VALUES (?, ?)",
                (found, to_db(below)),
            )
            found = self.db.last_insert_rowid()
        assert found is not None
        return found

    def child_dirs(self, dir_id: int) -> dict[str, int]:
        """Sub-directories that the catalog knows: last part of the path → id."""
        rows = self.db.tuples(
            f"SELECT path, dir_id FROM dirs_{self.device_id} WHERE parent_id = ?", (dir_id,)
        )
        return {from_db(path).rpartition("/")[2]: child for path, child in rows}

    # -- names

    def entries(self, dir_id: int) -> dict[str, KnownName]:
        """Active names of one directory."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT n.name, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink,
                   i.quick_hash, i.sha256, i.racy
              FROM names_{n} AS n JOIN inodes_{n} AS i USING (inode)
             WHERE n.dir_id = ? AND n.gone_at IS NULL
            """,
            (dir_id,),
        )
        known = (_known(from_db(name), *rest) for name, *rest in rows)
        return {entry.name: entry for entry in known}

    def inode(self, inode: int) -> KnownName | None:
        """What is known of an inode, under an empty name."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT inode, size, mtime_ns, ctime_ns, nlink, quick_hash, sha256, racy
              FROM inodes_{n} WHERE inode = ?
            """,
            (inode,),
        )
        return next((_known("", *row) for row in rows), None)

    def put_name(self, dir_id: int, name: str, inode: int) -> None:
        self.db.execute(
            f"""
            INSERT INTO names_{self.device_id} (dir_id, name, inode, first_seen_at)
            VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET inode = excluded.inode, gone_at = NULL
            """,
            (dir_id, to_db(name), inode, clock.iso(clock.now())),
        )

    def drop_name(self, dir_id: int, name: str) -> None:
        """The name is gone from the disk; the row stays as history."""
        self.db.execute(
            f"""
            UPDATE names_{self.device_id} SET gone_at = ?
             WHERE dir_id = ? AND name = ? AND gone_at IS NULL
            """,
            (clock.iso(clock.now()), dir_id, to_db(name)),
        )

    def drop_tree(self, dir_id: int) -> int:
        """Every active name below a directory is gone.  Returns how many."""
        n = self.device_id
        self.db.execute(
            f"""
            WITH RECURSIVE below(dir_id) AS (
                VALUES (?) UNION ALL
                SELECT d.dir_id FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
            )
            UPDATE names_{n} SET gone_at = ?
             WHERE dir_id IN (SELECT dir_id FROM below) AND gone_at IS NULL
            """,
            (dir_id, clock.iso(clock.now())),
        )
        return self.db.changes()

    def bytes_below(self, dir_id: int) -> list[tuple[int, int, int]]:
        """(inode, size, mtime_ns) of every active name below a directory."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            WITH RECURSIVE below(dir_id) AS (
                VALUES (?) UNION ALL
                SELECT d.dir_id FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
            )
            SELECT i.inode, i.size, i.mtime_ns
              FROM below JOIN names_{n} AS n USING (dir_id) JOIN inodes_{n} AS i USING (inode)
             WHERE n.gone_at IS NULL
            """,
            (dir_id,),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def drop_path(self, path: RelPath) -> None:
        """The name is gone from the disk, and with the last name its inode too."""
        file, n = self.file(path), self.device_id
        dir_id = self.dir_id(parent_of(path))
        if dir_id is not None:
            self.drop_name(dir_id, path.rpartition("/")[2])
        if file is not None:
            self.db.execute(
                f"""
                DELETE FROM inodes_{n} WHERE inode = ?1 AND NOT EXISTS (
                    SELECT 1 FROM names_{n} WHERE inode = ?1 AND gone_at IS NULL
                )
                """,
                (file.inode,),
            )

    # -- inodes

    def put_inode(self, stamp: FileStamp, *, keep_hash: bool) -> None:
        """Record what `lstat` said; `keep_hash` when its bytes are known to be the same."""
        kept = "" if keep_hash else ", quick_hash = NULL, sha256 = NULL, hashed_at = NULL, racy = 0"
        self.db.execute(
            f"""
            INSERT INTO inodes_{self.device_id}
                   (inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET
                   size = excluded.size, mtime_ns = excluded.mtime_ns,
                   ctime_ns = excluded.ctime_ns, nlink = excluded.nlink,
                   mode = excluded.mode, uid = excluded.uid, gid = excluded.gid {kept}
            """,
            (
                stamp.inode,
                stamp.size,
                stamp.mtime_ns,
                stamp.ctime_ns,
                stamp.nlink,
                stamp.mode,
                stamp.uid,
                stamp.gid,
            ),
        )

    def refresh_inode(self, stamp: FileStamp) -> None:
        """Our own linking moved its ctime and link count; its bytes are as catalogued."""
        self.db.execute(
            f"""
            UPDATE inodes_{self.device_id} SET ctime_ns = ?, nlink = ?
             WHERE inode = ? AND size = ? AND mtime_ns = ?
            """,
            (stamp.ctime_ns, stamp.nlink, stamp.inode, stamp.size, stamp.mtime_ns),
        )

    def put_hash(self, stamp: FileStamp, sha256: str, quick_hash: str, *, racy: bool) -> None:
        """Store the hashes of an inode that still is what `stamp` says; else nothing happens."""
        self.db.execute(
            f"""
            UPDATE inodes_{self.device_id}
               SET sha256 = ?, quick_hash = ?, hashed_at = ?, racy = ?
             WHERE inode = ? AND size = ? AND mtime_ns = ?
            """,
            (
                sha256,
                quick_hash,
                clock.iso(clock.now()),
                int(racy),
                stamp.inode,
                stamp.size,
                stamp.mtime_ns,
            ),
        )

    def forget_nameless_inodes(self) -> None:
        n = self.device_id
        self.db.execute(f"""
            DELETE FROM inodes_{n} WHERE NOT EXISTS (
                SELECT 1 FROM names_{n} AS n WHERE n.inode = inodes_{n}.inode AND gone_at IS NULL
            )
        """)

    # -- questions

    def file(self, path: RelPath) -> CatalogFile | None:
        """The active name at `path`."""
        n = self.device_id
        row = self.db.one(
            f"""
            SELECT i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.sha256
              FROM dirs_{n} AS d JOIN names_{n} AS n USING (dir_id)
              JOIN inodes_{n} AS i USING (inode)
             WHERE d.path = ? AND n.name = ? AND n.gone_at IS NULL
            """,
            (to_db(parent_of(path)), to_db(path.rpartition("/")[2])),
        )
        return self._file(path, tuple(row)) if row else None

    def hashes_of(self, inodes: Iterable[int]) -> dict[int, tuple[int, int, str | None]]:
        """Inode → (size, mtime_ns, sha256), for those that the catalog knows."""
        rows = self.db.tuples(
            f"""
            SELECT inode, size, mtime_ns, sha256 FROM inodes_{self.device_id}
             WHERE inode IN (SELECT value FROM json_each(?))
            """,
            (json.dumps([*inodes]),),
        )
        return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def names_of(self, inode: int) -> tuple[RelPath, ...]:
        """Active names of an inode, sorted."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT d.path, n.name FROM names_{n} AS n JOIN dirs_{n} AS d USING (dir_id)
             WHERE n.inode = ? AND n.gone_at IS NULL
            """,
            (inode,),
        )
        return tuple(sorted(join(from_db(parent), from_db(name)) for parent, name in rows))

    def with_bytes(self, sha256: str, size: int) -> list[CatalogFile]:
        """Active names of files with exactly these bytes, sorted by path."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT d.path, n.name, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.sha256
              FROM inodes_{n} AS i JOIN names_{n} AS n USING (inode)
              JOIN dirs_{n} AS d USING (dir_id)
             WHERE i.sha256 = ? AND i.size = ? AND n.gone_at IS NULL
            """,
            (sha256, size),
        )
        found = [self._file(join(from_db(row[0]), from_db(row[1])), row[2:]) for row in rows]
        return sorted(found, key=lambda file: file.path)

    def totals(self) -> tuple[int, int, int]:
        """(names, inodes, bytes) of what is active."""
        n = self.device_id
        row = self.db.one(f"""
            SELECT (SELECT count(*) FROM names_{n} WHERE gone_at IS NULL),
                   count(*), coalesce(sum(size), 0) FROM inodes_{n}
             -- One list of all: looking each up in the table takes four times as long.
             WHERE inode IN (SELECT inode FROM names_{n} WHERE gone_at IS NULL)
        """)
        assert row is not None
        return row[0], row[1], row[2]

    def everything(self) -> Iterator[CatalogFile]:
        """All active names, in path order of their directories."""
        n = self.device_id
        rows = self.db.tuples(f"""
            SELECT d.path, n.name, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.sha256
              FROM names_{n} AS n JOIN dirs_{n} AS d USING (dir_id)
              JOIN inodes_{n} AS i USING (inode)
             WHERE n.gone_at IS NULL ORDER BY d.path, n.name
        """)
        return (self._file(join(from_db(row[0]), from_db(row[1])), row[2:]) for row in rows)

    def _file(self, path: RelPath, row: Iterable[object]) -> CatalogFile:
        inode, size, mtime_ns, ctime_ns, nlink, sha256 = row
        return CatalogFile(
            device_id=self.device_id,
            path=path,
            inode=int(str(inode)),
            size=int(str(size)),
            mtime_ns=int(str(mtime_ns)),
            ctime_ns=int(str(ctime_ns)),
            nlink=int(str(nlink)),
            sha256=None if sha256 is None else str(sha256),
        )


def _known(name: str, *row: Any) -> KnownName:
    inode, size, mtime_ns, ctime_ns, nlink, quick_hash, sha256, racy = row
    return KnownName(name, inode, size, mtime_ns, ctime_ns, nlink, quick_hash, sha256, bool(racy))
