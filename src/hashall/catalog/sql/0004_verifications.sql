-- When the bytes behind a hash were read again, and whether they still were the same.
CREATE TABLE verifications (
    device_id   INTEGER NOT NULL REFERENCES devices,
    inode       INTEGER NOT NULL,
    sha256      TEXT NOT NULL,     -- what was expected; a row for another hash than the inode's is history
    verified_at TEXT NOT NULL,
    found       TEXT,              -- SHA-256 that was read instead; NULL: the same
    PRIMARY KEY (device_id, inode)
) STRICT, WITHOUT ROWID;
