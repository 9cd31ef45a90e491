"""Questions about equal bytes on one filesystem and on several; and files not finished yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from hashall.catalog.files import join
from hashall.catalog.unions import union_all
from hashall.linking.model import Group, InodeFacts
from hashall.model import RelPath
from seedkeep.sqlite import Database, from_db, to_db

_INODE = "i.inode, i.nlink, i.mtime_ns, i.mode, i.uid, i.gid, i.racy"
_bytes = itemgetter(0, 1)  # of a row: SHA-256 and size
_of_inode = itemgetter(slice(2, 11))  # everything but its names
_STATE = """
    EXISTS (SELECT 1 FROM unfinished_files AS u WHERE u.device_id = {n} AND u.inode = i.inode),
    EXISTS (SELECT 1 FROM verifications AS v
             WHERE v.device_id = {n} AND v.inode = i.inode AND v.sha256 = i.sha256
               AND v.found IS NOT NULL AND v.verified_at >= i.hashed_at)"""


@dataclass(frozen=True)
class LinkTotals:
    """How far the files of one filesystem are linked already."""

    files: int  # names
    inodes: int
    bytes: int  # of the inodes
    linked_inodes: int  # with more than one known name
    linked_bytes: int  # that those names would take besides, were each a file of its own
    unhashed: int  # inodes without a SHA-256: they can be in no group


@dataclass
class Tally:
    """What the groups of several inodes on one filesystem come to."""

    groups: int = 0
    surplus_inodes: int = 0  # beyond the first of each
    savings: int = 0  # bytes

    def add(self, group: Group) -> None:
        self.groups += 1
        self.surplus_inodes += len(group.inodes) - 1
        self.savings += group.savings


@dataclass(frozen=True)
class LinkGroups:
    db: Database

    def groups(self, device_id: int, *, min_size: int) -> Iterator[Group]:
        """Equal bytes behind two or more inodes, or behind one with two or more names.

        Ordered by size, the largest first, then by hash.  The inodes of a group are sorted by
        their first path.
        """
        n = int(device_id)
        rows = self.db.tuples(
            f"""
            WITH live AS MATERIALIZED (
                SELECT inode, count(*) AS names FROM names_{n} WHERE gone_at IS NULL GROUP BY inode
            ), equal AS MATERIALIZED (
                SELECT i.sha256, i.size FROM inodes_{n} AS i JOIN live USING (inode)
                 WHERE i.sha256 IS NOT NULL AND i.size >= ?
                 GROUP BY i.sha256, i.size HAVING sum(live.names) > 1
            )
            SELECT i.sha256, i.size, {_INODE},
                   {_STATE.format(n=n)},
                   d.path, n.name
              FROM equal JOIN inodes_{n} AS i USING (sha256, size)
              JOIN names_{n} AS n ON n.inode = i.inode AND n.gone_at IS NULL
              JOIN dirs_{n} AS d USING (dir_id)
             ORDER BY i.size DESC, i.sha256, i.inode
            """,
            (min_size,),
        )
        for (sha256, size), members in groupby(rows, key=_bytes):
            yield Group(device_id, sha256, size, _inodes(members))

    def hashes_on_several(
        self, devices: Iterable[int], *, min_size: int
    ) -> list[tuple[str, int, tuple[int, ...]]]:
        """(sha256, size, devices) of bytes that more than one filesystem has; largest first."""
        parts = [
            f"""
            SELECT DISTINCT {int(n)} AS device_id, i.sha256, i.size FROM inodes_{int(n)} AS i
             WHERE i.sha256 IS NOT NULL AND i.size >= :min AND EXISTS (
                   SELECT 1 FROM names_{int(n)} AS n WHERE n.inode = i.inode AND n.gone_at IS NULL)
            """
            for n in devices
        ]
        if len(parts) < 2:
            return []
        rows = self.db.tuples(
            f"""
            SELECT sha256, size, json_group_array(device_id) FROM ({union_all(parts)})
             GROUP BY sha256, size HAVING count(*) > 1 ORDER BY size DESC, sha256
            """,
            {"min": min_size},
        )
        return [
            (sha256, size, tuple(sorted(json.loads(found)))) for sha256, size, found in list(rows)
        ]

    def inodes_with(self, device_id: int, sha256: str, size: int) -> tuple[InodeFacts, ...]:
        """Every inode with these bytes, sorted by its first path."""
        n = int(device_id)
        rows = self.db.tuples(
            f"""
            SELECT i.sha256, i.size, {_INODE},
                   {_STATE.format(n=n)},
                   d.path, n.name
              FROM inodes_{n} AS i JOIN names_{n} AS n ON n.inode = i.inode AND n.gone_at IS NULL
              JOIN dirs_{n} AS d USING (dir_id)
             WHERE i.sha256 = ? AND i.size = ? ORDER BY i.inode
            """,
            (sha256, size),
        )
        return _inodes(rows)

    def torrents_of(self, device_id: int, inode: int, paths: Iterable[RelPath]) -> tuple[str, ...]:
        """Torrents that use an inode, by inode or by name, sorted."""
        rows = self.db.tuples(
            """
            SELECT torrent_hash FROM torrent_files WHERE device_id = :d AND inode = :i
             UNION
            SELECT torrent_hash FROM torrent_files JOIN json_each(:paths) AS p
                ON torrent_files.path = p.value WHERE device_id = :d
             UNION
            SELECT torrent_hash FROM unfinished_files WHERE device_id = :d AND inode = :i
             ORDER BY 1
            """,
            {"d": device_id, "i": inode, "paths": json.dumps([p for p in paths if _is_text(p)])},
        )
        return tuple(row[0] for row in rows)

    def totals(self, device_id: int) -> LinkTotals:
        n = int(device_id)
        row = self.db.one(f"""
            WITH live AS (
                SELECT inode, count(*) AS names FROM names_{n} WHERE gone_at IS NULL GROUP BY inode
            )
            SELECT coalesce(sum(names), 0), count(*), coalesce(sum(size), 0),
                   coalesce(sum(names > 1), 0), coalesce(sum((names - 1) * size), 0),
                   coalesce(sum(sha256 IS NULL), 0)
              FROM live JOIN inodes_{n} USING (inode)
        """)
        assert row is not None
        return LinkTotals(*row)

    def tally(self, device_id: int, *, min_size: int) -> Tally:
        """What `Tally.add` makes of all groups, without a value for each.

        The link counts of the filesystem have to be true.
        """
        n = int(device_id)
        row = self.db.one(
            f"""
            WITH live AS (
                SELECT inode, count(*) AS names FROM names_{n} WHERE gone_at IS NULL GROUP BY inode
            ), equal AS (
                SELECT size, count(*) AS inodes, sum(nlink <= names) AS whole
                  FROM live CROSS JOIN inodes_{n} USING (inode)
                 WHERE sha256 IS NOT NULL AND size >= ?
                 GROUP BY sha256, size HAVING inodes > 1
            )
            SELECT count(*), coalesce(sum(inodes - 1), 0),
                   -- With all of their names known, one has to stay.
                   coalesce(sum(size * (whole - (whole = inodes))), 0) FROM equal
            """,
            (min_size,),
        )
        assert row is not None
        return Tally(*row)

    # -- files that a torrent has not finished

    def put_unfinished(self, torrent_id: str, files: Iterable[tuple[int, RelPath, int]]) -> None:
        """Replace what is known of one torrent: (device, path, inode) of each file."""
        self.db.execute("DELETE FROM unfinished_files WHERE torrent_hash = ?", (torrent_id,))
        self.db.executemany(
            "INSERT OR REPLACE INTO unfinished_files VALUES (?, ?, ?, ?)",
            [(torrent_id, device, to_db(path), inode) for device, path, inode in files],
        )

    def unfinished(self) -> set[tuple[int, int]]:
        """(device, inode) of every file that a torrent has not finished."""
        rows = self.db.tuples("SELECT device_id, inode FROM unfinished_files")
        return {(device, inode) for device, inode in rows}

    def unfinished_of_others(self) -> list[tuple[str, int, RelPath, int]]:
        """(key, device, path, inode), of torrents of other clients than the main one."""
        rows = self.db.tuples(
            "SELECT torrent_hash, device_id, path, inode FROM unfinished_files"
            " WHERE instr(torrent_hash, '@')"
        )
        return [(key, device_id, from_db(path), inode) for key, device_id, path, inode in rows]

    def knows_torrents(self) -> bool:
        return self.db.one("SELECT 1 FROM torrent_instances LIMIT 1") is not None


def _is_text(path: RelPath) -> bool:
    """A name that is not UTF-8 is stored as bytes, which JSON cannot say; its inode finds it."""
    return isinstance(to_db(path), str)


def _inodes(rows: Iterable[tuple[Any, ...]]) -> tuple[InodeFacts, ...]:
    found: list[InodeFacts] = []
    for inode, names in groupby(rows, key=_of_inode):
        number, nlink, mtime_ns, mode, uid, gid, racy, unfinished, damaged = inode
        paths = [join(from_db(row[11]), from_db(row[12])) for row in names]
        paths.sort()
        found.append(
            InodeFacts(
                inode=number,
                nlink=nlink,
                mtime_ns=mtime_ns,
                mode=mode,
                uid=uid,
                gid=gid,
                racy=bool(racy),
                unfinished=bool(unfinished),
                paths=tuple(paths),
                damaged=bool(damaged),
            )
        )
    found.sort(key=_first_path)
    return tuple(found)


def _first_path(facts: InodeFacts) -> RelPath:
    return facts.paths[0]
