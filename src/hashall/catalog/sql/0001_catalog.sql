-- Paths and names are ANY: text where they are UTF-8, else the raw bytes as a blob.
-- Times are UTC text with a Z, or integers in nanoseconds where the kernel gave them (…_ns).

CREATE TABLE devices (
    device_id             INTEGER PRIMARY KEY,
    fs_key                TEXT NOT NULL UNIQUE,
    fs_type               TEXT NOT NULL,
    stable                INTEGER NOT NULL,
    alias                 TEXT UNIQUE,
    preferred_mount_point ANY,
    first_seen_at         TEXT NOT NULL,
    last_scan_started     TEXT,
    last_scan_completed   TEXT
) STRICT;

-- st_dev is only ever an observation: it changes at reboot, at import, in a container.
CREATE TABLE device_sightings (
    device_id     INTEGER NOT NULL REFERENCES devices,
    st_dev        INTEGER NOT NULL,
    mount_point   ANY NOT NULL,
    first_seen_at TEXT NOT NULL,
    last_seen_at  TEXT NOT NULL,
    PRIMARY KEY (device_id, st_dev, mount_point)
) STRICT, WITHOUT ROWID;

CREATE TABLE scan_roots (
    device_id    INTEGER NOT NULL REFERENCES devices,
    path         ANY NOT NULL,
    started_at   TEXT NOT NULL,
    completed_at TEXT,             -- NULL: begun and never finished
    PRIMARY KEY (device_id, path)
) STRICT, WITHOUT ROWID;

-- What the newest scan of a place could not read.  Nothing below it counts as covered or deleted.
CREATE TABLE scan_gaps (
    device_id INTEGER NOT NULL REFERENCES devices,
    path      ANY NOT NULL,
    reason    TEXT NOT NULL,
    seen_at   TEXT NOT NULL,
    PRIMARY KEY (device_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE payloads (
    payload_id    INTEGER PRIMARY KEY,
    payload_hash  TEXT,            -- NULL while some member has no fresh sha256
    content_hash  TEXT,
    media_hash    TEXT,
    device_id     INTEGER NOT NULL REFERENCES devices,
    root_path     ANY NOT NULL,
    file_count    INTEGER NOT NULL,
    total_bytes   INTEGER NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('complete', 'incomplete')),
    last_built_at TEXT NOT NULL,
    UNIQUE (device_id, payload_hash)
) STRICT;
CREATE INDEX payloads_by_hash ON payloads (payload_hash);

CREATE TABLE payload_members (
    payload_id INTEGER NOT NULL REFERENCES payloads ON DELETE CASCADE,
    relpath    ANY NOT NULL,
    size       INTEGER NOT NULL,
    sha256     TEXT,
    inode      INTEGER,
    path       ANY NOT NULL,
    PRIMARY KEY (payload_id, relpath)
) STRICT, WITHOUT ROWID;

CREATE TABLE torrent_instances (
    torrent_hash TEXT PRIMARY KEY,
    infohash_v1  TEXT NOT NULL,
    infohash_v2  TEXT NOT NULL,
    name         TEXT NOT NULL,
    payload_id   INTEGER REFERENCES payloads,
    device_id    INTEGER REFERENCES devices,
    save_path    ANY NOT NULL,
    root_name    ANY NOT NULL,
    category     TEXT NOT NULL,
    tags         TEXT NOT NULL,    -- JSON list
    problem      TEXT,             -- why it has no payload, or why that payload is incomplete
    last_seen_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX torrent_instances_by_payload ON torrent_instances (payload_id);

-- Which file on disk is which file of a torrent; siblings share inodes here.
CREATE TABLE torrent_files (
    torrent_hash TEXT NOT NULL REFERENCES torrent_instances ON DELETE CASCADE,
    name         ANY NOT NULL,     -- below the save path, as the client lists it
    size         INTEGER NOT NULL,
    device_id    INTEGER NOT NULL REFERENCES devices,
    path         ANY NOT NULL,
    inode        INTEGER,
    PRIMARY KEY (torrent_hash, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX torrent_files_by_inode ON torrent_files (device_id, inode);
CREATE INDEX torrent_files_by_path ON torrent_files (device_id, path);

-- The journal.  A run's steps are known before its first act.
CREATE TABLE runs (
    run_id      INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL,     -- demote
    plan_id     TEXT NOT NULL,
    plan        TEXT NOT NULL,     -- JSON, as the person approved it
    status      TEXT NOT NULL CHECK (status IN ('open', 'committed', 'retired', 'rolled-back')),
    actor       TEXT NOT NULL,     -- user@host
    reason      TEXT NOT NULL,     -- command line
    started_at  TEXT NOT NULL,
    ended_at    TEXT,              -- committed or rolled back
    retain_s    INTEGER NOT NULL,  -- how long the source is kept after the commit
    retire_at   TEXT,              -- when the hidden source may go
    retired_at  TEXT,
    bytes_freed INTEGER,
    note        TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE run_torrents (
    run_id       INTEGER NOT NULL REFERENCES runs,
    torrent_hash TEXT NOT NULL,
    PRIMARY KEY (run_id, torrent_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_torrents_by_torrent ON run_torrents (torrent_hash);

CREATE TABLE run_steps (
    run_id      INTEGER NOT NULL REFERENCES runs,
    seq         INTEGER NOT NULL,
    step        TEXT NOT NULL,     -- JSON
    state       TEXT NOT NULL CHECK (state IN ('planned', 'intended', 'done', 'undone')),
    intended_at TEXT,
    done_at     TEXT,
    undone_at   TEXT,
    error       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
