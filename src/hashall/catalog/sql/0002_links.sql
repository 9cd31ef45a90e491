-- Plans of `hashall link`.  A plan is kept, so that review and execution can be days apart.
CREATE TABLE link_plans (
    plan_id     INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN
                ('pending', 'approved', 'running', 'executed', 'cancelled')),
    options     TEXT NOT NULL,     -- JSON, as the person gave them
    actor       TEXT NOT NULL,     -- user@host
    created_at  TEXT NOT NULL,
    approved_at TEXT,
    approved_by TEXT,
    started_at  TEXT,              -- the first execution began
    ended_at    TEXT,              -- executed or cancelled
    note        TEXT NOT NULL DEFAULT ''
) STRICT;

-- One thing to do, or the reason why it is not done, for one name of a file.
CREATE TABLE link_actions (
    plan_id         INTEGER NOT NULL REFERENCES link_plans ON DELETE CASCADE,
    seq             INTEGER NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('HARDLINK', 'NOOP', 'SKIP', 'DELETE')),
    state           TEXT NOT NULL CHECK (state IN
                    ('planned', 'intended', 'done', 'skipped', 'undoing', 'undone')),
    sha256          TEXT NOT NULL, -- of both files, as the catalog had it
    size            INTEGER NOT NULL, -- bytes
    source_device   INTEGER NOT NULL REFERENCES devices,
    source_path     ANY NOT NULL,  -- the name that stays
    source_inode    INTEGER NOT NULL,
    source_mtime_ns INTEGER NOT NULL,
    target_device   INTEGER NOT NULL REFERENCES devices,
    target_path     ANY NOT NULL,  -- the name that becomes a link, or goes
    target_inode    INTEGER NOT NULL,
    target_mtime_ns INTEGER NOT NULL,
    target_mode     INTEGER NOT NULL, -- with uid and gid, for --undo
    target_uid      INTEGER NOT NULL,
    target_gid      INTEGER NOT NULL,
    bytes_to_save   INTEGER NOT NULL, -- stands at the last name of an inode; 0 at the others
    bytes_saved     INTEGER,       -- what was freed in truth; NULL until done
    reason          TEXT NOT NULL, -- a word: why skipped, or what to know of it; '' for none
    detail          TEXT NOT NULL DEFAULT '', -- the same in a sentence
    changed_at      TEXT,          -- the state moved last
    PRIMARY KEY (plan_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_actions_unsettled ON link_actions (plan_id, seq)
    WHERE state IN ('intended', 'undoing');

-- Files that a torrent is still writing to, or checking: no link may be made of them.
CREATE TABLE unfinished_files (
    torrent_hash TEXT NOT NULL REFERENCES torrent_instances ON DELETE CASCADE,
    device_id    INTEGER NOT NULL REFERENCES devices,
    path         ANY NOT NULL,
    inode        INTEGER NOT NULL,
    PRIMARY KEY (torrent_hash, device_id, path)
) STRICT, WITHOUT ROWID;

-- A link changes the inode of a member; without this each one would read all members.
CREATE INDEX payload_members_by_inode ON payload_members (inode);
