"""The queue in Redis: for several servers and workers, also on several hosts.

What keeps a promise, the lease, is counted on the Redis server's clock; times that are shown are
the callers' own.  A call whose answer was lost is repeated, and every script can be run twice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from qbt_rules.asked import waited_s
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
from qbt_rules.queue_backends import redis_reports as reports
from qbt_rules.queue_backends import redis_scripts as scripts
from qbt_rules.queue_backends.bounds import error_text, result_text, stored_hash
from qbt_rules.queue_backends.redis_bell import RedisBell
from qbt_rules.queue_backends.redis_reports import read_job
from qbt_rules.queue_backends.times import stored
from qbt_rules.queue_manager import (
    CLOCKS_AGREE,
    Bell,
    QueueUnreachable,
    WorkerName,
    cannot_cancel,
    checked_page,
    gave_up,
    lease_lost,
    never_ended,
    no_such_job,
)
from seedkeep import clock
from seedkeep.errors import Misused

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
HEALTH_S = 3.0  # the same, of somebody who only wants to know whether it answers
LEAVE_S = 1.5  # to connect, and for the answer, of somebody who has to end
TRIES = 5  # after the first; 0.1 s to 1 s apart
TRY_FOR_S = 5.0  # no try begins later than that after the first, or after the request
_JOB_ID = re.compile(r"[0-9a-f-]{36}")  # other text may name another key of the queue's
_NO_CHANGES = ("READONLY", "MISCONF", "NOREPLICAS")  # a replica; its disk is full; too few of them

T = TypeVar("T")


class RedisQueue:
    """A `QueueManager`.  Does not connect before it is used."""

    backend = "redis"

    def __init__(
        self,
        url: str,
        *,
        client: redis.Redis | None = None,
        lease_clock_ms: Callable[[], int] | None = None,
    ) -> None:
        """`client`, `lease_clock_ms`: for tests, in place of a connection and the server's TIME."""
        self._redis = client or _client(url, tries=TRIES)
        self._impatient = client or _client(url, tries=0, timeout_s=HEALTH_S)
        self._hasty = client or _client(url, tries=0, timeout_s=LEAVE_S)
        self._lease_clock_ms = lease_clock_ms
        self._claims: dict[str, str] = {}  # by worker: of a call that has no answer yet
        self._scripts = {
            name: self._redis.register_script(scripts.PRELUDE + getattr(scripts, name))
            for name in (
                *("ENQUEUE", "NOTE", "DEQUEUE", "RENEW", "END", "RELEASE"),
                *("END_AND_DEQUEUE", "LEAVE", "REAP", "CANCEL", "CLEAN_UP", "PAGE"),
            )
        }

    # -- for those who want something done

    def enqueue(
        self,
        context: str | None = None,
        torrent_hash: str | None = None,
        *,
        dry_run: bool = False,
        coalesce: bool = True,
    ) -> Job:
        answer = self._enqueue(context, torrent_hash, dry_run, coalesce, ("", "", "", ""))
        return read_job(answer)

    def note_schedule(self, timings: Mapping[str, str], since: datetime) -> None:
        pairs = [text for pair in timings.items() for text in pair]
        self._run("NOTE", stored(since), _impossible(), *pairs)

    def enqueue_scheduled(
        self, slot: ScheduleSlot, context: str | None, torrent_hash: str | None, *, dry_run: bool
    ) -> Job | None:
        claim = (slot.entry, stored(slot.due), _impossible(), "1" if slot.missed else "")
        answer = self._enqueue(context, torrent_hash, dry_run, True, claim)
        return read_job(answer) if answer else None

    def get_job(self, job_id: str) -> Job | None:
        if not _JOB_ID.fullmatch(job_id):
            return None
        with _translated():
            answer: Any = self._redis.hgetall(f"qbt_rules:jobs:{job_id}")
        return reports.job_of(answer) if answer else None

    def list_jobs(
        self,
        status: JobStatus | None = None,
        context: str | None = None,
        *,
        limit: int = 50,
        offset: int = 0,
    ) -> JobPage:
        checked_page(limit, offset)
        sets = [f"qbt_rules:jobs:status:{status.value}"] if status is not None else []
        sets += [f"qbt_rules:jobs:context:{context}"] if context is not None else []
        total, *rows = self._run("PAGE", limit, offset, *sets)
        jobs = tuple(reports.read_listed(row) for row in rows if row[0] is not None)
        return JobPage(jobs, total, limit, offset)

    def cancel_job(self, job_id: str) -> Job:
        if not _JOB_ID.fullmatch(job_id):
            raise no_such_job(job_id)
        before, *job = self._run("CANCEL", job_id, stored(clock.now()))
        if not before:
            raise no_such_job(job_id)
        if not job:
            raise cannot_cancel(job_id, JobStatus(before))
        return read_job(job[0])

    def stats(self) -> Stats:
        with _translated():
            return reports.stats(self._redis)

    def health(self) -> QueueHealth:
        return reports.health(self._impatient, self._lease_clock_ms)

    # -- for workers

    def bell(self) -> Bell:
        return RedisBell(self._redis)

    def dequeue(self, worker: WorkerName, bell: Bell | None = None) -> Job | None:  # noqa: ARG002
        answer = self._run("DEQUEUE", *self._asking(worker))
        self._claims.pop(worker.worker_id, None)
        return read_job(answer) if answer else None

    def renew(self, worker: WorkerName) -> bool:
        lease_ms = int(worker.lease_s * 1000)
        moment = stored(clock.now())
        return bool(self._run("RENEW", worker.worker_id, lease_ms, moment, self._lease_now()))

    def complete(self, job: Job, result: Mapping[str, Any]) -> Job:
        return self._end(job, JobStatus.COMPLETED, "result", result_text(result))

    def complete_and_dequeue(
        self,
        job: Job,
        result: Mapping[str, Any],
        worker: WorkerName,
        bell: Bell | None = None,  # noqa: ARG002
    ) -> tuple[Job, Job | None]:
        end = _ending(job, JobStatus.COMPLETED, "result", result_text(result))
        done, following = self._run("END_AND_DEQUEUE", *end, *self._asking(worker))
        self._claims.pop(worker.worker_id, None)
        if not done:
            raise lease_lost(job)
        return read_job(done), read_job(following) if following else None

    def fail(self, job: Job, error: str) -> Job:
        return self._end(job, JobStatus.FAILED, "error", error_text(error))

    def release(self, job: Job, *, interrupted: bool = False) -> Job:
        mine = (job.job_id, job.worker or "", job.attempts)
        most = MOST_INTERRUPTIONS if interrupted else ""
        answer = self._run("RELEASE", *mine, *_moment(), most, never_ended(MOST_INTERRUPTIONS))
        if not answer:
            raise lease_lost(job)
        return read_job(answer)

    def leave(self, worker_id: str) -> list[Job]:
        arguments: list[Any] = [worker_id, *_moment(), MOST_ATTEMPTS, gave_up(MOST_ATTEMPTS)]
        with _translated():
            rows: Any = self._scripts["LEAVE"](args=arguments, client=self._hasty)
        return [read_job(row) for row in rows]

    def reap(self) -> list[Job]:
        limits = (MOST_ATTEMPTS, gave_up(MOST_ATTEMPTS))
        return [read_job(row) for row in self._run("REAP", *_moment(), *limits, self._lease_now())]

    def cleanup_old_jobs(self, retention: timedelta, *, most: int = 1000) -> int:
        before = clock.now() - retention
        return int(self._run("CLEAN_UP", _score(before), stored(before), most))

    def close(self) -> None:
        self._redis.close()
        self._impatient.close()
        self._hasty.close()

    def _enqueue(
        self,
        context: str | None,
        torrent_hash: str | None,
        dry_run: bool,
        coalesce: bool,
        claim: tuple[str, str, str, str],
    ) -> Any:
        return self._run(
            "ENQUEUE",
            *(str(uuid.uuid4()), context or "", stored_hash(torrent_hash) or "", int(dry_run)),
            *(*_moment(), int(coalesce), *claim),
        )

    def _end(self, job: Job, to: JobStatus, field: str, text: str) -> Job:
        answer = self._run("END", *_ending(job, to, field, text))
        if not answer:
            raise lease_lost(job)
        return read_job(answer)

    def _asking(self, worker: WorkerName) -> tuple[Any, ...]:
        return (
            *(worker.worker_id, worker.host, worker.pid, int(worker.lease_s * 1000)),
            *(*_moment(), self._claims.setdefault(worker.worker_id, uuid.uuid4().hex)),
            self._lease_now(),
            *(MOST_ATTEMPTS, gave_up(MOST_ATTEMPTS)),
        )

    def _lease_now(self) -> int | str:
        return self._lease_clock_ms() if self._lease_clock_ms else ""

    def _run(self, script: str, *arguments: Any) -> Any:
        with _translated():
            return self._scripts[script](args=list(arguments))


