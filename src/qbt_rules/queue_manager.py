"""What a job queue promises, whatever keeps it; and the choice of one.

The requirement's `update_status` is `complete`, `fail` and `release` here: a status moves only
along an arrow, the storage itself checks it, and only the worker that holds the job moves it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from qbt_rules.model import (
    MOST_LISTED,
    Job,
    JobPage,
    JobStatus,
    QueueHealth,
    ScheduleSlot,
    Stats,
)
from seedkeep.errors import Misused, Refused, Unreachable

LEASE_S = 30.0  # a worker that gives no sign of life for so long has lost its job
AVERAGED = 1000  # newest ended jobs that `Stats.average_execution_s` looks at
CLOCKS_AGREE = timedelta(hours=1)  # what the clocks of servers differ at most
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.02, 0.25


class NoSuchJob(Misused):
    """The queue does not know this id, or retention has removed the job."""

    code = "no-such-job"


class WrongStatus(Refused):
    """The job is not in a status from which this is possible.  Nothing was changed."""

    code = "job-status"

    def __init__(self, brief: str, *, status: JobStatus, detail: str = "", hint: str = "") -> None:
        super().__init__(brief, detail=detail, hint=hint)
        self.status = status


class LeaseLost(Refused):
    """The job is no longer this worker's: its lease ran out.  What it reports is not recorded."""

    code = "lease-lost"


class QueueUnreachable(Unreachable):
    """The queue's storage did not answer, after some tries."""

    code = "queue-unreachable"


@dataclass(frozen=True, kw_only=True)
class WorkerName:
    """Who asks for jobs.  `worker_id` is new for every process: nobody inherits a lease."""

    worker_id: str
    host: str
    pid: int
    lease_s: float = LEASE_S


class Bell(Protocol):
    """How a worker sleeps until there may be a job.  One per worker; for one thread."""

    def wait(self, timeout_s: float) -> bool:
        """True when something rang, False after `timeout_s`.  May ring without reason."""
        ...

    def close(self) -> None: ...


