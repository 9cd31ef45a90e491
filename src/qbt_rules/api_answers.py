"""Values as the API's bodies; the keys are those of `api_models`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qbt_rules.model import Job, JobPage, JobStatus, QueueHealth, Stats
from seedkeep.clock import iso


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def queued(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "context": job.context,
        "hash": job.torrent_hash,
        "queued_at": iso(job.created_at),
        "dry_run": job.dry_run,
    }


def summary(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "context": job.context,
        "hash": job.torrent_hash,
        "created_at": iso(job.created_at),
        "started_at": _iso(job.started_at),
        "completed_at": _iso(job.completed_at),
        "error": job.error,
        "dry_run": job.dry_run,
    }


def detail(job: Job) -> dict[str, Any]:
    return summary(job) | {
        "result": None if job.result is None else dict(job.result),
        "attempts": job.attempts,
        "interruptions": job.interruptions,
        "requests": job.requests,
    }


def page(jobs: JobPage) -> dict[str, Any]:
    return {
        "total": jobs.total,
        "limit": jobs.limit,
        "offset": jobs.offset,
        "jobs": [summary(job) for job in jobs.jobs],
    }


def queue_state(health: QueueHealth) -> dict[str, Any]:
    return {
        "backend": health.backend,
        "pending_jobs": health.pending,
        "processing_jobs": health.processing,
    }


def stats(now: Stats, backend: str, uptime_s: float) -> dict[str, Any]:
    average = now.average_execution_s
    return {
        "jobs": {"total": now.total} | {s.value: now.counts[s] for s in JobStatus},
        "performance": {
            "average_execution_time": None if average is None else f"{average:.1f}s",
            "average_execution_seconds": average,
            "jobs_per_hour": round(now.jobs_per_hour, 2),
        },
        "queue": {"backend": backend, "depth": now.depth},
        "uptime": uptime(uptime_s),
        "uptime_seconds": int(uptime_s),
    }


def uptime(seconds: float) -> str:
    """ "5d 12h 30m"; below a minute "0m"."""
    minutes = int(seconds // 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [f"{days}d"] if days else []
    parts += [f"{hours}h"] if hours or days else []
    return " ".join([*parts, f"{minutes % 60}m"])
