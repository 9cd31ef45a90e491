-- Tables and columns of the published schema, and what leases, dry runs and joined requests need.
-- Times are UTC text of one width ("2026-11-21T10:00:00.000000Z"), so that they sort as text.

CREATE TABLE jobs (
    id           TEXT PRIMARY KEY,  -- UUID
    context      TEXT,
    hash         TEXT,
    status       TEXT NOT NULL
                 CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    created_at   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    started_at   TIMESTAMP,         -- of the newest attempt
    completed_at TIMESTAMP,         -- completed, failed or cancelled
    result       TEXT,              -- JSON
    error        TEXT,
    dry_run      INTEGER NOT NULL DEFAULT 0 CHECK (dry_run IN (0, 1)),
    requests     INTEGER NOT NULL DEFAULT 1,
    attempts     INTEGER NOT NULL DEFAULT 0,
    worker       TEXT               -- who has it, or had it last
);

CREATE INDEX idx_status ON jobs (status, created_at);
CREATE INDEX idx_created_at ON jobs (created_at);
CREATE INDEX idx_context ON jobs (context, created_at);
CREATE INDEX idx_completed_at ON jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX idx_waiting ON jobs (context, hash, dry_run) WHERE status = 'pending';

-- Pending jobs only, in the order in which they will run.
CREATE TABLE queue (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id   TEXT NOT NULL UNIQUE,
    priority INTEGER DEFAULT 0,
    FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE
);

CREATE INDEX idx_queue_order ON queue (priority DESC, id);

-- The one worker that may run jobs.  A lease is counted on the machine's monotonic clock, which
-- starts anew with each boot, so that setting the time neither ends a lease nor makes it eternal.
CREATE TABLE worker (
    seat        INTEGER PRIMARY KEY CHECK (seat = 1),
    id          TEXT NOT NULL,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    bell        TEXT,               -- name of its datagram socket
    since       TIMESTAMP NOT NULL,
    seen_at     TIMESTAMP NOT NULL,
    lease_until REAL NOT NULL,      -- seconds, CLOCK_MONOTONIC
    boot        TEXT NOT NULL
);

-- The newest moment of each schedule entry that has been enqueued.
CREATE TABLE schedule_slots (
    entry TEXT PRIMARY KEY,
    due   TIMESTAMP NOT NULL
);
