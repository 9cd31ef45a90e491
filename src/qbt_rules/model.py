"""Jobs as every part of the server sees them: frozen values, no storage, no HTTP."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MOST_ATTEMPTS = 3  # a job whose worker was lost this often is not tried again
MOST_INTERRUPTIONS = 10  # a job that was under way at so many stops of its server is not begun anew
MOST_LISTED = 100  # jobs in one page
LONGEST_CONTEXT = 100  # characters
CONTEXT = re.compile(rf"[^\x00-\x1f\x7f]{{1,{LONGEST_CONTEXT}}}")
TORRENT_HASH = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


class JobStatus(enum.StrEnum):
    """pending → processing → completed | failed; pending → cancelled.

    A processing job whose worker went away is pending again, up to `MOST_ATTEMPTS` times; one whose
    worker was told to end, up to `MOST_INTERRUPTIONS` times.
    """

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing happens to the job any more."""
        return self not in (JobStatus.PENDING, JobStatus.PROCESSING)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of the rules: asked for, under way, or over."""

    job_id: str  # UUID
    status: JobStatus
    context: str | None  # None: only rules without a context run
    torrent_hash: str | None  # lower case; None: all torrents
    dry_run: bool
    created_at: datetime
    started_at: datetime | None = None  # of the newest attempt
    completed_at: datetime | None = None  # completed, failed or cancelled
    result: Mapping[str, Any] | None = None  # what the engine counted; only when completed
    error: str | None = None  # one message for people; only when failed
    attempts: int = 0  # times that a worker took it, without those that `interruptions` counts
    interruptions: int = 0  # times that it was under way when its worker was told to end
    requests: int = 1  # callers that got this job; more than 1: later ones joined it
    worker: str | None = None  # who has it, or had it last

    @property
    def execution_s(self) -> float | None:
        """Seconds between start and end; None while there is no end, or was no start."""
        if self.started_at is None or self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class JobPage:
    """One page of jobs, the newest first."""

    jobs: tuple[Job, ...]
    total: int  # that fit the filters, on all pages
    limit: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What the queue holds now.  Jobs beyond the retention are in no number."""

    counts: Mapping[JobStatus, int]  # every status is there
    average_execution_s: float | None  # completed and failed in the last 24 h; None: there are none
    jobs_per_hour: float  # ended in the last 24 h, or since the oldest kept job if that is shorter
    last_completed_at: datetime | None  # newest end of a completed or failed job
    oldest_pending_at: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def depth(self) -> int:
        """Jobs that are still to be worked on."""
        return self.counts[JobStatus.PENDING] + self.counts[JobStatus.PROCESSING]


@dataclass(frozen=True, kw_only=True)
class WorkerSeat:
    """The one worker that may run jobs, over all processes and hosts."""

    worker_id: str
    host: str
    pid: int
    since: datetime
    seen_at: datetime  # last sign of life
    alive: bool  # its lease holds


@dataclass(frozen=True, kw_only=True)
class QueueHealth:
    """`problems` empty: the queue takes and hands out jobs."""

    backend: str  # "sqlite" or "redis"
    pending: int
    processing: int
    worker: WorkerSeat | None  # None: nobody has taken the seat
    last_completed_at: datetime | None
    problems: tuple[str, ...] = ()  # sentences for people: "Redis does not answer"
    warnings: tuple[str, ...] = ()  # works, but: "Redis keeps no append-only file"


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What an engine did.  `as_json` is what the job keeps."""

    torrents_processed: int = 0
    rules_matched: int = 0  # pairs of rule and torrent
    actions_executed: int = 0  # in a dry run: that would have been
    actions_skipped: int = 0  # their effect was there already
    details: Mapping[str, Any] = field(default_factory=dict)  # more keys for the result

    def as_json(self) -> dict[str, Any]:
        return {
            "torrents_processed": self.torrents_processed,
            "rules_matched": self.rules_matched,
            "actions_executed": self.actions_executed,
            "actions_skipped": self.actions_skipped,
            **self.details,
        }


@dataclass(frozen=True, kw_only=True)
class ScheduleSlot:
    """One due moment of one schedule entry: enqueued once, whoever sees it first."""

    entry: str  # the entry's name
    due: datetime
    missed: bool = False  # it had passed when the server started; an entry nobody knew missed none
