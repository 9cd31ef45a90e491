"""The catalog of hashall before this product: one `files_<st_dev>` table for each device.

Paths in it are relative to the mount point that its `devices` table names; mtimes are seconds, with
or without a fraction.  Releases differed in their columns, so only what is there is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from seedkeep.errors import Misused
from seedkeep.sqlite import Database, from_db

_FILES = re.compile(r"files_(\d+)")
_NEEDED = frozenset({"path", "size", "mtime", "sha256"})
# SQLite does not keep to the type of a column: a row may hold anything, a number as text too.
_USABLE = """
    typeof(path) IN ('text', 'blob')
    AND size NOT GLOB '*[^0-9]*' AND length(size) > 0
    AND ltrim(mtime, '-') NOT GLOB '*[^0-9.]*' AND length(mtime) > 0
    AND lower(sha256) NOT GLOB '*[^0-9a-f]*' AND length(sha256) = 64"""
_MOUNT_COLUMNS = ("preferred_mount_point", "mount_point")


class OldFile(NamedTuple):
    """One file with its SHA-256."""

    path: str  # absolute, or as it stands when no mount point is known
    size: int  # bytes
    mtime: float  # seconds; whole ones when the fraction was not kept
    sha256: str


@dataclass(frozen=True)
class OldCatalog:
    db: Database

    def check(self) -> None:
        """Raises `Misused` when it has no tables of files."""
        if not self._tables():
            raise Misused(
                f"{self.db.path} is no catalog of an older hashall",
                detail="it has no tables files_<number>",
                hint="check the path; a catalog of this version needs no import",
            )

    def without_sha256(self) -> int:
        """Files that only have another hash (SHA-1), which serves nothing here, or a wrong row."""
        total = 0
        for table in self._tables():
            usable = self._columns(table) >= _NEEDED
            condition = f"WHERE coalesce({_USABLE}, FALSE) = FALSE" if usable else ""
            for (count,) in self.db.tuples(f"SELECT count(*) FROM {table} {condition}"):
                total += count
        return total

    def files(self) -> Iterator[OldFile]:
        """Active files that have a SHA-256, table by table."""
        for table in self._tables():
            columns = self._columns(table)
            if not columns >= _NEEDED:
                continue
            active = "AND status = 'active'" if "status" in columns else ""
            mount_point = self._mount_point(int(table.removeprefix("files_")))
            rows = self.db.tuples(
                f"SELECT path, size + 0, mtime + 0.0, lower(sha256) FROM {table}"
                f" WHERE {_USABLE} {active} ORDER BY path"
            )
            for path, size, mtime, sha256 in rows:
                text = from_db(path)
                if not text.startswith("/") and mount_point:
                    text = f"{mount_point.rstrip('/')}/{text}"
                yield OldFile(text, size, mtime, sha256)

    def _mount_point(self, device: int) -> str | None:
        columns = self._columns("devices")
        for column in _MOUNT_COLUMNS:
            if column in columns and "device_id" in columns:
                row = self.db.one(f"SELECT {column} FROM devices WHERE device_id = ?", (device,))
                if row is not None and row[0]:
                    return from_db(row[0])
        return None

    def _tables(self) -> list[str]:
        rows = self.db.tuples("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        names = [name for (name,) in rows if _FILES.fullmatch(name)]
        return [name for name in names if "path" in self._columns(name)]

    def _columns(self, table: str) -> set[str]:
        return {row["name"] for row in self.db.all(f"PRAGMA table_info({table})")}


@dataclass(frozen=True)
class TakenHashes:
    """Hashes that others computed, put into this catalog."""

    db: Database
    device_id: int

    def take(self, inode: int, size: int, mtime_ns: int, sha256: str) -> bool | None:
        """Give an inode a hash; False when it has one, None when the catalog does not know it so.

        The time of hashing is the oldest there is: `hashall verify` reads these files first.
        """
        n = self.device_id
        row = self.db.one(
            f"SELECT sha256 FROM inodes_{n} WHERE inode = ? AND size = ? AND mtime_ns = ?",
            (inode, size, mtime_ns),
        )
        if row is None:
            return None
        if row[0] is not None:
            return False
        self.db.execute(
            f"UPDATE inodes_{n} SET sha256 = ?, hashed_at = '1970-01-01T00:00:00Z', racy = 0"
            " WHERE inode = ?",
            (sha256, inode),
        )
        return True
