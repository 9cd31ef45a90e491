"""Which places were scanned to the end, when, and what could not be read there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hashall.model import RelPath
from seedkeep import clock
from seedkeep.sqlite import Database, from_db, to_db

MOST_AHEAD = timedelta(minutes=5)  # of another clock, before it is called wrong


@dataclass(frozen=True)
class Coverage:
    """What is known of a place: when it was last scanned as a whole, and the holes in that."""

    path: RelPath
    completed_at: datetime | None  # None: never to the end
    gaps: tuple[tuple[RelPath, str], ...]  # (path, reason) at or below it, or in the way to it


@dataclass(frozen=True)
class ScanTable:
    db: Database

    def begin(self, device_id: int, path: RelPath) -> None:
        now = clock.iso(clock.now())
        self.db.execute(
            """
            INSERT INTO scan_roots (device_id, path, started_at) VALUES (?, ?, ?)
                ON CONFLICT DO UPDATE SET started_at = excluded.started_at
            """,
            (device_id, to_db(path), now),
        )
        self.db.execute(
            "UPDATE devices SET last_scan_started = ? WHERE device_id = ?", (now, device_id)
        )

    def was_interrupted(self, device_id: int) -> bool:
        """Whether a scan of a place there was begun and never ended."""
        row = self.db.one(
            "SELECT 1 FROM scan_roots WHERE device_id = ? AND completed_at IS NOT started_at",
            (device_id,),
        )
        return row is not None

    def complete(self, device_id: int, path: RelPath, gaps: dict[RelPath, str]) -> None:
        """The place was walked to its end; `gaps` are what could not be read (path → reason)."""
        now = clock.iso(clock.now())
        self.db.executemany(
            "DELETE FROM scan_gaps WHERE device_id = ? AND path = ?",
            [
                (device_id, to_db(old))
                for old, _ in self._gaps(device_id)
                if is_at_or_below(old, path)
            ],
        )
        self.db.executemany(
            "INSERT OR REPLACE INTO scan_gaps VALUES (?, ?, ?, ?)",
            [(device_id, to_db(gap), reason, now) for gap, reason in gaps.items()],
        )
        # Covered is what was there when the scan began.
        self.db.execute(
            "UPDATE scan_roots SET completed_at = started_at WHERE device_id = ? AND path = ?",
            (device_id, to_db(path)),
        )
        self.db.execute(
            "UPDATE devices SET last_scan_completed = ? WHERE device_id = ?", (now, device_id)
        )

    def coverage(self, device_id: int, path: RelPath) -> Coverage:
        """The newest complete scan of `path` or of a directory above it.

        A scan from further above that could not read a directory on the way did not get here.
        """
        gaps = self._gaps(device_id)
        above = [gap for gap, _ in gaps if is_at_or_below(path, gap)]
        rows = self.db.all(
            "SELECT path, completed_at FROM scan_roots"
            " WHERE device_id = ? AND completed_at IS NOT NULL",
            (device_id,),
        )
        times = [
            clock.parse_iso(completed)
            for root, completed in ((from_db(found), at) for found, at in rows)
            if is_at_or_below(path, root) and not any(is_at_or_below(gap, root) for gap in above)
        ]
        past = [moment for moment in times if moment <= clock.now() + MOST_AHEAD]
        met = [
            (gap, reason)
            for gap, reason in gaps
            if is_at_or_below(gap, path) or (not times and gap in above)
        ]
        # What a wrong clock dated in the future would count as the newest for years.
        newest = max(past or times, default=None)
        return Coverage(path, newest, tuple(met))

    def roots(self) -> list[tuple[int, RelPath, str, str | None]]:
        """(device, path, started, completed) of every place ever scanned."""
        rows = self.db.all("SELECT * FROM scan_roots ORDER BY device_id, path")
        return [
            (row["device_id"], from_db(row["path"]), row["started_at"], row["completed_at"])
            for row in rows
        ]

    def _gaps(self, device_id: int) -> list[tuple[RelPath, str]]:
        rows = self.db.all(
            "SELECT path, reason FROM scan_gaps WHERE device_id = ? ORDER BY path", (device_id,)
        )
        return [(from_db(row["path"]), str(row["reason"])) for row in rows]


def is_at_or_below(path: RelPath, root: RelPath) -> bool:
    """Compares whole parts, so "films2" is not below "films"."""
    return not root or path == root or path.startswith(root + "/")