class _Tries(Retry):
    """Tries again, but not for ever: the library tries in three places, one inside the other.

    With a Redis that takes connections and stands still, each call would else take minutes.
    """

    def __init__(self, tries: int) -> None:
        super().__init__(ExponentialBackoff(cap=1.0, base=0.05), tries)

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        until = clock.monotonic() + TRY_FOR_S - waited_s()

        def failed(error: Exception, *count: int) -> None:
            fail(error, *count)
            if clock.monotonic() >= until:
                raise error

        return super().call_with_retry(do, failed, is_retryable, with_failure_count)


def _client(url: str, *, tries: int, timeout_s: float = ANSWER_TIMEOUT_S) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            decode_responses=True,
            socket_connect_timeout=min(CONNECT_TIMEOUT_S, timeout_s),
            socket_timeout=timeout_s,
            health_check_interval=30,
            retry=_Tries(tries),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
        )
    except ValueError as why:
        raise Misused(
            "queue.redis_url cannot be used",
            detail=str(why),
            hint="write redis://host:6379/0, rediss:// for TLS, or unix:///path",
        ) from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as why:
        raise unreachable(why) from why


def unreachable(why: redis.RedisError) -> QueueUnreachable:
    """The error that a person reads.  redis-py's texts name host and port, never the password."""
    # Redis cuts off a long command before it asks for the password, with words of its own.
    if isinstance(why, redis.AuthenticationError) or "unauthenticated" in str(why):
        brief, hint = "Redis refuses the login", "check the password in queue.redis_url"
    elif isinstance(why, redis.ConnectionError | redis.TimeoutError):
        brief, hint = "Redis does not answer", "check queue.redis_url, and whether Redis runs"
    else:
        brief, hint = "Redis cannot do what the queue needs", "Redis 7.0 or newer is needed"
        if isinstance(why, redis.OutOfMemoryError):
            hint = "its memory is full: raise its maxmemory, or shorten queue.cleanup_after"
        elif isinstance(why, redis.ReadOnlyError) or str(why).startswith(_NO_CHANGES):
            hint = "it does not accept changes now; its log says more"
    return QueueUnreachable(brief, detail=str(why), hint=hint)


def _ending(job: Job, to: JobStatus, field: str, text: str) -> tuple[Any, ...]:
    mine = (job.job_id, job.worker or "", job.attempts)
    return (*mine, to.value, *_moment(), field, text)


def _moment() -> tuple[str, str]:
    now = clock.now()
    return stored(now), _score(now)


def _score(moment: datetime) -> str:
    return f"{moment.timestamp():.6f}"


def _impossible() -> str:
    """What is later was claimed while the clock was wrong; else an entry would rest until then."""
    return stored(clock.now() + CLOCKS_AGREE)
