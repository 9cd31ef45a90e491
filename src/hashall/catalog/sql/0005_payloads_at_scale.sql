-- Several clients in one catalog.  torrent_hash stays the key of a torrent; for any client but the main
-- one it ends with @ and the client's name, since two clients may have the same torrent.
CREATE TABLE clients (
    name      TEXT PRIMARY KEY,     -- as in the configuration; "main" is qbittorrent.host
    synced_at TEXT                  -- when its inventory was last read to the end
) STRICT, WITHOUT ROWID;
INSERT INTO clients (name) VALUES ('main');

-- A small number inside: 40 digits in every row and index of the files made them three times as large.
ALTER TABLE torrent_instances ADD COLUMN instance_id INTEGER;
ALTER TABLE torrent_instances ADD COLUMN client TEXT NOT NULL DEFAULT 'main' REFERENCES clients;
-- Ours, where unfinished data lies; empty when it is the save path.
ALTER TABLE torrent_instances ADD COLUMN download_path ANY NOT NULL DEFAULT '';
-- What the client said: a digest of its place; its name, category and tags; '' = look again.
ALTER TABLE torrent_instances ADD COLUMN place_print TEXT NOT NULL DEFAULT '';
ALTER TABLE torrent_instances ADD COLUMN label_print TEXT NOT NULL DEFAULT '';
UPDATE torrent_instances SET instance_id = n
  FROM (SELECT torrent_hash AS h, row_number() OVER (ORDER BY torrent_hash) AS n
          FROM torrent_instances) WHERE torrent_hash = h;
CREATE UNIQUE INDEX torrent_instances_by_number ON torrent_instances (instance_id);

CREATE TABLE torrent_file_rows (
    instance_id INTEGER NOT NULL REFERENCES torrent_instances (instance_id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,   -- among the files that it wants, in the client's order
    name        ANY NOT NULL,       -- below the save path, as the client lists it
    size        INTEGER NOT NULL,
    device_id   INTEGER NOT NULL REFERENCES devices,
    path        ANY NOT NULL,
    inode       INTEGER,
    mtime_ns    INTEGER,            -- as it was when the hash was taken over
    sha256      TEXT,               -- NULL: needs a scan
    PRIMARY KEY (instance_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO torrent_file_rows (instance_id, position, name, size, device_id, path, inode)
SELECT i.instance_id, row_number() OVER (PARTITION BY f.torrent_hash ORDER BY f.name) - 1,
       f.name, f.size, f.device_id, f.path, f.inode
  FROM torrent_files AS f JOIN torrent_instances AS i USING (torrent_hash);
DROP TABLE torrent_files;
CREATE INDEX torrent_files_by_inode ON torrent_file_rows (device_id, inode, mtime_ns, sha256);
CREATE INDEX torrent_files_by_path ON torrent_file_rows (device_id, path);

CREATE VIEW torrent_files AS
SELECT i.torrent_hash, f.name, f.size, f.device_id, f.path, f.inode, f.mtime_ns, f.sha256
  FROM torrent_file_rows AS f JOIN torrent_instances AS i USING (instance_id);
CREATE TRIGGER torrent_files_inode INSTEAD OF UPDATE OF inode ON torrent_files BEGIN
    UPDATE torrent_file_rows SET inode = new.inode
     WHERE device_id = old.device_id AND path = old.path;
END;

-- Folders of a torrent's files as they were when it was looked at.  Equal: no name in them was made,
-- removed or replaced since.
CREATE TABLE torrent_folders (
    instance_id INTEGER NOT NULL REFERENCES torrent_instances (instance_id) ON DELETE CASCADE,
    path        ANY NOT NULL,       -- absolute, as this machine shows it
    inode       INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,   -- 0: was too young to be trusted
    PRIMARY KEY (instance_id, path)
) STRICT, WITHOUT ROWID;

-- The client's whole file list, also of torrents that have no payload.
CREATE TABLE torrent_lists (
    instance_id INTEGER PRIMARY KEY REFERENCES torrent_instances (instance_id) ON DELETE CASCADE,
    files       TEXT NOT NULL       -- JSON: [[name, size, 1 if it is wanted], …]
) STRICT;
