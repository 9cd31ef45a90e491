"""Which files an upgrade reads whole: what may have a twin, and what belongs to a payload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hashall.catalog.unions import union_all
from hashall.relpath import join
from seedkeep.sqlite import Database, to_db

if TYPE_CHECKING:
    from hashall.model import RelPath
    from hashall.scan_model import WalkPlace


def want_twins(
    db: Database,
    place: WalkPlace,
    devices: Sequence[int],
    gaps: Iterable[RelPath],
    borders: Iterable[str],
) -> None:
    """Fill `temp.scan_waiting` with inodes that lack a SHA-256.

    Args:
        place: Only inodes with a name at or below it can be read by this scan.
        devices: On any of them a twin may be.
        gaps: Files and directories of this device that the scan left out.
        borders: Absolute paths below the place where something is mounted.
    """
    n, relpath = int(place.device_id), place.relpath
    sampled = union_all(
        [
            f"SELECT size, quick_hash FROM inodes_{int(k)} WHERE quick_hash IS NOT NULL"
            for k in devices
        ]
    )
    here, below = to_db(relpath), to_db(relpath + "/")
    db.execute("DELETE FROM temp.scan_waiting")
    top = len(place.abspath.rstrip("/")) + 1
    _note_left_out(db, n, [*gaps, *(join(relpath, border[top:]) for border in borders)])
    db.execute(
        f"""
        WITH doubled AS MATERIALIZED (
            SELECT size, quick_hash FROM ({sampled})
             GROUP BY size, quick_hash HAVING count(*) > 1
        ), wanted AS MATERIALIZED (
            SELECT i.inode FROM inodes_{n} AS i JOIN doubled USING (size, quick_hash)
             WHERE i.sha256 IS NULL
            UNION SELECT inode FROM torrent_files WHERE device_id = {n}
            UNION SELECT m.inode FROM payload_members AS m JOIN payloads USING (payload_id)
             WHERE device_id = {n}
        )
        INSERT OR IGNORE INTO temp.scan_waiting
        SELECT i.inode, i.ctime_ns, n.dir_id, n.name, 0
          FROM wanted JOIN inodes_{n} AS i USING (inode)
          JOIN names_{n} AS n USING (inode) JOIN dirs_{n} AS d USING (dir_id)
         WHERE i.sha256 IS NULL AND n.gone_at IS NULL
           AND (:here = '' OR d.path = :here
                OR substr(CAST(d.path AS BLOB), 1, length(CAST(:below AS BLOB)))
                   = CAST(:below AS BLOB))
           AND n.dir_id NOT IN (SELECT dir_id FROM temp.left_out_dirs)
           AND NOT EXISTS (SELECT 1 FROM temp.left_out AS o
                            WHERE o.folder = d.path AND o.name = n.name)
        """,
        {"here": here, "below": below},
    )
    db.execute("DROP TABLE temp.left_out")
    db.execute("DROP TABLE temp.left_out_dirs")


def _note_left_out(db: Database, n: int, left_out: Iterable[RelPath]) -> None:
    """Each as a file, and as a directory with all that the catalog has below it."""
    rows = [(to_db(path), *map(to_db, _parted(path))) for path in left_out]
    db.execute("CREATE TEMP TABLE left_out (path ANY, folder ANY, name ANY)")
    db.executemany("INSERT INTO temp.left_out VALUES (?, ?, ?)", rows)
    db.execute("CREATE INDEX temp.left_out_by_name ON left_out (folder, name)")
    db.execute("CREATE TEMP TABLE left_out_dirs (dir_id INTEGER PRIMARY KEY)")
    db.execute(
        f"""
        WITH RECURSIVE below (dir_id) AS (
            SELECT dir_id FROM temp.left_out JOIN dirs_{n} USING (path)
            UNION SELECT d.dir_id FROM dirs_{n} AS d JOIN below ON d.parent_id = below.dir_id
        )
        INSERT INTO temp.left_out_dirs SELECT dir_id FROM below
        """
    )


def _parted(path: RelPath) -> tuple[RelPath, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
