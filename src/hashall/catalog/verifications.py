"""When files were read again, and what was found; and which are due.

A file that its disk did not give has a row without an expected hash: what was proved of it before
holds no longer, and it is tried again after all others.  That it is damaged is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hashall.catalog.files import join
from hashall.model import RelPath
from seedkeep import clock
from seedkeep.sqlite import Database, from_db, to_db, transaction

_NOT_READ = ""  # stands in the place of the expected hash


class Due(NamedTuple):
    """An inode with a SHA-256, and one name to read it by."""

    device_id: int
    inode: int
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int
    sha256: str
    last_read: str  # UTC; when it was hashed, or verified since; "" where a wrong clock told it
    # UTC; when its disk did not give it, and has not since; else, or of a wrong clock, ""
    tried_at: str
    folder: RelPath
    name: str

    @property
    def path(self) -> RelPath:
        return join(self.folder, self.name)

    @property
    def turn(self) -> tuple[str, bool, int, int]:
        """What to order by: the longest unread first, and what cannot be read once a round."""
        return max(self.last_read, self.tried_at), bool(self.tried_at), self.device_id, self.inode


class Reading(NamedTuple):
    """The result of reading a file again."""

    device_id: int
    inode: int
    sha256: str  # what was expected
    found: str | None  # what was read instead; None: the same


class Proofs(NamedTuple):
    """What is known of the last readings of a torrent's files; empty files do not count."""

    files: int
    proved: int  # had their own bytes when they were last read
    damaged: int  # had others
    oldest: str | None  # UTC; of the readings that proved


