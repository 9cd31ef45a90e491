"""The catalog after our own links: the rows as a scan would find them, without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hashall.catalog.files import parent_of
from hashall.hashing import FileStamp
from hashall.model import RelPath
from seedkeep import clock
from seedkeep.sqlite import Database, to_db

_FORGET = """
    DELETE FROM inodes_{n} WHERE inode = ? AND NOT EXISTS (
        SELECT 1 FROM names_{n} AS n WHERE n.inode = inodes_{n}.inode AND n.gone_at IS NULL)
"""


@dataclass(frozen=True)
class Moved:
    """A name that is another inode now; the stamps are of after the change."""

    device_id: int
    path: RelPath
    now: FileStamp  # the inode behind the name
    before: int  # the inode that it was
    before_stamp: FileStamp | None  # that inode now; None when its last name went


@dataclass(frozen=True)
class LinkedNames:
    db: Database

    def moved(self, moves: Iterable[Moved]) -> None:
        """Names that became another inode, as a scan would find them; hashes stay."""
        for device_id, found in _by_device(moves).items():
            n = int(device_id)
            self.db.executemany(
                f"""
                UPDATE names_{n} SET inode = ? WHERE name = ?
                   AND dir_id = (SELECT dir_id FROM dirs_{n} WHERE path = ?)
                """,
                [
                    (m.now.inode, to_db(m.path.rpartition("/")[2]), to_db(parent_of(m.path)))
                    for m in found
                ],
            )
            self._members(n, found)
            stamps = {m.now.inode: m.now for m in found}
            stamps |= {m.before: m.before_stamp for m in found if m.before_stamp is not None}
            self.refresh(n, stamps.values())
            self.db.executemany(
                _FORGET.format(n=n),
                [(m.before,) for m in found if m.before_stamp is None],
            )

    def refresh(self, device_id: int, stamps: Iterable[FileStamp]) -> None:
        """Our own links moved ctime and link count of these inodes; their bytes are the same."""
        self.db.executemany(
            f"""
            UPDATE inodes_{int(device_id)} SET ctime_ns = ?, nlink = ?
             WHERE inode = ? AND size = ? AND mtime_ns = ?
            """,
            [(s.ctime_ns, s.nlink, s.inode, s.size, s.mtime_ns) for s in stamps],
        )

    def separated(self, moves: Iterable[Moved]) -> None:
        """Names that became an inode of their own, with the bytes and the hash of `before`."""
        for m in moves:
            n, s = int(m.device_id), m.now
            self.db.execute(
                f"""
                INSERT OR REPLACE INTO inodes_{n} (inode, size, mtime_ns, ctime_ns, nlink, mode,
                       uid, gid, quick_hash, sha256, hashed_at, racy)
                SELECT ?, ?, ?, ?, ?, ?, ?, ?, quick_hash, sha256, hashed_at, 0
                  FROM inodes_{n} WHERE inode = ?
                """,
                (*_stamp_row(s), m.before),
            )
        self.moved(moves)

    def _members(self, device_id: int, found: Sequence[Moved]) -> None:
        self.db.executemany(
            "UPDATE torrent_files SET inode = ? WHERE device_id = ? AND path = ?",
            [(m.now.inode, device_id, to_db(m.path)) for m in found],
        )
        self.db.executemany(
            """
            UPDATE payload_members SET inode = ? WHERE inode = ? AND path = ?
               AND payload_id IN (SELECT payload_id FROM payloads WHERE device_id = ?)
            """,
            [(m.now.inode, m.before, to_db(m.path), device_id) for m in found],
        )

    def gone(self, device_id: int, path: RelPath, inode: int, left: FileStamp | None) -> None:
        """A name was deleted; `left` is its inode now, None when that was the last name."""
        n = int(device_id)
        self.db.execute(
            f"""
            UPDATE names_{n} SET gone_at = ? WHERE name = ? AND gone_at IS NULL
               AND dir_id = (SELECT dir_id FROM dirs_{n} WHERE path = ?)
            """,
            (clock.iso(clock.now()), to_db(path.rpartition("/")[2]), to_db(parent_of(path))),
        )
        if left is not None:
            self.refresh(n, [left])
        else:
            self.db.execute(_FORGET.format(n=n), (inode,))

    def doubt(self, files: Iterable[tuple[int, int]]) -> None:
        """Forget the hashes of (device, inode): their bytes are not what the catalog says."""
        for device_id, inode in files:
            self.db.execute(
                f"""
                UPDATE inodes_{int(device_id)}
                   SET sha256 = NULL, quick_hash = NULL, hashed_at = NULL WHERE inode = ?
                """,
                (inode,),
            )


def _by_device(moves: Iterable[Moved]) -> dict[int, list[Moved]]:
    found: dict[int, list[Moved]] = {}
    for move in moves:
        found.setdefault(move.device_id, []).append(move)
    return found


def _stamp_row(s: FileStamp) -> tuple[int, ...]:
    return s.inode, s.size, s.mtime_ns, s.ctime_ns, s.nlink, s.mode, s.uid, s.gid
