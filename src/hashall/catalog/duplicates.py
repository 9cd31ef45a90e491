"""Inodes with equal bytes, inside one filesystem or across all of them.

SQLite puts the rows of many groups into one text: a tuple for each would take three times as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from hashall.catalog.devices import INODES_BY_BYTES, NAMES_BY_INODE
from hashall.catalog.unions import union_all
from seedkeep.pragmas import pragmas
from seedkeep.sqlite import Database

_DECODER = json.JSONDecoder()
_DIGITS = bytes.maketrans(b"0123456789", bytes(range(10)))

_BETWEEN_PARTS = [f"{first:02x}" for first in range(8, 256, 8)]
_WHOLE = ("", "g")  # SHA-256s from the first on, before the second
_PARTS = [*zip(["", *_BETWEEN_PARTS], [*_BETWEEN_PARTS, "g"], strict=True)]
_DIRS_AT_ONCE = 65_536
# Bytes of the catalog that are read where the system has them: copies of its pages took a tenth of
# the whole time.  A disk that fails below it, or who cuts the file off, then ends the program with
# SIGBUS; nothing here writes to the catalog.
_MAPPED = 1 << 40


class EqualBytes(NamedTuple):
    """What is equal, by SHA-256 and size: lists as texts, with commas between their values."""

    sha256s: str
    sizes: str
    counts: str  # of inodes, on all devices together


class NamesOfCopies(NamedTuple):
    """A row for each name of these inodes; those of an inode, and of a group, are together.

    Lists as texts, with commas between their values.
    """

    groups: str | None  # numbers, from 1, in `EqualBytes`; None where nobody asked
    inodes: str
    links: str  # st_nlink of the last scan
    dirs: str  # 0 for an inode whose names are all gone
    names: bytes  # with "/" between them; empty for such an inode


def numbers(packed: str) -> list[int]:
    """What `group_concat` made of numbers."""
    if not packed[1::2].strip(","):  # each has one digit, as link counts mostly have
        return [*packed[::2].encode().translate(_DIGITS)]
    found: list[int] = _DECODER.raw_decode(f"[{packed}]")[0]  # faster than to split and convert
    return found


class EqualBytesTable:
    """Questions for one look; they are asked in this order, and the last two belong together."""

    def __init__(self, db: Database) -> None:
        self.db = db

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """What is asked inside has one state of the catalog, also while a scan writes to it."""
        with pragmas(self.db, {"main.mmap_size": _MAPPED}):
            self.db.script(
                """
                BEGIN;
                CREATE TEMP TABLE equal_bytes (
                    number INTEGER PRIMARY KEY, sha256 TEXT, size INTEGER, copies INTEGER
                )
                """
            )
            try:
                yield
            finally:
                if self.db.in_transaction:  # a full disk ends it also for who only reads
                    self.db.script("ROLLBACK")

    def parts(self, device_ids: Sequence[int]) -> list[tuple[str, str]]:
        """Ranges of SHA-256 for `groups`: all of them, in their order.

        Only one where a first scan is on its way and has no indexes yet: without them, each would
        take as long as all.
        """
        rows = self.db.all_tuples("SELECT name FROM sqlite_schema WHERE type = 'index'")
        known = {name for (name,) in rows}
        needed = [i.names_of(n) for n in device_ids for i in (NAMES_BY_INODE, INODES_BY_BYTES)]
        return [_WHOLE] if any(known.isdisjoint(names) for names in needed) else _PARTS

    def unhashed(self, device_id: int, *, min_size: int) -> int:
        """Inodes of at least this size that no SHA-256 is known of."""
        row = self.db.one(
            f"SELECT count(*) FROM inodes_{device_id} WHERE sha256 IS NULL AND size >= ?",
            (min_size,),
        )
        assert row is not None
        return int(row[0])

    def dirs(self, device_id: int) -> list[tuple[str, bytes]]:
        """All directories: numbers with commas between them, and paths with "//" between them."""
        found: list[tuple[str, bytes]] = []
        last = -1
        while True:
            # A path that is not UTF-8 is a blob; as one blob together they stay as they are.
            ((ids, paths, last),) = self.db.all_tuples(
                f"""
                SELECT group_concat(dir_id), CAST(group_concat(path, '//') AS BLOB), max(dir_id)
                  FROM (SELECT dir_id, path FROM dirs_{device_id} WHERE dir_id > ?
                         ORDER BY dir_id LIMIT {_DIRS_AT_ONCE})
                """,
                (last,),
            )
            if ids is None:
                return found
            found.append((ids, paths))

    def groups(
        self, device_ids: Sequence[int], part: tuple[str, str], *, min_size: int
    ) -> EqualBytes | None:
        """What two inodes or more have on these devices together.

        An inode whose names are all gone may have made a group of what is a single file now.
        """
        each = [
            f"SELECT sha256, size FROM inodes_{n}"
            " WHERE sha256 >= :low AND sha256 < :high AND size >= :min_size"
            for n in device_ids
        ]
        self.db.script("DELETE FROM temp.equal_bytes")
        self.db.execute(
            f"""
            INSERT INTO temp.equal_bytes (sha256, size, copies)
            SELECT sha256, size, count(*) FROM ({union_all(each)})
             GROUP BY sha256, size HAVING count(*) > 1 ORDER BY sha256, size
            """,
            {"low": part[0], "high": part[1], "min_size": min_size},
        )
        (row,) = self.db.all_tuples(
            "SELECT group_concat(sha256), group_concat(size), group_concat(copies)"
            " FROM temp.equal_bytes"
        )
        return None if row[0] is None else EqualBytes(*row)

    def names(self, device_id: int, *, numbered: bool) -> NamesOfCopies | None:
        """The active names, on this device, of what `groups` gave last.

        Args:
            numbered: Say of which groups they are, which counts tell where this is the only device.
        """
        n = device_id
        # Two indexes have all of it; CROSS JOIN goes through the groups in their order.
        (row,) = self.db.all_tuples(
            f"""
            SELECT {"group_concat(e.number)" if numbered else "NULL"},
                   group_concat(i.inode), group_concat(i.nlink),
                   group_concat(coalesce(f.dir_id, 0)),
                   CAST(group_concat(coalesce(f.name, ''), '/') AS BLOB)
              FROM temp.equal_bytes AS e
             CROSS JOIN inodes_{n} AS i USING (sha256, size)
              LEFT JOIN names_{n} AS f ON f.inode = i.inode AND f.gone_at IS NULL
            """
        )
        return None if row[1] is None else NamesOfCopies(*row)