class QueueManager(Protocol):
    """A durable queue of jobs that runs one at a time over all processes and hosts.

    Safe for threads and for use after a fork.  Every method may raise `QueueUnreachable` (Redis)
    or `seedkeep.sqlite.DatabaseError`/`Locked` (SQLite); then it is not known whether a change
    happened, and every change may be repeated.
    """

    @property
    def backend(self) -> str:
        """ "sqlite" or "redis"."""
        ...

    # -- for those who want something done

    def enqueue(
        self,
        context: str | None = None,
        torrent_hash: str | None = None,
        *,
        dry_run: bool = False,
        coalesce: bool = True,
    ) -> Job:
        """Accept a job: durable when this returns, and the worker is woken.

        With `coalesce`, a pending job with the same context, hash and dry_run is returned instead
        (its `requests` is then more than 1).
        """
        ...

    def note_schedule(self, timings: Mapping[str, str], since: datetime) -> None:
        """What each entry of the schedule says about its times, by its name.

        Entries that are new, or say something else than before, count as done with up to `since`.
        """
        ...

    def enqueue_scheduled(
        self, slot: ScheduleSlot, context: str | None, torrent_hash: str | None, *, dry_run: bool
    ) -> Job | None:
        """`enqueue` for a moment of the schedule; None when that moment (or a later one) was.

        A missed moment is also none of an entry that was not noted before it.
        """
        ...

    def get_job(self, job_id: str) -> Job | None: ...

    def list_jobs(
        self,
        status: JobStatus | None = None,
        context: str | None = None,
        *,
        limit: int = 50,
        offset: int = 0,
    ) -> JobPage:
        """Newest first; `limit` is 1..100, `offset` 0 or more (else `ValueError`).

        Results are left out (`result` is None): `get_job` has them.
        """
        ...

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a pending job.  Raises `NoSuchJob`, `WrongStatus` (also when it is cancelled)."""
        ...

    def stats(self) -> Stats: ...

    def health(self) -> QueueHealth:
        """Never raises: a storage that is away is one of the `problems`."""
        ...

    # -- for workers

    def bell(self) -> Bell:
        """A bell that rings when a job may be waiting; give it to `dequeue`."""
        ...

    def dequeue(self, worker: WorkerName, bell: Bell | None = None) -> Job | None:
        """The oldest pending job, now processing and held by `worker`; None: nothing to do now.

        Takes or keeps the worker's seat for `lease_s`; None while another live worker has it, and
        while a job is under way.  Jobs of a worker whose lease ran out become pending (at the head
        of the queue) or, after `MOST_ATTEMPTS`, failed.  Enqueuing rings `bell` from now on.
        """
        ...

    def renew(self, worker: WorkerName) -> bool:
        """Extend the lease; False when the seat is somebody else's or nobody's: stop at once."""
        ...

    def complete(self, job: Job, result: Mapping[str, Any]) -> Job:
        """Record the result.  `job` as `dequeue` gave it.  Raises `LeaseLost`."""
        ...

    def complete_and_dequeue(
        self, job: Job, result: Mapping[str, Any], worker: WorkerName, bell: Bell | None = None
    ) -> tuple[Job, Job | None]:
        """`complete`, then `dequeue`, in one go: what a busy worker does all day."""
        ...

    def fail(self, job: Job, error: str) -> Job:
        """Record that the job failed, and why.  Raises `LeaseLost`."""
        ...

    def release(self, job: Job, *, interrupted: bool = False) -> Job:
        """Back to pending, at the head of the queue; this attempt does not count.

        `interrupted`: the job was under way.  After `MOST_INTERRUPTIONS` of these it is failed.
        Raises `LeaseLost`.
        """
        ...

    def leave(self, worker_id: str) -> list[Job]:
        """Give up the seat.  A job that the worker still has is treated as after a lost lease.

        For a worker that ends, and for whoever saw it die: it waits for the storage no longer than
        somebody who has to end can, for the lease ends by itself.  Returns the jobs that were
        moved.
        """
        ...

    def reap(self) -> list[Job]:
        """Move the jobs of workers whose lease ran out; returns them.  `dequeue` does it too."""
        ...

    def cleanup_old_jobs(self, retention: timedelta, *, most: int = 1000) -> int:
        """Remove up to `most` jobs that ended longer than `retention` ago; returns how many."""
        ...

    def close(self) -> None: ...


def create_queue(backend: str = "sqlite", **options: Any) -> QueueManager:
    """Open a queue.

    Args:
        options: sqlite: `path` (Path).  redis: `url`.

    Raises:
        ValueError: Unknown backend.
        Misused: The path or URL cannot be used, or the `redis` extra is not installed.
        QueueUnreachable: Redis did not answer.
    """
    if backend == "sqlite":
        from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue

        return SQLiteQueue(Path(options["path"]))
    if backend == "redis":
        from qbt_rules.queue_backends.redis_queue import RedisQueue

        return RedisQueue(**options)
    raise ValueError(f"unknown queue backend: {backend!r} (sqlite or redis)")


def wait_until_final(queue: QueueManager, job_id: str, timeout_s: float) -> Job:
    """The job once it is over, or as it is after `timeout_s`.  Raises `NoSuchJob`."""
    deadline, pause = time.monotonic() + timeout_s, _FIRST_LOOK_S
    while True:
        job = queue.get_job(job_id)
        if job is None:
            raise no_such_job(job_id)
        left = deadline - time.monotonic()
        if job.status.is_final or left <= 0:
            return job
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _SLOWEST_LOOK_S)


def checked_page(limit: int, offset: int) -> None:
    """Raises `ValueError`."""
    if not 1 <= limit <= MOST_LISTED:
        raise ValueError(f"limit must be 1 to {MOST_LISTED}, not {limit}")
    if offset < 0:
        raise ValueError(f"offset must be 0 or more, not {offset}")


def ended_per_hour(ended: int, oldest: datetime | None, now: datetime) -> float:
    """`ended` of the last 24 h, per hour; a younger queue is measured by its age (1 h or more)."""
    age_h = (now - oldest).total_seconds() / 3600 if oldest else 0.0
    return ended / min(24.0, max(1.0, age_h))


def no_such_job(job_id: str) -> NoSuchJob:
    return NoSuchJob(
        f"Job not found: {job_id}", hint="ended jobs are removed after queue.cleanup_after"
    )


def cannot_cancel(job_id: str, status: JobStatus) -> WrongStatus:
    return WrongStatus(f"Cannot cancel job in status: {status.value}", status=status, detail=job_id)


def lease_lost(job: Job) -> LeaseLost:
    return LeaseLost(
        f"job {job.job_id} is no longer held by this worker",
        detail="its lease ran out; the job is pending again, or another worker has it",
    )


def gave_up(attempts: int) -> str:
    """The error of a job whose workers all went away."""
    return f"given up after {attempts} attempts: each time the worker went away before the end"


def never_ended(interruptions: int) -> str:
    """The error of a job that no stop of the server let come to its end."""
    return (
        f"given up after {interruptions} interruptions: each time the server was stopped before the"
        " job's end; what it did until then is done. Leave the server running for longer, or give"
        " the rule fewer torrents at a time"
    )
