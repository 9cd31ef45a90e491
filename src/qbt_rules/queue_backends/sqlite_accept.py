"""Accepting jobs: a few statements for as many as ask at the same moment.

The interpreter is free for other threads during each statement, and has to be waited for after it,
so that their number decides how long the write lock is held.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass

from qbt_rules.model import Job, JobStatus
from qbt_rules.queue_backends.sqlite_reports import read_job
from qbt_rules.queue_backends.times import stored
from seedkeep import clock
from seedkeep.sqlite import Database


@dataclass(frozen=True)
class Wanted:
    """A job that somebody asks for."""

    context: str | None
    torrent_hash: str | None
    dry_run: bool
    coalesce: bool  # a pending one that is the same will do

    def what(self) -> tuple[str | None, str | None, int]:
        return self.context, self.torrent_hash, int(self.dry_run)


def accept(db: Database, asked: list[Wanted]) -> list[tuple[Job, str | None]]:
    """A job for each that asked, and the bell to ring.  A few statements, however many ask."""
    joining = Counter(wanted.what() for wanted in asked if wanted.coalesce)
    pending = _join(db, joining) if joining else {}
    jobs = []
    new: list[Job] = []
    for wanted in asked:
        what = wanted.what()
        job = pending.get(what) if wanted.coalesce else None
        if job is None:
            job = _new_job(wanted, joining[what] if wanted.coalesce else 1)
            new.append(job)
            if wanted.coalesce:
                pending[what] = job
        jobs.append(job)
    if new:
        _insert(db, new)
    bell = _bell_to_ring(db, len(new))
    return [(job, bell) for job in jobs]


def _join(
    db: Database, joining: Counter[tuple[str | None, str | None, int]]
) -> dict[tuple[str | None, str | None, int], Job]:
    """Add the requests to pending jobs that are the same; these jobs."""
    rows = db.all(
        """
        UPDATE jobs SET requests = requests + found.more FROM (
            SELECT value->>3 AS more, (
                SELECT id FROM jobs WHERE status = 'pending' AND context IS value->>0
                   AND hash IS value->>1 AND dry_run = value->>2 LIMIT 1) AS id
              FROM json_each(?)) AS found
         WHERE jobs.id = found.id RETURNING *
        """,
        (json.dumps([[*what, more] for what, more in joining.items()]),),
    )
    jobs = [read_job(row) for row in rows]
    return {(job.context, job.torrent_hash, int(job.dry_run)): job for job in jobs}


def _new_job(wanted: Wanted, requests: int) -> Job:
    return Job(
        job_id=str(uuid.uuid4()),
        status=JobStatus.PENDING,
        context=wanted.context,
        torrent_hash=wanted.torrent_hash,
        dry_run=wanted.dry_run,
        created_at=clock.now(),
        requests=requests,
    )


def _insert(db: Database, new: list[Job]) -> None:
    rows = json.dumps(
        [
            [j.job_id, j.context, j.torrent_hash, int(j.dry_run), stored(j.created_at), j.requests]
            for j in new
        ]
    )
    db.execute(
        """
        INSERT INTO jobs (id, context, hash, dry_run, status, created_at, requests)
        SELECT value->>0, value->>1, value->>2, value->>3, 'pending', value->>4, value->>5
          FROM json_each(?) ORDER BY key
        """,
        (rows,),
    )
    db.execute(
        "INSERT INTO queue (job_id) SELECT value->>0 FROM json_each(?) ORDER BY key", (rows,)
    )


def _bell_to_ring(db: Database, new: int) -> str | None:
    """The worker's, if it may be at rest: nothing waited before these new jobs."""
    row = db.one(
        "SELECT bell FROM worker WHERE (SELECT count(*) FROM (SELECT 1 FROM queue LIMIT ?)) <= ?",
        (new + 1, new),
    )
    return row["bell"] if row and new else None
