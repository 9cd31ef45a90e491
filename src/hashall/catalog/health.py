"""The catalog as a database: its state, and whether it contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hashall.catalog.files import parent_of
from seedkeep.migrations import current_version, pending, read_migrations
from seedkeep.sqlite import DamagedDatabase, Database, from_db

MIGRATIONS = "hashall.catalog.sql"
MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Problem:
    """One kind of contradiction."""

    code: str  # a word to search for
    what: str
    count: int
    examples: tuple[str, ...]  # the first ones


@dataclass(frozen=True)
class Pages:
    """How the file is laid out."""

    journal_mode: str
    page_size: int  # bytes
    pages: int
    free_pages: int


@dataclass(frozen=True)
class Versions:
    schema: int  # of the file
    known: int  # the newest that this program knows
    pending: tuple[str, ...]  # migrations that `hashall db migrate` would apply
    sqlite: str


# Their numbers as stat(1) shows them.
_INODES = "SELECT printf('%u', inode) FROM inodes_{n} WHERE "
# (code, what, statement): each row is one contradiction, its first column an example.
_OF_A_DEVICE = (
    (
        "name-without-inode",
        "names of files that the catalog has no inode of",
        "SELECT n.name FROM names_{n} AS n WHERE n.gone_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM inodes_{n} AS i WHERE i.inode = n.inode)",
    ),
    (
        "name-without-directory",
        "names in a directory that the catalog does not have",
        "SELECT n.name FROM names_{n} AS n"
        " WHERE NOT EXISTS (SELECT 1 FROM dirs_{n} AS d WHERE d.dir_id = n.dir_id)",
    ),
    (
        "impossible-name",
        "names that no file can have",
        "SELECT name FROM names_{n} WHERE length(CAST(name AS BLOB)) NOT BETWEEN 1 AND 255"
        " OR name IN ('.', '..') OR instr(CAST(name AS BLOB), x'2f') > 0"
        " OR typeof(name) NOT IN ('text', 'blob')",
    ),
    (
        "impossible-inode",
        "inodes with a size, a link count or a type that no file has",
        _INODES + "size < 0 OR nlink < 1 OR (mode & 61440) <> 32768",
    ),
    (
        "wrong-hash",
        "hashes that are no SHA-256, or without the time when they were made",
        _INODES + "sha256 IS NOT NULL AND (length(sha256) <> 64"
        " OR sha256 GLOB '*[^0-9a-f]*' OR hashed_at IS NULL)",
    ),
    (
        "wrong-quick-hash",
        "quick hashes that are none",
        _INODES + "quick_hash IS NOT NULL"
        " AND (length(quick_hash) <> 32 OR quick_hash GLOB '*[^0-9a-f]*')",
    ),
)
_NAMELESS = (
    f"{_INODES}NOT EXISTS (SELECT 1 FROM names_{{n}} AS n"
    " WHERE n.inode = inodes_{n}.inode AND n.gone_at IS NULL)"
)
_OF_ALL = (
    (
        "payload-figures",
        "payloads whose count or size is not that of their members",
        """
        SELECT p.payload_id FROM payloads AS p
          LEFT JOIN payload_members AS m USING (payload_id) GROUP BY p.payload_id
        HAVING p.file_count <> count(m.relpath) OR p.total_bytes <> coalesce(sum(m.size), 0)
        """,
    ),
    (
        "payload-status",
        "payloads that are called complete without all hashes, or the other way round",
        """
        SELECT p.payload_id FROM payloads AS p WHERE (p.status = 'complete') <> (
               p.payload_hash IS NOT NULL) OR (p.payload_hash IS NOT NULL AND EXISTS (
               SELECT 1 FROM payload_members AS m
                WHERE m.payload_id = p.payload_id AND m.sha256 IS NULL))
        """,
    ),
)


@dataclass(frozen=True)
class Health:
    db: Database

    def versions(self) -> Versions:
        """Raises `WrongSchema` and `NewerDatabase`."""
        todo = pending(self.db, MIGRATIONS)
        return Versions(
            schema=current_version(self.db),
            known=len(read_migrations(MIGRATIONS)),
            pending=tuple(migration.label for migration in todo),
            sqlite=str(self._value("SELECT sqlite_version()")),
        )

    def pages(self) -> Pages:
        return Pages(
            journal_mode=str(self._value("PRAGMA journal_mode")),
            page_size=int(self._value("PRAGMA page_size")),
            pages=int(self._value("PRAGMA page_count")),
            free_pages=int(self._value("PRAGMA freelist_count")),
        )

    def pages_damaged(self) -> Problem | None:
        """The file itself: when this finds something, nothing else can be believed."""
        return _problem("damaged", "pages that contradict each other", self._damages())

    def _damages(self) -> Iterator[tuple[str]]:
        try:
            for (said,) in self.db.tuples("PRAGMA integrity_check"):
                if said != "ok":
                    yield (said,)
        except DamagedDatabase as why:  # so bad that there is no list of it
            yield (why.detail,)

    def contradictions(self) -> Iterator[Problem]:
        """Rows that cannot be true together, kind by kind."""
        rows = self.db.tuples("PRAGMA foreign_key_check")
        pairs = ((f"{table} row {row} → {parent}",) for table, row, parent, _ in rows)
        found = [_problem("dangling", "rows that point to nothing", pairs)]
        found += [_problem(code, what, self.db.tuples(sql)) for code, what, sql in _OF_ALL]
        devices = [device for (device,) in self.db.tuples("SELECT device_id FROM devices")]
        for n in devices:
            lacking = self._lacking(n)
            if lacking:
                what = f"tables of device {n} that are missing"
                found.append(_problem("missing-tables", what, ((name,) for name in lacking)))
                continue
            found += [
                _problem(code, f"{what} (device {n})", self.db.tuples(sql.format(n=n)))
                for code, what, sql in _OF_A_DEVICE
            ]
            found += [self._nameless(n), self._misplaced(n)]
        strays = ((name,) for name in self._tables() if _number(name) not in {None, *devices})
        found.append(_problem("stray-tables", "tables of a device that is not known", strays))
        yield from (problem for problem in found if problem is not None)

    def _nameless(self, n: int) -> Problem | None:
        """Inodes that no active name leads to.  While a scan is unfinished, they may be."""
        unfinished = self._value(
            "SELECT count(*) FROM scan_roots WHERE device_id = ?"
            " AND (completed_at IS NULL OR completed_at < started_at)",
            n,
        )
        if unfinished:
            return None
        what = f"inodes without a name (device {n})"
        return _problem("inode-without-name", what, self.db.tuples(_NAMELESS.format(n=n)))

    def _misplaced(self, n: int) -> Problem | None:
        """Directories whose parent is not the directory above them."""
        rows = list(self.db.tuples(f"SELECT dir_id, parent_id, path FROM dirs_{n}"))
        paths = {dir_id: from_db(path) for dir_id, _, path in rows}
        wrong = (
            (paths[dir_id],)
            for dir_id, parent, _ in rows
            if parent is not None and paths.get(parent) != parent_of(paths[dir_id])
        )
        return _problem(
            "misplaced-directory", f"directories under a wrong parent (device {n})", wrong
        )

    def _lacking(self, n: int) -> list[str]:
        wanted = {f"dirs_{n}", f"names_{n}", f"inodes_{n}", f"files_{n}"}
        return sorted(wanted - set(self._tables()))

    def _tables(self) -> list[str]:
        rows = self.db.tuples("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        return sorted(name for (name,) in rows)

    def _value(self, sql: str, *params: Any) -> Any:
        row = self.db.one(sql, params)
        assert row is not None
        return row[0]


def _number(table: str) -> int | None:
    """The device that a table belongs to; None for a table of the whole catalog."""
    kind, _, number = table.rpartition("_")
    ours = kind in ("dirs", "names", "inodes", "files") and number.isdecimal()
    return int(number) if ours else None


def _problem(code: str, what: str, rows: Iterator[tuple[Any, ...]]) -> Problem | None:
    """None when there is no row."""
    examples: list[str] = []
    count = 0
    for first, *_ in rows:
        count += 1
        if len(examples) < MOST_EXAMPLES:
            examples.append(from_db(first) if isinstance(first, bytes) else str(first))
    return Problem(code, what, count, tuple(examples)) if count else None
