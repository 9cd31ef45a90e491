"""Inodes with equal bytes, inside one filesystem or across all of them.

Tables are read from end to end, and SQLite puts the rows of a group or of a directory into one
text: seeking, or a tuple for each row, would take three times as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hashall.model import RelPath
from seedkeep.sqlite import Database, from_db

_CACHE_KIB = 1024
_DECODER = json.JSONDecoder()

# SHA-256, size, number of inodes, the inodes, their devices: numbers with commas between them.
# No devices when only one was asked for.
EqualInodes = tuple[str, int, int, str, str | None]


def numbers(packed: str) -> list[int]:
    """What `group_concat` made of numbers; none of an empty text."""
    found: list[int] = _DECODER.raw_decode(f"[{packed}]")[0]  # faster than to split and convert
    return found


@dataclass(frozen=True)
class EqualBytes:
    db: Database

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """What is asked inside has one state of the catalog, also while a scan writes to it."""
        (kept,) = self.db.all_tuples("PRAGMA cache_size")
        # No page is read twice: memory for more of them would cost more than reading them.
        self.db.script(f"PRAGMA cache_size=-{_CACHE_KIB}; BEGIN")
        try:
            yield
        finally:
            if self.db.in_transaction:  # a full disk ends it also for who only reads
                self.db.script("COMMIT")
            self.db.script(f"PRAGMA cache_size={kept[0]}")

    def groups(self, device_ids: Sequence[int], *, min_size: int) -> Iterator[EqualInodes]:
        """What two inodes or more have on these devices together, by SHA-256 and size.

        An inode whose names are all gone may have made a group of what is a single file now.
        """
        hashed = "sha256 IS NOT NULL AND size >= :min_size"
        if len(device_ids) == 1:
            found, devices = f"inodes_{device_ids[0]} WHERE {hashed}", "NULL"
        else:
            each = (
                f"SELECT sha256, size, inode, {n} AS device FROM inodes_{n} WHERE {hashed}"
                for n in device_ids
            )
            found, devices = f"({' UNION ALL '.join(each)})", "group_concat(device)"
        return self.db.tuples(
            f"""
            SELECT sha256, size, count(*), group_concat(inode), {devices} FROM {found}
             GROUP BY sha256, size HAVING count(*) > 1 ORDER BY sha256, size
            """,
            {"min_size": min_size},
        )

    def names(self, device_id: int) -> Iterator[tuple[RelPath, bytes, str]]:
        """(directory, names, inodes) of each directory: its active names and the inode of each.

        Names have a slash between them, inodes a comma.
        """
        n = device_id
        # A name that is not UTF-8 is a blob; as one blob together they stay the bytes they are.
        rows = self.db.tuples(
            f"""
            SELECT d.path, f.names, f.inodes
              FROM (SELECT dir_id, CAST(group_concat(name, '/') AS BLOB) AS names,
                           group_concat(inode) AS inodes
                      FROM names_{n} WHERE gone_at IS NULL GROUP BY dir_id) AS f
              JOIN dirs_{n} AS d USING (dir_id)
            """
        )
        for path, names, inodes in rows:
            yield from_db(path), names, inodes

    def link_counts(self, device_id: int) -> Iterator[tuple[int, int]]:
        """(inode, links as of the last scan) of inodes that do not have exactly one."""
        ((inodes, counts),) = self.db.all_tuples(
            f"SELECT group_concat(inode), group_concat(nlink) FROM inodes_{device_id}"
            " WHERE nlink <> 1"
        )
        if inodes is None:
            return iter(())
        return zip(numbers(inodes), numbers(counts), strict=True)

    def unhashed(self, device_id: int, *, min_size: int) -> int:
        """Inodes of at least this size that no SHA-256 is known of."""
        row = self.db.one(
            f"SELECT count(*) FROM inodes_{device_id} WHERE sha256 IS NULL AND size >= ?",
            (min_size,),
        )
        assert row is not None
        return int(row[0])
