"""The worker runs jobs one by one, survives what they do, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from unittest import mock

import pytest
from tests.support.engines import RESULT, LongJob, ScriptedEngine, forked
from tests.support.qbt import wait_for
from tests.support.queues import worker as named

from qbt_rules.engine import JobStopped
from qbt_rules.model import Job, JobResult, JobStatus
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.queue_manager import QueueUnreachable, wait_until_final
from qbt_rules.scheduler import Scheduler, parse_schedule
from qbt_rules.worker import Worker, WorkerOptions, run_worker, worker_child
from seedkeep import clock
from seedkeep.errors import SeedError, Unreachable

WAIT_S = 60.0  # longer than any machine needs; nothing waits so long when all is well


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[SQLiteQueue]:
    opened = SQLiteQueue(tmp_path / "queue.db")
    yield opened
    opened.close()


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def final(queue: SQLiteQueue, job: Job) -> Job:
    return wait_until_final(queue, job.job_id, WAIT_S)


def raising(error: Exception) -> Callable[[Job], JobResult]:
    def script(_job: Job) -> JobResult:
        raise error

    return script


def test_a_job_runs_and_keeps_what_the_engine_counted(queue: SQLiteQueue) -> None:
    engine = ScriptedEngine()
    with running(Worker(queue, engine)):
        done = final(queue, queue.enqueue("on_added", "ab" * 20, dry_run=True))
    assert done.status is JobStatus.COMPLETED
    assert done.result == RESULT.as_json()
    (seen,) = engine.seen
    assert (seen.context, seen.torrent_hash, seen.dry_run) == ("on_added", "ab" * 20, True)


def test_a_job_that_fails_says_why_and_the_next_one_runs(
    queue: SQLiteQueue, caplog: pytest.LogCaptureFixture
) -> None:
    errors = {
        "away": Unreachable("qBittorrent does not answer", hint="is it running?"),
        "bug": KeyError("size"),
    }
    engine = ScriptedEngine(lambda job: raising(errors[job.context or ""])(job))
    with running(Worker(queue, engine)):
        away, bug = (final(queue, queue.enqueue(context)) for context in errors)
    assert away.status is bug.status is JobStatus.FAILED
    assert away.error == "qBittorrent does not answer\nhint: is it running?"
    assert bug.error is not None
    assert bug.error.startswith("this is a bug: KeyError: 'size' (trace id ")
    assert "Traceback" not in bug.error
    trace_id = bug.error.split("trace id ")[1].split()[0]
    (record,) = [record for record in caplog.records if trace_id in record.getMessage()]
    assert record.exc_info is not None


def test_a_job_that_stopped_itself_runs_again(queue: SQLiteQueue) -> None:
    tries: list[int] = []

    def script(job: Job) -> JobResult:
        tries.append(job.attempts)
        if len(tries) == 1:
            raise JobStopped
        return RESULT

    with running(Worker(queue, ScriptedEngine(script))):
        done = final(queue, queue.enqueue("a"))
    assert (done.status, tries) == (JobStatus.COMPLETED, [1, 1])
    assert (done.attempts, done.interruptions) == (1, 1)


def test_a_worker_that_is_stopped_ends_its_job_and_takes_no_other(queue: SQLiteQueue) -> None:
    engine = LongJob()
    first, second = queue.enqueue("a"), queue.enqueue("b")
    with running(Worker(queue, engine)) as worker:
        assert engine.begun.wait(WAIT_S)
        worker.stop()
        engine.finish.set()
    done, waiting = queue.get_job(first.job_id), queue.get_job(second.job_id)
    assert done is not None
    assert waiting is not None
    assert (done.status, waiting.status) == (JobStatus.COMPLETED, JobStatus.PENDING)
    assert queue.health().worker is None


def test_a_job_that_came_with_the_end_of_another_goes_back_when_the_worker_ends(
    queue: SQLiteQueue,
) -> None:
    """SIGTERM arrives while the queue is told of the end and hands out the next job."""
    first, second = queue.enqueue("a"), queue.enqueue("b")

    class Stopping(Failing):
        def complete_and_dequeue(self, *arguments: object) -> object:
            both = queue.complete_and_dequeue(*arguments)  # type: ignore[arg-type]
            worker.stop()
            return both

        def release(self, job: Job, *, interrupted: bool = False) -> Job:
            if self.failures.pop("release", 0):
                raise QueueUnreachable("Redis does not answer")
            return queue.release(job, interrupted=interrupted)

    for failures in ({}, {"release": 1}):
        engine = ScriptedEngine()
        worker = Worker(Stopping(queue, **failures), engine)  # type: ignore[arg-type]
        worker.run()
        assert len(engine.seen) == 1
        jobs = [queue.get_job(job.job_id) for job in (first, second)]
        assert [job.status for job in jobs if job] == [JobStatus.COMPLETED, JobStatus.PENDING]
        first, second = second, queue.enqueue("c")


def test_a_long_job_goes_back_to_the_queue_when_the_worker_must_end(queue: SQLiteQueue) -> None:
    engine = LongJob()
    asked = queue.enqueue("a")
    with running(Worker(queue, engine, WorkerOptions(grace_s=0.05))) as worker:
        assert engine.begun.wait(WAIT_S)
        assert not engine.stopped.is_set()
        worker.stop()
    back = queue.get_job(asked.job_id)
    assert back is not None
    assert (back.status, back.attempts) == (JobStatus.PENDING, 0)


def test_a_job_is_stopped_when_its_lease_was_lost(
    queue: SQLiteQueue, caplog: pytest.LogCaptureFixture
) -> None:
    engine = LongJob()
    asked = queue.enqueue("a")
    with running(Worker(queue, engine, WorkerOptions(lease_s=3.0))) as worker:
        assert engine.begun.wait(WAIT_S)
        queue.leave(worker.name.worker_id)  # as another worker would take over
        assert queue.dequeue(named("another", lease_s=600)) is not None
        assert engine.stopped.wait(WAIT_S)
        now = queue.get_job(asked.job_id)
        assert now is not None
        assert (now.status, now.worker) == (JobStatus.PROCESSING, "another")
    assert "not recorded" in caplog.text


def test_what_a_late_worker_did_is_not_recorded(queue: SQLiteQueue) -> None:
    engine = LongJob(stubborn=True)
    asked = queue.enqueue("a")
    with running(Worker(queue, engine)) as worker:
        assert engine.begun.wait(WAIT_S)
        queue.leave(worker.name.worker_id)
        other = queue.dequeue(named("another", lease_s=600))
        assert other is not None
        engine.finish.set()
        worker.stop()
    assert queue.get_job(asked.job_id) == other


def test_the_lease_is_renewed_while_a_job_runs(queue: SQLiteQueue) -> None:
    engine = LongJob(stubborn=True)
    queue.enqueue("a")
    with running(Worker(queue, engine, WorkerOptions(lease_s=1.0))):
        assert engine.begun.wait(WAIT_S)
        seat = queue.health().worker
        assert seat is not None

        def renewed() -> bool:
            later = queue.health().worker
            return later is not None and later.seen_at > seat.seen_at + timedelta(seconds=1)

        wait_for(renewed, "the lease to be renewed", timeout_s=WAIT_S)
        engine.finish.set()


def test_two_workers_run_one_job_at_a_time(tmp_path: Path, queue: SQLiteQueue) -> None:
    at_once = threading.Lock()

    def alone(_job: Job) -> JobResult:
        assert at_once.acquire(blocking=False)
        time.sleep(0.001)
        at_once.release()
        return RESULT

    other = SQLiteQueue(tmp_path / "queue.db")
    engines = ScriptedEngine(alone), ScriptedEngine(alone)
    with running(Worker(queue, engines[0])), running(Worker(other, engines[1])):
        jobs = [queue.enqueue(f"c{n}") for n in range(50)]
        assert {final(queue, job).status for job in jobs} == {JobStatus.COMPLETED}
    assert sorted(len(engine.seen) for engine in engines) == [0, 50]
    other.close()


def test_a_worker_takes_over_when_the_active_one_ends(tmp_path: Path, queue: SQLiteQueue) -> None:
    other = SQLiteQueue(tmp_path / "queue.db")
    first, second = ScriptedEngine(), ScriptedEngine()
    with running(Worker(other, second)):
        with running(Worker(queue, first)):
            final(queue, queue.enqueue("a"))
        active = final(queue, queue.enqueue("b"))
    assert active.status is JobStatus.COMPLETED
    assert len(second.seen) in (1, 2)  # whoever came first had the first job
    other.close()


class Failing:
    """A queue whose methods fail a number of times before they work."""

    def __init__(self, queue: SQLiteQueue, **failures: int) -> None:
        self._queue, self.failures = queue, failures

    def __getattr__(self, name: str) -> object:
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise QueueUnreachable("Redis does not answer")
        return getattr(self._queue, name)


def test_a_worker_outlives_a_queue_that_is_away_for_a_while(queue: SQLiteQueue) -> None:
    failing = Failing(queue, dequeue=2, complete_and_dequeue=2, renew=1, cleanup_old_jobs=1)
    engine = ScriptedEngine()
    with running(Worker(failing, engine)):  # type: ignore[arg-type]
        done = final(queue, queue.enqueue("a"))
    assert done.status is JobStatus.COMPLETED
    assert len(engine.seen) == 1
    assert not any(failing.failures.values())


def test_a_worker_ends_although_the_queue_is_away(queue: SQLiteQueue) -> None:
    asked = queue.enqueue("a")
    failing = Failing(queue, complete_and_dequeue=10**9, leave=1)
    engine = ScriptedEngine()
    worker = Worker(failing, engine, WorkerOptions(grace_s=0.05))  # type: ignore[arg-type]
    with running(worker):
        wait_for(lambda: bool(engine.seen), "the job to run", timeout_s=WAIT_S)
    left = queue.get_job(asked.job_id)
    assert left is not None
    assert left.status is JobStatus.PROCESSING
    (back,) = queue.leave(worker.name.worker_id)
    assert back.status is JobStatus.PENDING


def test_a_job_stops_when_nobody_can_say_whether_the_lease_holds(queue: SQLiteQueue) -> None:
    queue.enqueue("a")
    failing = Failing(queue, renew=10**9)
    engine = LongJob()
    worker = Worker(failing, engine, WorkerOptions(lease_s=0.3))  # type: ignore[arg-type]
    with running(worker):
        assert engine.stopped.wait(WAIT_S)
        engine.finish.set()


def test_old_jobs_are_removed_by_the_worker(queue: SQLiteQueue) -> None:
    old = queue.cancel_job(queue.enqueue("a").job_id)
    options = WorkerOptions(
        retention=timedelta(0), cleanup_every=timedelta(milliseconds=10), lease_s=0.1
    )
    with running(Worker(queue, ScriptedEngine(), options)):
        wait_for(lambda: queue.get_job(old.job_id) is None, "the removal", timeout_s=WAIT_S)


def test_the_schedule_enqueues_while_a_job_runs(queue: SQLiteQueue) -> None:
    engine = LongJob()
    (entry,) = parse_schedule([{"every": "10s", "context": "scheduled"}])
    options = WorkerOptions(schedule=(replace(entry, every=timedelta(milliseconds=50)),))
    queue.enqueue("long")
    with running(Worker(queue, engine, options)):
        assert engine.begun.wait(WAIT_S)
        wait_for(lambda: queue.list_jobs(context="scheduled").total > 0, "a job", timeout_s=WAIT_S)
        assert not engine.stopped.is_set()
        engine.finish.set()


def test_a_worker_makes_up_for_a_moment_that_fell_into_its_restart(queue: SQLiteQueue) -> None:
    now = clock.now()
    at = (now - timedelta(minutes=3)).astimezone(UTC)
    cron = f"{at.minute} {at.hour} {at.day} {at.month} *"  # once a year
    schedule = parse_schedule([{"cron": cron, "context": "nightly"}])
    with mock.patch.dict(os.environ, TZ="UTC"):
        Scheduler(schedule, now - timedelta(hours=1)).tick(queue, now - timedelta(hours=1))
        with running(Worker(queue, ScriptedEngine(), WorkerOptions(schedule=schedule))):
            wait_for(lambda: queue.stats().counts[JobStatus.COMPLETED] == 1, "the job", WAIT_S)
        assert Scheduler(schedule, clock.now()).tick(queue, clock.now()) == 0


def test_a_lease_is_renewed_soon_after_the_queue_was_away_for_a_moment(queue: SQLiteQueue) -> None:
    """The next regular renewals would come 10 s and 20 s later, the end of the lease after 30."""
    failing = Failing(queue, renew=3)
    with running(Worker(failing, ScriptedEngine())):  # type: ignore[arg-type]
        wait_for(lambda: not failing.failures["renew"], "the renewals", timeout_s=9)


# -- as a process


def test_sigterm_ends_the_process_with_the_job_back_in_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    queue = SQLiteQueue(path)
    asked = queue.enqueue("a")
    options = WorkerOptions(grace_s=0.2)
    child = forked(lambda: run_worker(lambda: SQLiteQueue(path), LongJob, options, "child"))
    wait_for(lambda: queue.health().processing == 1, "the job to start", timeout_s=WAIT_S)
    os.kill(child, signal.SIGHUP)  # after it a SIGTERM still counts
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    back = queue.get_job(asked.job_id)
    assert back is not None
    assert (back.status, back.attempts) == (JobStatus.PENDING, 0)
    queue.close()


def test_sighup_ends_the_process_after_its_job(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    queue = SQLiteQueue(path)
    first, second = queue.enqueue("a"), queue.enqueue("b")

    def script(_job: Job) -> JobResult:
        wait_for((tmp_path / "go on").exists, "the test", timeout_s=WAIT_S)
        return RESULT

    options = WorkerOptions(grace_s=0.0)
    child = forked(
        lambda: run_worker(lambda: SQLiteQueue(path), lambda: ScriptedEngine(script), options, "x")
    )
    wait_for(lambda: queue.health().processing == 1, "the job to start", timeout_s=WAIT_S)
    os.kill(child, signal.SIGHUP)
    (tmp_path / "go on").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ended, waits = (queue.get_job(job.job_id) for job in (first, second))
    assert ended is not None
    assert waits is not None
    assert (ended.status, waits.status) == (JobStatus.COMPLETED, JobStatus.PENDING)
    queue.close()


def test_an_orphaned_worker_ends_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    queue = SQLiteQueue(path)

    def parent() -> int:
        forked(lambda: run_worker(lambda: SQLiteQueue(path), ScriptedEngine, WorkerOptions(), "x"))
        wait_for(lambda: queue.health().worker is not None, "the worker", timeout_s=WAIT_S)
        return 0

    _, status = os.waitpid(forked(parent), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    wait_for(lambda: queue.health().worker is None, "the seat to be free", timeout_s=WAIT_S)
    queue.close()


def test_the_job_of_a_killed_worker_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    queue = SQLiteQueue(path)
    asked = queue.enqueue("a")
    child = worker_child(lambda: SQLiteQueue(path), LongJob, WorkerOptions)
    name = child.incarnation()
    assert child.incarnation() != name
    pid = forked(lambda: child.run(name))
    wait_for(lambda: queue.health().processing == 1, "the job to start", timeout_s=WAIT_S)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    child.gone(name)
    back = queue.get_job(asked.job_id)
    assert back is not None
    assert (back.status, back.attempts) == (JobStatus.PENDING, 1)
    queue.close()


def test_a_dead_worker_is_no_bug_while_the_queue_is_away(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> SQLiteQueue:
        raise QueueUnreachable("Redis does not answer")

    child = worker_child(away, LongJob, WorkerOptions)
    child.gone("one")
    assert "its job is free when the lease ends: Redis does not answer" in caplog.text
    assert "Traceback" not in caplog.text


def test_an_error_of_ours_is_told_without_a_traceback(
    queue: SQLiteQueue, caplog: pytest.LogCaptureFixture
) -> None:
    with running(Worker(queue, ScriptedEngine(raising(SeedError("no"))))):
        assert final(queue, queue.enqueue("a")).error == "no"
    assert not [record for record in caplog.records if record.exc_info]


def ended(child: int) -> bool:
    pid, status = os.waitpid(child, os.WNOHANG)
    assert not pid or os.waitstatus_to_exitcode(status) == 0
    return pid == child


def test_a_job_that_hears_nothing_is_broken_off_in_time(tmp_path: Path) -> None:
    """It copies, or it reads, or it waits for somebody who does not answer."""
    path = tmp_path / "queue.db"
    queue = SQLiteQueue(path)
    asked = queue.enqueue("a")
    options = WorkerOptions(grace_s=0.2)
    child = forked(
        lambda: run_worker(lambda: SQLiteQueue(path), lambda: LongJob(stubborn=True), options, "x")
    )
    gone = False
    try:
        wait_for(lambda: queue.health().processing == 1, "the job to start", timeout_s=WAIT_S)
        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGTERM)  # somebody is impatient: that makes nothing later
        wait_for(lambda: ended(child), "the worker to end", timeout_s=20)
        gone = True
    finally:
        if not gone:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    back = queue.get_job(asked.job_id)
    assert back is not None
    assert (back.status, back.attempts) == (JobStatus.PENDING, 0)
    assert queue.health().worker is None
    queue.close()
