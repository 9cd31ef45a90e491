"""Inodes with equal bytes, inside one filesystem or across all of them.

Tables are read from end to end, and SQLite puts the rows of a group or of a directory into one
text: seeking, or a tuple for each row, would take three times as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from seedkeep.sqlite import Database

_CACHE_KIB = 1024
_DECODER = json.JSONDecoder()

_DIRS_OF_PART = 32
_FIRST_DIGITS = "0123456789abcdef"
# Parts of all SHA-256: from the first of two on, before the second.
PARTS = tuple(zip(["", *_FIRST_DIGITS[1:]], [*_FIRST_DIGITS[1:], "g"], strict=True))


class EqualInodes(NamedTuple):
    """What is equal, by SHA-256 and size: lists as texts, with commas between their values."""

    sha256s: str
    sizes: str
    counts: str  # of inodes
    inodes: str  # those of the first group, then of the second, and so on
    devices: str | None  # of these inodes; None when only one was asked for


class NamesOfDirs(NamedTuple):
    """Directories in the same order in each; a slash, or two, can be in no name."""

    paths: bytes  # with "//" between them
    names: bytes  # with "/" between them, and "//" between directories
    inodes: str  # of these names: a JSON list for each directory, with commas between


def numbers(packed: str) -> list[int]:
    """What `group_concat` made of numbers; none of an empty text."""
    return lists(packed)  # faster than to split and convert


def lists(packed: str) -> list[Any]:
    """The same of JSON lists with commas between them."""
    found: list[Any] = _DECODER.raw_decode(f"[{packed}]")[0]
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

    def groups(
        self, device_ids: Sequence[int], part: tuple[str, str], *, min_size: int
    ) -> EqualInodes | None:
        """What two inodes or more have on these devices together, by SHA-256 and size.

        An inode whose names are all gone may have made a group of what is a single file now.
        """
        hashed = "sha256 >= :low AND sha256 < :high AND size >= :min_size"
        if len(device_ids) == 1:
            found, devices = f"inodes_{device_ids[0]} WHERE {hashed}", "NULL"
        else:
            each = (
                f"SELECT sha256, size, inode, {n} AS device FROM inodes_{n} WHERE {hashed}"
                for n in device_ids
            )
            found, devices = f"({' UNION ALL '.join(each)})", "group_concat(device)"
        (row,) = self.db.all_tuples(
            f"""
            SELECT group_concat(sha256), group_concat(size), group_concat(copies),
                   group_concat(inodes), group_concat(devices)
              FROM (SELECT sha256, size, count(*) AS copies, group_concat(inode) AS inodes,
                           {devices} AS devices
                      FROM {found}
                     GROUP BY sha256, size HAVING count(*) > 1 ORDER BY sha256, size)
            """,
            {"low": part[0], "high": part[1], "min_size": min_size},
        )
        return None if row[0] is None else EqualInodes(*row)

    def parts_of_names(self, device_id: int) -> list[range]:
        """Directories by their `dir_id`, for `names`: about as many in each."""
        rows = self.db.all_tuples(f"SELECT dir_id FROM dirs_{device_id} ORDER BY dir_id")
        ids = [dir_id for (dir_id,) in rows]
        ends = [*ids[_DIRS_OF_PART::_DIRS_OF_PART], *[dir_id + 1 for dir_id in ids[-1:]]]
        return [range(*part) for part in zip(ids[::_DIRS_OF_PART], ends, strict=True)]

    def names(self, device_id: int, part: range) -> NamesOfDirs | None:
        """The active names of directories, and the inode of each."""
        n = device_id
        # A name that is not UTF-8 is a blob; as one blob together they stay the bytes they are.
        (row,) = self.db.all_tuples(
            f"""
            SELECT CAST(group_concat(d.path, '//') AS BLOB),
                   CAST(group_concat(f.names, '//') AS BLOB), group_concat(f.inodes)
              FROM (SELECT dir_id, CAST(group_concat(name, '/') AS BLOB) AS names,
                           '[' || group_concat(inode) || ']' AS inodes
                      FROM names_{n} WHERE gone_at IS NULL AND dir_id BETWEEN ? AND ?
                     GROUP BY dir_id) AS f
              JOIN dirs_{n} AS d USING (dir_id)
            """,
            (part.start, part.stop - 1),
        )
        return None if row[0] is None else NamesOfDirs(*row)

    def link_counts(self, device_id: int) -> tuple[str, str] | None:
        """Inodes that do not have exactly one link as of the last scan, and how many they have.

        Numbers with commas between them.
        """
        ((inodes, counts),) = self.db.all_tuples(
            f"SELECT group_concat(inode), group_concat(nlink) FROM inodes_{device_id}"
            " WHERE nlink <> 1"
        )
        return None if inodes is None else (inodes, counts)

    def unhashed(self, device_id: int, *, min_size: int) -> int:
        """Inodes of at least this size that no SHA-256 is known of."""
        row = self.db.one(
            f"SELECT count(*) FROM inodes_{device_id} WHERE sha256 IS NULL AND size >= ?",
            (min_size,),
        )
        assert row is not None
        return int(row[0])
