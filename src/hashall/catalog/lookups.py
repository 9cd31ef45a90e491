"""Files by what a person knows of them, and figures over all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hashall.catalog.files import join
from hashall.model import RelPath
from seedkeep.sqlite import Database, from_db, to_db


class FileRow(NamedTuple):
    """One active name with all that the catalog has of its inode.  Times are as stored."""

    folder: RelPath
    name: str
    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    nlink: int
    mode: int
    uid: int
    gid: int
    quick_hash: str | None
    sha256: str | None
    hashed_at: str | None

    @property
    def path(self) -> RelPath:
        return join(self.folder, self.name)


@dataclass(frozen=True)
class TorrentUse:
    """A torrent that has a file under a name."""

    torrent_id: str
    name: str
    category: str


@dataclass(frozen=True)
class Figures:
    """Sums over one device; of inodes with an active name only."""

    names: int
    inodes: int
    bytes: int
    hashed_inodes: int  # with a SHA-256
    hashed_bytes: int
    sampled_inodes: int  # with a quick hash only
    linked_inodes: int  # with more than one name
    unseen_links: int  # inodes with more links than the catalog has names
    largest: int  # bytes
    verified_inodes: int  # read again since, with the same result
    oldest_reading: str | None  # UTC; of hashed inodes, when the longest unread one was read
    damaged_inodes: int  # read again, with another result, and not restored since


_COLUMNS = """f.path, n.name, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.mode, i.uid,
    i.gid, i.quick_hash, i.sha256, i.hashed_at"""


@dataclass(frozen=True)
class Lookups:
    db: Database
    device_id: int

    def by_hash(self, prefix: str) -> Iterator[FileRow]:
        """Whose SHA-256 begins with these hex digits, lower case."""
        return self._files("i.sha256 >= ? AND i.sha256 < ?", (prefix, prefix + "g"))

    def by_inode(self, inode: int) -> Iterator[FileRow]:
        return self._files("i.inode = ?", (inode,))

    def by_name(self, pattern: re.Pattern[str]) -> Iterator[FileRow]:
        """Whose last part matches as a whole.  Looks at each name: bytes are no text to SQL."""
        n = self.device_id
        names = self.db.tuples(f"SELECT dir_id, name FROM names_{n} WHERE gone_at IS NULL")
        for dir_id, name in [row for row in names if pattern.fullmatch(from_db(row[1]))]:
            yield from self._files("n.dir_id = ? AND n.name = ?", (dir_id, name))

    def everything(self) -> Iterator[FileRow]:
        """In order of directories as stored, then names."""
        return self._files("TRUE ORDER BY f.path, n.name", ())

    def _files(self, where: str, params: tuple[object, ...]) -> Iterator[FileRow]:
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT {_COLUMNS}
              FROM names_{n} AS n JOIN dirs_{n} AS f USING (dir_id)
              JOIN inodes_{n} AS i ON i.inode = n.inode
             WHERE n.gone_at IS NULL AND {where}
            """,
            params,
        )
        return (FileRow(from_db(folder), from_db(name), *rest) for folder, name, *rest in rows)

    def uses(self, path: RelPath) -> tuple[TorrentUse, ...]:
        """Torrents that have a file at this place, by torrent."""
        rows = self.db.tuples(
            """
            SELECT t.torrent_hash, t.name, t.category
              FROM torrent_files AS f JOIN torrent_instances AS t USING (torrent_hash)
             WHERE f.device_id = ? AND f.path = ? ORDER BY t.torrent_hash
            """,
            (self.device_id, to_db(path)),
        )
        return tuple(TorrentUse(*row) for row in rows)

    def uses_below(self, top: RelPath) -> dict[RelPath, tuple[TorrentUse, ...]]:
        """The same of every place below a directory that a torrent has a file at."""
        # Names that are not UTF-8 are stored as bytes, which sort behind all text.
        text, raw = to_db(f"{top}/"), f"{top}/".encode("utf-8", "surrogateescape")
        rows = self.db.tuples(
            """
            SELECT f.path, t.torrent_hash, t.name, t.category
              FROM torrent_files AS f JOIN torrent_instances AS t USING (torrent_hash)
             WHERE f.device_id = :d AND (:top = '' OR (f.path >= :text AND f.path < :text_end)
                                                   OR (f.path >= :raw AND f.path < :raw_end))
             ORDER BY t.torrent_hash
            """,
            {
                **{"d": self.device_id, "top": to_db(top)},
                **{"text": text, "text_end": to_db(f"{top}0")},  # "0" comes right after "/"
                **{"raw": raw, "raw_end": raw[:-1] + b"0"},
            },
        )
        found: dict[RelPath, list[TorrentUse]] = {}
        for path, *use in rows:
            found.setdefault(from_db(path), []).append(TorrentUse(*use))
        return {path: tuple(uses) for path, uses in found.items()}

    def names_beside(self, dir_id: int) -> dict[int, tuple[RelPath, ...]]:
        """Of every inode with a name in a directory: all its active names, sorted."""
        n = self.device_id
        rows = self.db.tuples(
            f"""
            SELECT n.inode, d.path, n.name
              FROM (SELECT DISTINCT inode FROM names_{n} WHERE dir_id = ? AND gone_at IS NULL)
              JOIN names_{n} AS n USING (inode) JOIN dirs_{n} AS d USING (dir_id)
             WHERE n.gone_at IS NULL
            """,
            (dir_id,),
        )
        found: dict[int, list[RelPath]] = {}
        for inode, folder, name in rows:
            found.setdefault(inode, []).append(join(from_db(folder), from_db(name)))
        return {inode: tuple(sorted(names)) for inode, names in found.items()}

    def figures(self) -> Figures:
        n = self.device_id
        row = self.db.one(
            f"""
            WITH live AS MATERIALIZED (
                SELECT inode, count(*) AS names FROM names_{n} WHERE gone_at IS NULL GROUP BY inode
            )
            SELECT coalesce(sum(names), 0), count(*), coalesce(sum(size), 0),
                   count(i.sha256), coalesce(sum(size) FILTER (WHERE i.sha256 IS NOT NULL), 0),
                   count(*) FILTER (WHERE i.sha256 IS NULL AND quick_hash IS NOT NULL),
                   count(*) FILTER (WHERE names > 1), count(*) FILTER (WHERE nlink > names),
                   coalesce(max(size), 0), count(*) FILTER (WHERE v.sha256 = i.sha256
                                                              AND v.found IS NULL),
                   min(iif(v.sha256 = i.sha256, max(v.verified_at, i.hashed_at), i.hashed_at))
                       FILTER (WHERE i.sha256 IS NOT NULL),
                   count(*) FILTER (WHERE v.sha256 = i.sha256 AND v.found IS NOT NULL
                                      AND v.verified_at >= i.hashed_at)
              FROM live JOIN inodes_{n} AS i USING (inode)
              LEFT JOIN verifications AS v ON v.device_id = {n} AND v.inode = i.inode
            """
        )
        assert row is not None
        return Figures(*row)