@dataclass(frozen=True)
class VerificationTable:
    db: Database

    def due(self, device_id: int, top: RelPath, *, read_before: str | None) -> list[Due]:
        """Hashed inodes with a name at or below `top`, in their turn.

        Without those that were hashed in the moment of their last change (`racy`), whose hash
        proves nothing, and without empty files.  A time in the future was told by a wrong clock,
        and does not tell when the file was read, or tried.

        Args:
            read_before: UTC; leaves out what was read at or after that.
        """
        n = int(device_id)
        rows = self.db.tuples(
            f"""
            SELECT {n}, i.inode, i.size, i.mtime_ns, i.ctime_ns, i.sha256,
                   max(iif(i.hashed_at <= :now, i.hashed_at, ''),
                       iif(v.verified_at <= :now, v.verified_at, '')) AS last_read,
                   iif(t.verified_at <= :now, t.verified_at, '') AS tried_at, d.path, n.name
              FROM inodes_{n} AS i JOIN names_{n} AS n USING (inode)
              JOIN dirs_{n} AS d USING (dir_id)
              LEFT JOIN verifications AS v
                     ON v.device_id = {n} AND v.inode = i.inode AND v.sha256 = i.sha256
              LEFT JOIN verifications AS t
                     ON t.device_id = {n} AND t.inode = i.inode AND t.sha256 = :not_read
                        AND t.verified_at >= i.hashed_at
             WHERE n.gone_at IS NULL AND i.sha256 IS NOT NULL AND NOT i.racy AND i.size > 0
               AND (:before IS NULL OR last_read < :before)
               AND (:top = '' OR d.path = :top
                    OR substr(CAST(d.path AS BLOB), 1, length(:below)) = :below
                    OR (d.path = :folder AND n.name = :name))
            """,
            {
                "before": read_before,
                "now": clock.iso(clock.now()),
                "not_read": _NOT_READ,
                "top": to_db(top),
                "below": f"{top}/".encode("utf-8", "surrogateescape"),
                "folder": to_db(top.rpartition("/")[0]),
                "name": to_db(top.rpartition("/")[2]),
            },
        )
        found: dict[int, Due] = {}
        for *values, folder, name in rows:
            found.setdefault(values[1], Due._make((*values, from_db(folder), from_db(name))))
        return sorted(found.values(), key=lambda due: due.turn)

    def damaged(self) -> dict[tuple[int, int, str], str]:
        """(device, inode, SHA-256) of what had other bytes than this hash → when, UTC.

        One that was hashed later was restored, and read as a whole then.
        """
        rows = self.db.tuples(
            "SELECT device_id, inode, sha256, verified_at FROM verifications"
            " WHERE found IS NOT NULL"
        )
        return {(device, inode, sha256): at for device, inode, sha256, at in rows}

    def not_given(self) -> dict[tuple[int, int], str]:
        """(device, inode) of what its disk did not give → when, UTC.  Hashed later, it did."""
        rows = self.db.tuples(
            "SELECT device_id, inode, verified_at FROM verifications WHERE sha256 = ?",
            (_NOT_READ,),
        )
        return {(device, inode): at for device, inode, at in rows}

    def put(self, readings: Sequence[Reading]) -> None:
        """Record readings of now, all of them or none.

        Damage is never dated before the hash that it contradicts, whatever the clock says now: it
        would look as if it had been repaired since.
        """
        now = clock.iso(clock.now())
        with transaction(self.db):
            self._hashed_by((it[:2] for it in readings if it.found is not None), now)
            self.db.executemany(
                """
                INSERT INTO verifications (device_id, inode, sha256, found, verified_at)
                VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, found = excluded.found,
                                              verified_at = excluded.verified_at
                """,
                [(*it, now) for it in readings],
            )

    def put_not_given(self, files: Sequence[Due]) -> None:
        """Their disk failed when these were read: only that they are damaged holds still."""
        now = clock.iso(clock.now())
        with transaction(self.db):
            self._forget_restored(it[:2] for it in files)
            self._hashed_by((it[:2] for it in files), now)
            self.db.executemany(
                """
                INSERT INTO verifications (device_id, inode, sha256, verified_at)
                VALUES (?1, ?2, ?4, ?5)
                    ON CONFLICT DO UPDATE SET
                       sha256 = iif(found IS NOT NULL AND sha256 = ?3, sha256, excluded.sha256),
                       found = iif(found IS NOT NULL AND sha256 = ?3, found, NULL),
                       verified_at = excluded.verified_at
                """,
                [(*it[:2], it.sha256, _NOT_READ, now) for it in files],
            )

    def _forget_restored(self, files: Iterable[tuple[int, int]]) -> None:
        """Damage of (device, inode) that were hashed since: a later date would bring it back."""
        for device_id, inode in files:
            self.db.execute(
                "DELETE FROM verifications WHERE device_id = ?1 AND inode = ?2"
                " AND found IS NOT NULL AND verified_at <"
                f" (SELECT hashed_at FROM inodes_{int(device_id)} WHERE inode = ?2)",
                (device_id, inode),
            )

    def _hashed_by(self, files: Iterable[tuple[int, int]], now: str) -> None:
        """Take hashes of (device, inode) that are dated later for hashes of now.

        One of the clocks was wrong.  As it is, the hash would count as newer than what was just
        found out; and dated like it, the file would be the first of each run, or the last.
        """
        for device_id, inode in files:
            self.db.execute(
                f"UPDATE inodes_{int(device_id)} SET hashed_at = ?1"
                " WHERE inode = ?2 AND hashed_at > ?1",
                (now, inode),
            )

    def withdraw(self, files: Iterable[tuple[int, int]]) -> None:
        """That (device, inode) had its bytes holds no longer; that it is damaged, or that its disk
        did not give it, does.
        """
        self.db.executemany(
            """
            DELETE FROM verifications
             WHERE device_id = ? AND inode = ? AND found IS NULL AND sha256 <> ?
            """,
            [(*file, _NOT_READ) for file in files],
        )

    def of_torrent(self, key: str) -> Proofs:
        """A file that has another hash by now than when it was read counts as not read.

        So does one that was damaged then, and was hashed since.
        """
        rows = self.db.all_tuples(
            """
            SELECT v.found IS NULL, v.verified_at, v.device_id, v.inode
              FROM torrent_files AS f LEFT JOIN verifications AS v
                     ON v.device_id = f.device_id AND v.inode = f.inode AND v.sha256 = f.sha256
             WHERE f.torrent_hash = ? AND f.size > 0
            """,
            (key,),
        )
        proved = [at for same, at, *_ in rows if at is not None and same]
        damaged = [row for row in rows if not row[0] and not self._was_restored(*row[1:])]
        return Proofs(len(rows), len(proved), len(damaged), min(proved, default=None))

    def _was_restored(self, read_at: str, device_id: int, inode: int) -> bool:
        row = self.db.one(
            f"SELECT hashed_at > ? FROM inodes_{int(device_id)} WHERE inode = ?", (read_at, inode)
        )
        return row is not None and bool(row[0])
