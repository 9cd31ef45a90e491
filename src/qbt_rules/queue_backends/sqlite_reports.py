"""Reading the queue's tables: jobs, pages of jobs, numbers, health.  Changes nothing."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

from qbt_rules.model import Job, JobPage, JobStatus, QueueHealth, Stats, WorkerSeat
from qbt_rules.queue_backends.sqlite_connections import Connections
from qbt_rules.queue_backends.times import read, read_required, stored
from qbt_rules.queue_manager import AVERAGED, checked_page, ended_per_hour
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.sqlite import Database, Row

log = logging.getLogger(__name__)

# All but the result, which a page leaves out: a hundred of them may be megabytes.
LISTED = (
    "id, context, hash, status, created_at, started_at, completed_at, NULL AS result, error,"
    " dry_run, requests, attempts, interruptions, worker"
)


def read_job(row: Row) -> Job:
    return Job(
        job_id=row["id"],
        status=JobStatus(row["status"]),
        context=row["context"],
        torrent_hash=row["hash"],
        dry_run=bool(row["dry_run"]),
        created_at=read_required(row["created_at"]),
        started_at=read(row["started_at"]),
        completed_at=read(row["completed_at"]),
        result=json.loads(row["result"]) if row["result"] else None,
        error=row["error"],
        attempts=row["attempts"],
        interruptions=row["interruptions"],
        requests=row["requests"],
        worker=row["worker"],
    )


def page(
    db: Database, status: JobStatus | None, context: str | None, limit: int, offset: int
) -> JobPage:
    checked_page(limit, offset)
    conditions, values = [], []
    if status is not None:
        conditions.append("status = ?")
        values.append(status.value)
    if context is not None:
        conditions.append("context = ?")
        values.append(context)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    count = db.one(f"SELECT count(*) AS total FROM jobs {where}", values)
    rows = db.all(
        f"SELECT {LISTED} FROM jobs {where} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?",
        [*values, limit, offset],
    )
    total = count["total"] if count else 0
    return JobPage(tuple(read_job(row) for row in rows), total, limit, offset)


def stats(db: Database) -> Stats:
    now = clock.now()
    since = stored(now - timedelta(hours=24))
    ended = db.one(
        "SELECT count(*) AS n FROM jobs WHERE completed_at >= ?"
        " AND status IN ('completed', 'failed')",
        (since,),
    )
    mean = db.one(
        "SELECT avg(max(0, julianday(completed_at) - julianday(started_at))) * 86400 AS seconds"
        " FROM (SELECT started_at, completed_at FROM jobs WHERE completed_at >= ?"
        " AND status IN ('completed', 'failed') AND started_at IS NOT NULL"
        " ORDER BY completed_at DESC LIMIT ?)",
        (since, AVERAGED),
    )
    oldest = db.one("SELECT min(created_at) AS kept FROM jobs")
    pending = db.one("SELECT min(created_at) AS oldest FROM jobs WHERE status = 'pending'")
    last = _last_end(db)
    return Stats(
        counts=counts(db),
        average_execution_s=mean["seconds"] if mean else None,
        jobs_per_hour=ended_per_hour(
            ended["n"] if ended else 0, read(oldest["kept"]) if oldest else None, now
        ),
        last_completed_at=read(last),
        oldest_pending_at=read(pending["oldest"]) if pending else None,
    )


def counts(db: Database) -> dict[JobStatus, int]:
    found = dict(db.tuples("SELECT status, count(*) FROM jobs GROUP BY status"))
    return {status: found.get(status.value, 0) for status in JobStatus}


def health(connections: Connections, now: float, boot: str) -> QueueHealth:
    try:
        db = connections.reader()
        if not connections.is_there():
            return _broken("The queue's database was removed or replaced")
        pending = db.one("SELECT count(*) AS n FROM queue")
        processing = db.one("SELECT count(*) AS n FROM jobs WHERE status = 'processing'")
        return QueueHealth(
            backend="sqlite",
            pending=pending["n"] if pending else 0,
            processing=processing["n"] if processing else 0,
            worker=_seat(db, now, boot),
            last_completed_at=read(_last_end(db)),
        )
    except SeedError as why:
        log.warning("the queue's database: %s", why)
        return _broken("The queue's database cannot be read")


def _broken(problem: str) -> QueueHealth:
    """`problem` may be seen by anybody."""
    return QueueHealth(
        backend="sqlite",
        pending=0,
        processing=0,
        worker=None,
        last_completed_at=None,
        problems=(problem,),
    )


def _last_end(db: Database) -> str | None:
    row = db.one(
        "SELECT completed_at FROM jobs WHERE completed_at IS NOT NULL"
        " AND status IN ('completed', 'failed') ORDER BY completed_at DESC LIMIT 1"
    )
    return row["completed_at"] if row else None


def _seat(db: Database, now: float, boot: str) -> WorkerSeat | None:
    row = db.one("SELECT * FROM worker")
    if row is None:
        return None
    return WorkerSeat(
        worker_id=row["id"],
        host=row["host"],
        pid=row["pid"],
        since=read_required(row["since"]),
        seen_at=read_required(row["seen_at"]),
        alive=row["boot"] == boot and row["lease_until"] > now,
    )
