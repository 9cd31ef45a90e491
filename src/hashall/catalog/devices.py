"""Which filesystems the catalog knows."""

from __future__ import annotations

from dataclasses import dataclass

from hashall.model import Device
from seedkeep import clock
from seedkeep.pragmas import quick_sorting
from seedkeep.sqlite import Database, Row, from_db, to_db


@dataclass(frozen=True)
class DeviceTable:
    db: Database

    def register(self, fs_key: str, fs_type: str, *, stable: bool) -> Device:
        """The device of `fs_key`, with its tables, made when first met."""
        known = self.by_key(fs_key)
        if known is not None:
            return known
        self.db.execute(
            "INSERT INTO devices (fs_key, fs_type, stable, first_seen_at) VALUES (?, ?, ?, ?)",
            (fs_key, fs_type, int(stable), clock.iso(clock.now())),
        )
        device_id = self.db.last_insert_rowid()
        create_file_tables(self.db, device_id)
        return self.get(device_id)

    def sighted(self, device_id: int, st_dev: int, mount_point: str) -> None:
        now = clock.iso(clock.now())
        self.db.execute(
            """
            INSERT INTO device_sightings VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET last_seen_at = excluded.last_seen_at
            """,
            (device_id, st_dev, to_db(mount_point), now, now),
        )

    def mount_points(self, device_id: int) -> list[str]:
        """Where it was seen mounted, newest sighting first."""
        rows = self.db.all(
            """
            SELECT mount_point, max(last_seen_at) AS newest FROM device_sightings
             WHERE device_id = ? GROUP BY mount_point ORDER BY newest DESC, mount_point
            """,
            (device_id,),
        )
        return [from_db(row["mount_point"]) for row in rows]

    def last_mounted_at(self, mount_point: str) -> Device | None:
        """Which device was seen mounted there last."""
        row = self.db.one(
            """
            SELECT device_id FROM device_sightings WHERE mount_point = ?
             ORDER BY last_seen_at DESC, device_id DESC LIMIT 1
            """,
            (to_db(mount_point),),
        )
        return None if row is None else self.get(row["device_id"])

    def by_key(self, fs_key: str) -> Device | None:
        row = self.db.one("SELECT * FROM devices WHERE fs_key = ?", (fs_key,))
        return _device(row) if row else None

    def get(self, device_id: int) -> Device:
        row = self.db.one("SELECT * FROM devices WHERE device_id = ?", (device_id,))
        if row is None:
            raise KeyError(device_id)
        return _device(row)

    def all(self) -> list[Device]:
        return [_device(row) for row in self.db.all("SELECT * FROM devices ORDER BY device_id")]


def _device(row: Row) -> Device:
    preferred = row["preferred_mount_point"]
    return Device(
        device_id=row["device_id"],
        fs_key=row["fs_key"],
        fs_type=row["fs_type"],
        stable=bool(row["stable"]),
        alias=row["alias"],
        preferred_mount_point=None if preferred is None else from_db(preferred),
        last_scan_completed=row["last_scan_completed"],
    )


@dataclass(frozen=True)
class Index:
    """A secondary index of a device's tables."""

    table: str
    suffix: str
    columns: str
    former_suffix: str  # of one with fewer columns that older releases made

    def names_of(self, device_id: int) -> tuple[str, str]:
        """Its own, and that of the former one."""
        of_table = f"{self.table}_{int(device_id)}"
        return f"{of_table}_{self.suffix}", f"{of_table}_{self.former_suffix}"


# What a large load drops and makes again.  With `gone_at` and `nlink` they answer which names equal
# bytes have: looking at the rows too would take three times as long.
NAMES_BY_INODE = Index("names", "by_inode_gone", "inode, gone_at", "by_inode")
INODES_BY_BYTES = Index("inodes", "by_bytes_nlink", "sha256, size, nlink", "by_bytes")


def create_index(db: Database, device_id: int, index: Index) -> None:
    """Nothing happens when it is there."""
    of_table = f"{index.table}_{int(device_id)}"
    name, former = index.names_of(device_id)
    db.execute(f"DROP INDEX IF EXISTS {former}")
    if lacks_index(db, device_id, index):
        with quick_sorting(db):
            db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {of_table} ({index.columns})")


