"""Writing what a scan finds: many rows a statement, in path order, many folders a transaction.

Secondary indexes are dropped when a scan brings far more than there is, and made when its
last row is in: live, they take most of the time of a large load.  A scan that is killed meanwhile
leaves a correct catalog with slow questions; the next scan makes them again.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from hashall.catalog.devices import (
    INODES_BY_BYTES,
    NAMES_BY_INODE,
    Index,
    create_index,
    drop_index,
    lacks_index,
)
from hashall.catalog.files import FileTable
from hashall.catalog.scan_reads import lacks_hash
from hashall.model import RelPath
from hashall.scan_model import Difference, DriftPolicy, FolderChange, HashMode, Unread
from seedkeep import clock
from seedkeep.pragmas import pragmas
from seedkeep.sqlite import Database, to_db

LARGE_LOAD = 50_000  # rows; below it, indexes stay
MANY_TO_ONE = 8  # rows that are there to rows that follow, from where an index is made first
LARGE_FILE = 64 << 20  # bytes; where seeking to it costs nothing beside reading it
FOLDERS_REMEMBERED = 50_000
CACHE_KIB = 64 * 1024
PAGES_PER_CHECKPOINT = 16_384  # 64 MiB

_DROPPED = (NAMES_BY_INODE, INODES_BY_BYTES)
_SAME = "(size = excluded.size AND mtime_ns = excluded.mtime_ns)"
_READ = "(sha256 IS NOT NULL OR quick_hash IS NOT NULL)"
# Whether the bytes are taken for the same, and which ctime stands in the row then.  With QUICK the
# old one stays until samples were compared, so a scan that is killed before forgets nothing.
_KEEPS = {
    DriftPolicy.METADATA: _SAME,
    DriftPolicy.FULL: f"{_SAME} AND (ctime_ns = excluded.ctime_ns OR NOT {_READ})",
    DriftPolicy.QUICK: f"{_SAME} AND (ctime_ns = excluded.ctime_ns OR sha256 IS NULL"
    " OR quick_hash IS NOT NULL)",
}
_CTIME = {
    DriftPolicy.METADATA: "excluded.ctime_ns",
    DriftPolicy.FULL: "excluded.ctime_ns",
    DriftPolicy.QUICK: f"iif({_SAME} AND quick_hash IS NOT NULL, ctime_ns, excluded.ctime_ns)",
}

# (inode, size, mtime_ns, quick hash to compare with or None, folder, name, counted as unchanged,
# ctime_ns)
Waiting = tuple[int, int, int, str | None, str | bytes, str | bytes, int, int]


@dataclass
class CatalogLoad:
    """One place of one scan."""

    db: Database
    device_id: int
    drift: DriftPolicy
    _folders: dict[RelPath, int] = field(default_factory=dict)
    # Of (inode, size, mtime_ns), hashed: a scan may add millions.
    _gone: Counter[int] = field(default_factory=Counter)
    _added: array[int] = field(default_factory=lambda: array("q"))
    _rows: int = 0  # written for new names
    _first: bool = False  # the filesystem was empty: no name can have moved
    _suspects: set[int] = field(default_factory=set)  # inodes that lost a name
    _asked: set[Index] = field(default_factory=set)  # indexes whose table was counted

    def __post_init__(self) -> None:
        self.files = FileTable(self.db, self.device_id)
        self._now = clock.iso(clock.now())
        n, drift = self.device_id, self.drift
        self._put_names = f"""
            INSERT INTO names_{n} (dir_id, name, inode, first_seen_at) VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET inode = excluded.inode, gone_at = NULL
        """
        keep = ", ".join(
            f"{column} = iif({_KEEPS[drift]}, {column}, {empty})"
            for column, empty in (
                ("sha256", "NULL"),
                ("quick_hash", "NULL"),
                ("hashed_at", "NULL"),
                ("racy", "0"),
            )
        )
        self._put_stamps = f"""
            INSERT INTO inodes_{n} (inode, size, mtime_ns, ctime_ns, nlink, mode, uid, gid)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET
                   size = excluded.size, mtime_ns = excluded.mtime_ns, nlink = excluded.nlink,
                   mode = excluded.mode, uid = excluded.uid, gid = excluded.gid,
                   ctime_ns = {_CTIME[drift]}, {keep}
        """

    def begin(self) -> None:
        """Take what an earlier scan may have left: missing indexes, names without an end."""
        self.db.script("""
            CREATE TEMP TABLE IF NOT EXISTS scan_waiting (
                inode INTEGER PRIMARY KEY, ctime_ns INTEGER, dir_id INTEGER, name ANY, same INTEGER
            ) STRICT;
            DELETE FROM temp.scan_waiting
        """)
        self._first = self.is_empty()
        if self._first:
            for index in _DROPPED:
                self._drop(index)
        else:
            self.make_indexes()

    def names_to_index(self) -> int:
        """How many names there are, where `begin` takes a while to make indexes of them; else 0."""
        if self.is_empty() or not lacks_index(self.db, self.device_id, *_DROPPED):
            return 0
        row = self.db.one(f"SELECT count(*) FROM names_{self.device_id}")
        assert row is not None
        return int(row[0]) if row[0] >= LARGE_LOAD else 0

    def knows(self, relpath: RelPath) -> bool:
        """Whether there is anything at or below a directory."""
        return self.files.dir_id(relpath) is not None

    def is_empty(self) -> bool:
        """Whether no inode of the filesystem is known."""
        return self.db.one(f"SELECT 1 FROM inodes_{self.device_id}") is None

    # -- names and inodes

    def write(self, changes: Iterable[FolderChange]) -> int:
        """Record how directories differ; returns how many names went with whole directories."""
        names: list[tuple[Any, ...]] = []
        stamps: list[tuple[Any, ...]] = []
        hashed: list[tuple[Any, ...]] = []
        waiting: list[tuple[Any, ...]] = []
        lost, now, named = 0, self._now, (Difference.NEW, Difference.OTHER)
        for change in changes:
            dir_id, files = change.dir_id, change.files
            if dir_id is None:
                dir_id = self._folder(change.relpath)
            names += [(dir_id, row[0], row[2], now) for row in files if row[1] in named]
            names += [(dir_id, row[0], row[1], now) for row in change.hashed]
            stamps += [row[2:] for row in files]
            hashed += [row[1:] for row in change.hashed]
            waiting += [
                (row[2], row[5], dir_id, row[0], row[1] is Difference.TOUCHED) for row in files
            ]
            if not self._first:
                self._added.extend([hash(row[2:5]) for row in files if row[1] is Difference.NEW])
                self._added.extend([hash(row[1:4]) for row in change.hashed])
            if change.gone or change.gone_dirs or change.replaced:
                lost += self._forget(dir_id, change)
        self._rows += len(names)
        for index in _DROPPED:
            self._drop_when_large(index, self._rows)
        self.db.executemany(self._put_names, names)
        self.db.executemany(self._put_stamps, stamps)
        self._put_hashed(hashed)
        self._put_waiting(waiting)
        return lost

    def _put_hashed(self, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = ["size", "mtime_ns", "ctime_ns", "nlink", "mode", "uid", "gid"]
        columns += ["quick_hash", "sha256", "racy", "hashed_at"]
        # Answers come in any order: an older look must not replace a newer one.
        self.db.executemany(
            f"""
            INSERT INTO inodes_{self.device_id} (inode, {", ".join(columns)})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{clock.iso(clock.now())}')
                ON CONFLICT DO UPDATE SET {", ".join(f"{it} = excluded.{it}" for it in columns)}
                WHERE excluded.ctime_ns >= inodes_{self.device_id}.ctime_ns
            """,
            rows,
        )

    def note_unread(self, unread: Sequence[Unread]) -> None:
        self._put_waiting([(u.inode, u.ctime_ns, u.dir_id, to_db(u.name), True) for u in unread])

    def vanished(self, relpath: RelPath) -> int:
        """A directory went during the walk; returns how many names went with it."""
        gone = self.files.dir_id(relpath)
        return 0 if gone is None else self._drop_tree(gone)

    def settle_moves(self) -> int:
        """How many of the new names are old ones that went elsewhere.  Asked once, at the end."""
        moved = 0
        if self._gone:
            for key in self._added:
                if self._gone[key] > 0:
                    self._gone[key] -= 1
                    moved += 1
        self._gone.clear()
        self._added = array("q")
        return moved

    def forget_nameless(self, *, all_of_them: bool) -> None:
        """Inodes that lost their last name: their numbers are given again to other files."""
        if all_of_them:
            self.files.forget_nameless_inodes()
            return
        n = self.device_id
        self.db.executemany(
            f"""
            DELETE FROM inodes_{n} WHERE inode = ?1 AND NOT EXISTS (
                SELECT 1 FROM names_{n} WHERE inode = ?1 AND gone_at IS NULL
            )
            """,
            [(inode,) for inode in sorted(self._suspects)],
        )

    def _forget(self, dir_id: int, change: FolderChange) -> int:
        n = self.device_id
        for gone in change.gone:
            self._gone[hash(gone[1:])] += 1
            self._suspects.add(gone.inode)
        if change.gone:
            self.db.executemany(
                f"""
                UPDATE names_{n} SET gone_at = ?
                 WHERE dir_id = ? AND name = ? AND gone_at IS NULL
                """,
                [(self._now, dir_id, to_db(gone.name)) for gone in change.gone],
            )
        self._suspects.update(change.replaced)
        return sum(self._drop_tree(gone_dir) for gone_dir in change.gone_dirs)

    def _drop_tree(self, dir_id: int) -> int:
        for key in self.files.bytes_below(dir_id):
            self._gone[hash(key)] += 1
            self._suspects.add(key[0])
        return self.files.drop_tree(dir_id)

    def _folder(self, relpath: RelPath) -> int:
        known = self._folders.get(relpath)
        if known is None:
            above = relpath.rpartition("/")[0]
            parent = self._folders.get(above) if relpath else None
            known = self.files.ensure_dir(relpath, parent_id=parent)
            if len(self._folders) >= FOLDERS_REMEMBERED:
                self._folders.clear()
            self._folders[relpath] = known
        return known

    # -- what has to be read

    def _put_waiting(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Of several looks the oldest ctime counts: mode and owner may be of any of them."""
        older = "ctime_ns = excluded.ctime_ns WHERE excluded.ctime_ns < scan_waiting.ctime_ns"
        self.db.executemany(
            "INSERT INTO temp.scan_waiting VALUES (?, ?, ?, ?, ?)"
            f" ON CONFLICT DO UPDATE SET {older}",
            rows,
        )

    def waiting_totals(self, mode: HashMode) -> tuple[int, int]:
        """(inodes, bytes) still to be read."""
        row = self.db.one(f"SELECT count(*), coalesce(sum(i.size), 0) {self._waiting_rows(mode)}")
        assert row is not None
        self._drop_when_large(INODES_BY_BYTES, row[0])
        return row[0], row[1]

    def waiting(self, mode: HashMode, page: int = 2000) -> Iterator[Waiting]:
        """Large files, the largest first, so that no helper has one left when the others are done.

        Then the order of the inodes, which is close to the order on the platter.  A page at a
        time, so that no statement stays open over a commit.
        """
        large = f"AND i.size >= {LARGE_FILE} ORDER BY i.size DESC, w.inode"
        yield from self._waiting_items(mode, large, ())
        small, last = f"AND i.size < {LARGE_FILE}", -math.inf
        while True:
            found = self._waiting_items(
                mode, f"{small} AND w.inode > ? ORDER BY w.inode LIMIT {page}", (last,)
            )
            yield from found
            if len(found) < page:
                return
            last = found[-1][0]

    def _waiting_items(self, mode: HashMode, which: str, params: Sequence[float]) -> list[Any]:
        return self.db.all_tuples(
            f"""
            SELECT w.inode, i.size, i.mtime_ns, iif({lacks_hash(mode)}, NULL, i.quick_hash),
                   d.path, w.name, w.same, w.ctime_ns
              {self._waiting_rows(mode)} {which}
            """,
            params,
        )

    def _waiting_rows(self, mode: HashMode) -> str:
        n = self.device_id
        return f"""
            FROM temp.scan_waiting AS w CROSS JOIN inodes_{n} AS i USING (inode)
                 CROSS JOIN dirs_{n} AS d USING (dir_id)
           WHERE (w.ctime_ns <> i.ctime_ns OR {lacks_hash(mode)})
        """

    def put_reads(self, rows: Sequence[tuple[str | None, str, bool, int, int, int, int]]) -> None:
        """Store hashes of inodes that still have the bytes that were listed.

        Rows of (sha256, quick hash, racy, ctime_ns, inode, size, mtime_ns).
        """
        self.db.executemany(
            f"""
            UPDATE inodes_{self.device_id}
               SET sha256 = ?, quick_hash = ?, racy = ?, ctime_ns = ?,
                   hashed_at = '{clock.iso(clock.now())}'
             WHERE inode = ? AND size = ? AND mtime_ns = ?
            """,
            rows,
        )

    def put_confirmed(self, rows: Sequence[tuple[int, int, int, int]]) -> None:
        """Samples are as they were: the new ctime means no other bytes.

        Rows of (ctime_ns, inode, size, mtime_ns).
        """
        self.db.executemany(
            f"""
            UPDATE inodes_{self.device_id} SET ctime_ns = ?
             WHERE inode = ? AND size = ? AND mtime_ns = ?
            """,
            rows,
        )

    # -- indexes

    def _drop_when_large(self, index: Index, rows: int) -> None:
        if rows < LARGE_LOAD or index in self._asked:
            return
        self._asked.add(index)  # once: counting a large table takes a while
        row = self.db.one(f"SELECT count(*) FROM {index.table}_{self.device_id}")
        assert row is not None
        if 2 * rows > row[0]:
            self._drop(index)

    def _drop(self, index: Index) -> None:
        drop_index(self.db, self.device_id, index)

    def make_bytes_index_before(self, hashes: int) -> None:
        """Make it now, unless so many hashes are to come that they go in faster without it."""
        if MANY_TO_ONE * hashes < self._rows:
            create_index(self.db, self.device_id, INODES_BY_BYTES)

    def make_names_index(self) -> None:
        create_index(self.db, self.device_id, NAMES_BY_INODE)

    def make_indexes(self) -> None:
        """Those that are missing."""
        self.make_names_index()
        create_index(self.db, self.device_id, INODES_BY_BYTES)


# For a scan: a power cut may take its last commits (the next one finds the same), no others'.
# Its names are written after their folders, so a look for the folder at each of them tells nothing.
_PRAGMAS: dict[str, int | str] = {
    "synchronous": 1,
    "wal_autocheckpoint": PAGES_PER_CHECKPOINT,
    "cache_size": -CACHE_KIB,
    "foreign_keys": 0,
    "temp.journal_mode": "memory",  # no file of its own for a table that is given up anyway
}


def large_writes(db: Database) -> AbstractContextManager[None]:
    return pragmas(db, _PRAGMAS)
