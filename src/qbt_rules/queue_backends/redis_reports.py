"""Reading the queue's keys: jobs, numbers, health.  Changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import redis

from qbt_rules.model import Job, JobStatus, QueueHealth, Stats, WorkerSeat
from qbt_rules.queue_backends.redis_scripts import FIELDS
from qbt_rules.queue_backends.times import read, read_required
from qbt_rules.queue_manager import AVERAGED, ended_per_hour
from seedkeep import clock

log = logging.getLogger(__name__)

JOBS = "qbt_rules:jobs:"
PENDING = "qbt_rules:queue:pending"
BY_TIME, BY_END = f"{JOBS}by_time", f"{JOBS}by_end"


def read_job(text: str) -> Job:
    """A job from a script's answer: JSON of field, value, field, value…"""
    flat = json.loads(text)
    return job_of(dict(zip(flat[::2], flat[1::2], strict=True)))


def read_listed(values: Sequence[str | None]) -> Job:
    return job_of({name: v for name, v in zip(FIELDS, values, strict=True) if v is not None})


def job_of(fields: Mapping[str, str]) -> Job:
    return Job(
        job_id=fields["id"],
        status=JobStatus(fields["status"]),
        context=fields.get("context"),
        torrent_hash=fields.get("hash"),
        dry_run=fields.get("dry_run") == "1",
        created_at=read_required(fields["created_at"]),
        started_at=read(fields.get("started_at")),
        completed_at=read(fields.get("completed_at")),
        result=json.loads(fields["result"]) if "result" in fields else None,
        error=fields.get("error"),
        attempts=int(fields.get("attempts", 0)),
        interruptions=int(fields.get("interruptions", 0)),
        requests=int(fields.get("requests", 1)),
        worker=fields.get("worker"),
    )


def stats(client: redis.Redis) -> Stats:
    now = clock.now()
    since = (now - timedelta(hours=24)).timestamp()
    with client.pipeline(transaction=True) as pipe:
        for status in JobStatus:
            pipe.scard(f"{JOBS}status:{status.value}")
        pipe.zcount(BY_END, since, "+inf")
        pipe.zrange(BY_END, "+inf", since, desc=True, byscore=True, offset=0, num=AVERAGED)
        pipe.zrange(BY_TIME, 0, 0)
        pipe.lindex(PENDING, 0)
        *counts, ended, newest, first, waiting = pipe.execute()
    times = _times(client, [*newest, *first, *([waiting] if waiting else [])])
    spans = [
        max(0.0, (ended_at - started_at).total_seconds())
        for _, started_at, ended_at in (times[job_id] for job_id in newest)
        if started_at and ended_at
    ]
    return Stats(
        counts=dict(zip(JobStatus, counts, strict=True)),
        average_execution_s=sum(spans) / len(spans) if spans else None,
        jobs_per_hour=ended_per_hour(ended, times[first[0]][0] if first else None, now),
        last_completed_at=_last_end(client),
        oldest_pending_at=times[waiting][0] if waiting else None,
    )


def health(client: redis.Redis, lease_clock_ms: Callable[[], int] | None) -> QueueHealth:
    try:
        with client.pipeline(transaction=True) as pipe:
            pipe.llen(PENDING)
            pipe.scard(f"{JOBS}status:{JobStatus.PROCESSING.value}")
            pipe.hgetall("qbt_rules:worker")
            pipe.time()
            pending, processing, seat, time = pipe.execute()
        now_ms = lease_clock_ms() if lease_clock_ms else time[0] * 1000 + time[1] // 1000
        return QueueHealth(
            backend="redis",
            pending=pending,
            processing=processing,
            worker=_seat(seat, now_ms),
            last_completed_at=_last_end(client),
            warnings=_warnings(client),
        )
    except redis.RedisError as why:
        log.warning("Redis: %s", why)
        return QueueHealth(
            backend="redis",
            pending=0,
            processing=0,
            worker=None,
            last_completed_at=None,
            problems=("Redis does not answer",),  # anybody may see this
        )


def _times(client: redis.Redis, ids: Sequence[str]) -> dict[str, tuple[Any, Any, Any]]:
    """created_at, started_at and completed_at of jobs; None where they are not there."""
    with client.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.hmget(f"{JOBS}{job_id}", ["created_at", "started_at", "completed_at"])
        rows = pipe.execute() if ids else []
    return {
        job_id: (read(row[0]), read(row[1]), read(row[2]))
        for job_id, row in zip(ids, rows, strict=True)
    }


def _last_end(client: redis.Redis) -> Any:
    newest: Any = client.zrange(BY_END, 0, 0, desc=True, withscores=True)
    return clock.from_unix(newest[0][1]) if newest else None


def _seat(seat: Mapping[str, str], now_ms: int) -> WorkerSeat | None:
    if "id" not in seat:
        return None
    return WorkerSeat(
        worker_id=seat["id"],
        host=seat["host"],
        pid=int(seat["pid"]),
        since=read_required(seat["since"]),
        seen_at=read_required(seat["seen_at"]),
        alive=int(seat["lease_until"]) > now_ms,
    )


def _warnings(client: redis.Redis) -> tuple[str, ...]:
    try:
        persistence: Any = client.info("persistence")
        memory: Any = client.info("memory")
    except redis.ResponseError:  # a hosted Redis may not tell
        return ()
    found = []
    if not persistence.get("aof_enabled"):
        found.append("Redis keeps no append-only file: jobs may be lost when it restarts")
    if memory.get("maxmemory") and str(memory.get("maxmemory_policy", "")).startswith("allkeys"):
        found.append("Redis may throw jobs away: its maxmemory-policy should be noeviction")
    return tuple(found)