def lacks_index(db: Database, device_id: int, *indexes: Index) -> bool:
    """Whether one of them is missing, or is there with the columns of an older release."""
    rows = db.all_tuples("SELECT name FROM sqlite_schema WHERE type = 'index'")
    return not {index.names_of(device_id)[0] for index in indexes} <= {name for (name,) in rows}


def drop_index(db: Database, device_id: int, index: Index) -> None:
    for name in index.names_of(device_id):
        db.execute(f"DROP INDEX IF EXISTS {name}")


def create_file_tables(db: Database, device_id: int) -> None:
    """Directories, names and inodes of one filesystem, and `files_<device_id>` to read them by.

    A hash belongs to an inode, once, however many names it has.
    """
    n = int(device_id)
    db.execute(f"""
        CREATE TABLE dirs_{n} (
            dir_id    INTEGER PRIMARY KEY,
            parent_id INTEGER REFERENCES dirs_{n},
            path      ANY NOT NULL UNIQUE
        ) STRICT
    """)
    db.execute(f"CREATE INDEX dirs_{n}_by_parent ON dirs_{n} (parent_id)")
    db.execute(f"""
        CREATE TABLE names_{n} (
            dir_id        INTEGER NOT NULL REFERENCES dirs_{n},
            name          ANY NOT NULL,
            inode         INTEGER NOT NULL,
            first_seen_at TEXT NOT NULL,
            gone_at       TEXT,
            PRIMARY KEY (dir_id, name)
        ) STRICT, WITHOUT ROWID
    """)
    create_index(db, n, NAMES_BY_INODE)
    db.execute(f"""
        CREATE TABLE inodes_{n} (
            inode      INTEGER PRIMARY KEY,
            size       INTEGER NOT NULL,
            mtime_ns   INTEGER NOT NULL,
            ctime_ns   INTEGER NOT NULL,
            nlink      INTEGER NOT NULL,
            mode       INTEGER NOT NULL,
            uid        INTEGER NOT NULL,
            gid        INTEGER NOT NULL,
            quick_hash TEXT,
            sha256     TEXT,
            hashed_at  TEXT,
            racy       INTEGER NOT NULL DEFAULT 0
        ) STRICT
    """)
    create_index(db, n, INODES_BY_BYTES)
    _create_view(db, n)


def _create_view(db: Database, n: int) -> None:
    """`files_<n>`: one row a name.

    Casts to BLOB and back because `||` on a blob would mangle names that are not UTF-8.  A deleted
    name was last seen before `last_seen_at`, an active one at or after it.
    """
    db.execute(f"""
        CREATE VIEW files_{n} AS
        SELECT CASE WHEN typeof(d.path) = 'text' AND typeof(n.name) = 'text'
                    THEN iif(d.path = '', n.name, d.path || '/' || n.name)
                    ELSE CAST(iif(d.path = '', '', CAST(d.path AS TEXT) || '/')
                              || CAST(n.name AS TEXT) AS BLOB)
               END AS path,
               n.inode, i.size, i.mtime_ns, i.ctime_ns, i.nlink, i.mode, i.uid, i.gid,
               i.quick_hash, i.sha256, i.hashed_at,
               iif(n.gone_at IS NULL, 'active', 'deleted') AS status,
               n.first_seen_at,
               coalesce(n.gone_at, max(n.first_seen_at, coalesce((
                   SELECT max(r.completed_at) FROM scan_roots AS r
                    WHERE r.device_id = {n}
                      AND (r.path IN ('', d.path)
                           OR substr(CAST(d.path AS BLOB), 1, length(CAST(r.path AS BLOB)) + 1)
                              = CAST(CAST(r.path AS TEXT) || '/' AS BLOB))
               ), ''))) AS last_seen_at
          FROM names_{n} AS n
          JOIN dirs_{n} AS d USING (dir_id)
          LEFT JOIN inodes_{n} AS i ON i.inode = n.inode AND n.gone_at IS NULL
    """)
