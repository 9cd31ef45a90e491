"""The queue in a SQLite file.  `Job` values go out; rows stay in here.

A status moves only along an arrow of `JobStatus`, and the WHERE of each UPDATE enforces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from qbt_rules.model import (
    MOST_ATTEMPTS,
    MOST_INTERRUPTIONS,
    Job,
    JobPage,
    JobStatus,
    QueueHealth,
    ScheduleSlot,
    Stats,
)
from qbt_rules.queue_backends import sqlite_reports as reports
from qbt_rules.queue_backends import sqlite_schedule as schedule
from qbt_rules.queue_backends.bell import Ringer, SocketBell
from qbt_rules.queue_backends.bounds import (
    error_text,
    result_text,
    stored_context,
    stored_hash,
)
from qbt_rules.queue_backends.sqlite_accept import Wanted, accept
from qbt_rules.queue_backends.sqlite_connections import Connections
from qbt_rules.queue_backends.sqlite_reports import read_job
from qbt_rules.queue_backends.times import stored
from qbt_rules.queue_manager import (
    Bell,
    WorkerName,
    cannot_cancel,
    gave_up,
    lease_lost,
    never_ended,
    no_such_job,
)
from seedkeep import clock
from seedkeep.migrations import migrate
from seedkeep.sqlite import Database, Row, open_database

MIGRATIONS = "qbt_rules.queue_backends.sql"
LEAVE_S = 1.0  # to wait for the lock, and for the turn before it
FRESH_PART = 0.95  # of a lease: what is left of it counts as just taken
HEAD = "SELECT id FROM queue ORDER BY priority DESC, id LIMIT 1"


class SQLiteQueue:
    """A `QueueManager` for the processes of one machine."""

    backend = "sqlite"

    def __init__(self, path: Path) -> None:
        """Open, create or migrate the file at `path`."""
        with open_database(path) as db:
            migrate(db, MIGRATIONS)
            self.path = db.path
        self._connections = Connections(self.path)
        self._ringer = Ringer()
        self._unsynced = False  # ends of jobs that a power cut would undo

    # -- for those who want something done

    def enqueue(
        self,
        context: str | None = None,
        torrent_hash: str | None = None,
        *,
        dry_run: bool = False,
        coalesce: bool = True,
    ) -> Job:
        wanted = Wanted(stored_context(context), stored_hash(torrent_hash), dry_run, coalesce)
        job, bell = self._connections.write_many(accept, wanted)
        self._ringer.ring(bell)
        return job

    def note_schedule(self, timings: Mapping[str, str], since: datetime) -> None:
        self._connections.write(lambda db: schedule.note(db, timings, since))

    def enqueue_scheduled(
        self, slot: ScheduleSlot, context: str | None, torrent_hash: str | None, *, dry_run: bool
    ) -> Job | None:
        def work(db: Database) -> tuple[Job | None, str | None]:
            if not schedule.claim(db, slot):
                return None, None
            wanted = Wanted(
                stored_context(context), stored_hash(torrent_hash), dry_run, coalesce=True
            )
            return accept(db, [wanted])[0]

        job, bell = self._connections.write(work)
        self._ringer.ring(bell)
        return job

    def get_job(self, job_id: str) -> Job | None:
        row = self._connections.reader().one("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return read_job(row) if row else None

    def list_jobs(
        self,
        status: JobStatus | None = None,
        context: str | None = None,
        *,
        limit: int = 50,
        offset: int = 0,
    ) -> JobPage:
        return reports.page(self._connections.reader(), status, context, limit, offset)

    def cancel_job(self, job_id: str) -> Job:
        return self._connections.write(lambda db: _cancel(db, job_id))

    def stats(self) -> Stats:
        return reports.stats(self._connections.reader())

    def health(self) -> QueueHealth:
        return reports.health(self._connections, *_lease_clock())

    # -- for workers

    def bell(self) -> Bell:
        return SocketBell()

    def dequeue(self, worker: WorkerName, bell: Bell | None = None) -> Job | None:
        if not _may_have_work(self._connections.reader(), worker):
            self._sync(worker)
            return None
        # A power cut may undo this: then the worker is gone too, and the job is pending as before.
        return self._connections.write_soon(lambda db: _take(db, worker, bell))

    def renew(self, worker: WorkerName) -> bool:
        return self._connections.write(lambda db: _renew(db, worker))

    def complete(self, job: Job, result: Mapping[str, Any]) -> Job:
        return self._end(job, JobStatus.COMPLETED, result_text(result), None)

    def complete_and_dequeue(
        self, job: Job, result: Mapping[str, Any], worker: WorkerName, bell: Bell | None = None
    ) -> tuple[Job, Job | None]:
        text = result_text(result)

        def work(db: Database) -> tuple[Job, Job | None]:
            done = _end(db, job, JobStatus.COMPLETED, text, None)
            return done, _take(db, worker, bell)

        both = self._connections.write_soon(work)
        self._unsynced = True
        return both

    def fail(self, job: Job, error: str) -> Job:
        return self._end(job, JobStatus.FAILED, None, error_text(error))

    def release(self, job: Job, *, interrupted: bool = False) -> Job:
        return self._connections.write(lambda db: _release(db, job, interrupted))

    def leave(self, worker_id: str) -> list[Job]:
        def work(db: Database) -> list[Job]:
            db.execute("DELETE FROM worker WHERE id = ?", (worker_id,))
            return _reclaim(db, of=worker_id)

        # By connections of its own: a thread of this process may be waiting with the others.
        hasty = Connections(self.path, busy_timeout_s=LEAVE_S)
        try:
            return hasty.write(work)
        finally:
            hasty.close()

    def reap(self) -> list[Job]:
        return self._connections.write(_reap)

    def cleanup_old_jobs(self, retention: timedelta, *, most: int = 1000) -> int:
        before = stored(clock.now() - retention)
        return self._connections.write_soon(lambda db: _clean_up(db, before, most))

    def close(self) -> None:
        self._connections.close()
        self._ringer.close()

    def _end(self, job: Job, to: JobStatus, result: str | None, error: str | None) -> Job:
        # On the disk with the next accepted job, the next renewal, or before the worker rests.  A
        # power cut before that runs the job again, as one during the job would.
        done = self._connections.write_soon(lambda db: _end(db, job, to, result, error))
        self._unsynced = True
        return done

    def _sync(self, worker: WorkerName) -> None:
        if self._unsynced:
            self._unsynced = False
            self.renew(worker)


def _may_have_work(db: Database, worker: WorkerName) -> bool:
    """Look before taking the write lock: most calls of an idle or standing-by worker."""
    seat = _live_seat(db)
    if seat is None:
        return True  # the seat is to be taken, also without work
    if seat["id"] != worker.worker_id:
        return False
    return db.one("SELECT 1 FROM queue LIMIT 1") is not None


def _cancel(db: Database, job_id: str) -> Job:
    row = db.one(
        "UPDATE jobs SET status = 'cancelled', completed_at = ?"
        " WHERE id = ? AND status = 'pending' RETURNING *",
        (stored(clock.now()), job_id),
    )
    if row is None:
        there = db.one("SELECT status FROM jobs WHERE id = ?", (job_id,))
        raise cannot_cancel(job_id, JobStatus(there["status"])) if there else no_such_job(job_id)
    db.execute("DELETE FROM queue WHERE job_id = ?", (job_id,))
    return read_job(row)


def _take(db: Database, worker: WorkerName, bell: Bell | None) -> Job | None:
    if not _take_seat(db, worker, bell):
        return None
    if _is_one_running(db):
        _reclaim(db, keep=worker.worker_id)
        if _is_one_running(db):
            return None
    head = db.one(f"DELETE FROM queue WHERE id = ({HEAD}) RETURNING job_id")
    if head is None:
        return None
    row = db.one(
        "UPDATE jobs SET status = 'processing', started_at = ?, worker = ?,"
        " attempts = attempts + 1 WHERE id = ? AND status = 'pending' RETURNING *",
        (stored(clock.now()), worker.worker_id, head["job_id"]),
    )
    return read_job(row) if row else None


def _renew(db: Database, worker: WorkerName) -> bool:
    now, boot = _lease_clock()
    db.execute(
        "UPDATE worker SET lease_until = ?, boot = ?, seen_at = ? WHERE id = ?",
        (now + worker.lease_s, boot, stored(clock.now()), worker.worker_id),
    )
    return db.changes() == 1


def _end(db: Database, job: Job, to: JobStatus, result: str | None, error: str | None) -> Job:
    mine = (job.job_id, job.worker, job.attempts)
    row = db.one(
        "UPDATE jobs SET status = ?, completed_at = ?, result = ?, error = ?"
        " WHERE id = ? AND worker = ? AND attempts = ? AND status = 'processing' RETURNING *",
        (to.value, stored(clock.now()), result, error, *mine),
    )
    if row is None:  # repeated after an answer that did not arrive, or no longer ours
        row = db.one(
            "SELECT * FROM jobs WHERE id = ? AND worker = ? AND attempts = ? AND status = ?",
            (*mine, to.value),
        )
    if row is None:
        raise lease_lost(job)
    return read_job(row)


def _release(db: Database, job: Job, interrupted: bool) -> Job:
    given_up = interrupted and job.interruptions + 1 >= MOST_INTERRUPTIONS
    row = db.one(
        "UPDATE jobs SET status = :status, started_at = iif(:given_up, started_at, NULL),"
        " attempts = attempts - 1, interruptions = interruptions + :interrupted,"
        " completed_at = iif(:given_up, :now, NULL), error = iif(:given_up, :error, NULL)"
        " WHERE id = :id AND worker = :worker AND attempts = :attempts AND status = 'processing'"
        " RETURNING *",
        {
            "status": (JobStatus.FAILED if given_up else JobStatus.PENDING).value,
            "given_up": given_up,
            "interrupted": interrupted,
            "now": stored(clock.now()),
            "error": never_ended(MOST_INTERRUPTIONS),
            "id": job.job_id,
            "worker": job.worker,
            "attempts": job.attempts,
        },
    )
    if row is None:
        raise lease_lost(job)
    if not given_up:
        _put_first(db, job.job_id)
    return read_job(row)


def _reap(db: Database) -> list[Job]:
    seat = _live_seat(db)
    if seat is None:
        db.execute("DELETE FROM worker")
    return _reclaim(db, keep=seat["id"] if seat else None)


def _clean_up(db: Database, before: str, most: int) -> int:
    db.execute(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE completed_at < ?"
        " ORDER BY completed_at LIMIT ?)"
        " AND status IN ('completed', 'failed', 'cancelled')",
        (before, most),
    )
    return db.changes()


def _take_seat(db: Database, worker: WorkerName, bell: Bell | None) -> bool:
    seat = _live_seat(db)
    if seat is not None and seat["id"] != worker.worker_id:
        return False
    now, boot = _lease_clock()
    name = getattr(bell, "name", None)
    if seat is not None and seat["bell"] == name:
        left = seat["lease_until"] - now
        if worker.lease_s * FRESH_PART < left <= worker.lease_s:
            return True  # not a write for each of a thousand jobs in a second
    moment = stored(clock.now())
    db.execute(
        "INSERT INTO worker (seat, id, host, pid, bell, since, seen_at, lease_until, boot)"
        " VALUES (1, :id, :host, :pid, :bell, :moment, :moment, :until, :boot)"
        " ON CONFLICT (seat) DO UPDATE SET id = :id, host = :host, pid = :pid, bell = :bell,"
        " since = iif(id = :id, since, :moment), seen_at = :moment, lease_until = :until,"
        " boot = :boot",
        {
            "id": worker.worker_id,
            "host": worker.host,
            "pid": worker.pid,
            "bell": name,
            "moment": moment,
            "until": now + worker.lease_s,
            "boot": boot,
        },
    )
    return True


def _is_one_running(db: Database) -> bool:
    return db.one("SELECT 1 FROM jobs WHERE status = 'processing' LIMIT 1") is not None


def _live_seat(db: Database) -> Row | None:
    now, boot = _lease_clock()
    return db.one("SELECT * FROM worker WHERE boot = ? AND lease_until > ?", (boot, now))


def _reclaim(db: Database, *, keep: str | None = None, of: str | None = None) -> list[Job]:
    """Take processing jobs away from workers that are gone: all but `keep`'s, or only `of`'s."""
    rows = db.all(
        "UPDATE jobs SET"
        " status = iif(attempts >= :most, 'failed', 'pending'),"
        " completed_at = iif(attempts >= :most, :now, NULL),"
        " error = iif(attempts >= :most, :error, NULL),"
        " started_at = iif(attempts >= :most, started_at, NULL)"
        " WHERE status = 'processing' AND worker IS NOT :keep AND (:of IS NULL OR worker = :of)"
        " RETURNING *",
        {
            "most": MOST_ATTEMPTS,
            "now": stored(clock.now()),
            "error": gave_up(MOST_ATTEMPTS),
            "keep": keep,
            "of": of,
        },
    )
    jobs = [read_job(row) for row in rows]
    for job in jobs:
        if job.status is JobStatus.PENDING:
            _put_first(db, job.job_id)
    return jobs


def _put_first(db: Database, job_id: str) -> None:
    db.execute(
        "INSERT INTO queue (id, job_id) VALUES (coalesce((SELECT min(id) FROM queue), 1) - 1, ?)",
        (job_id,),
    )


def _lease_clock() -> tuple[float, str]:
    """(seconds, boot): a machine-wide clock that nobody can set."""
    return clock.monotonic(), _boot()


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
