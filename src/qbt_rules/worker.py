"""The process that runs jobs: one at a time, and only while it holds the queue's seat.

Two threads: the main one takes jobs and runs the engine; upkeep renews the lease, enqueues what the
schedule says and removes old jobs, so that none of it waits for a long job.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import TypeVar

from qbt_rules.engine import Engine, JobStopped
from qbt_rules.model import Job, JobStatus
from qbt_rules.pulse import Heart, Notice, Pulse
from qbt_rules.queue_manager import LEASE_S, Bell, LeaseLost, QueueManager, WorkerName
from qbt_rules.scheduler import ScheduleEntry
from qbt_rules.settling import Settling
from qbt_rules.supervisor import Child
from qbt_rules.upkeep import Upkeep
from seedkeep import clock
from seedkeep.errors import SeedError
from seedkeep.logs import bound

LOOK_S = 0.5  # how often an idle worker looks by itself, where nothing can wake it
GRACE_S = 15.0  # how long a running job may go on after SIGTERM; then it has to come to an end
BREAK_OFF_S = 1.0  # later it is broken off wherever it is: copying or reading may take hours
CLEANUP_EVERY = timedelta(minutes=10)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

T = TypeVar("T")
Ended = tuple[Job, Job | None]  # the job, and the next one if it was handed out with the end
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    retention: timedelta = timedelta(days=7)
    schedule: tuple[ScheduleEntry, ...] = ()
    lease_s: float = LEASE_S
    grace_s: float = GRACE_S
    cleanup_every: timedelta = CLEANUP_EVERY


def new_worker_id() -> str:
    return f"{socket.gethostname()}-{uuid.uuid4().hex}"


class Worker:
    """`run` until `stop`.  Never raises for what the queue or the engine does."""

    def __init__(
        self,
        queue: QueueManager,
        engine: Engine,
        options: WorkerOptions | None = None,
        *,
        worker_id: str | None = None,
        heart: Heart | None = None,
        open_runs: Notice | None = None,
    ) -> None:
        self.options = options or WorkerOptions()
        self.name = WorkerName(
            worker_id=worker_id or new_worker_id(),
            host=socket.gethostname(),
            pid=os.getpid(),
            lease_s=self.options.lease_s,
        )
        self._queue = queue
        self._engine = engine
        self._parent = os.getppid()
        # Plain values, because a signal handler sets them: an Event's lock may be held just then.
        self._stopping = False
        self._stop_at = float("inf")  # monotonic; from then on a job is asked to stop
        self._is_in_engine = False
        self._heart = heart or Heart()
        self._upkeep = Upkeep(queue, self.name, self.options, self._heart)
        self._settling = Settling(engine, open_runs or Notice())

    def stop(self) -> None:
        """No new job from now on; the current one gets `grace_s`.  May be called in a handler."""
        self._stop_at = min(self._stop_at, clock.monotonic() + self.options.grace_s)
        self._stopping = True

    def stop_after_job(self) -> None:
        """No new job from now on; the current one may go on.  May be called in a handler."""
        self._stopping = True

    def break_off(self) -> None:
        """For a handler, in the thread of `run`: unwind the job that did not end in its time.

        What it was doing is taken back as after Ctrl-C, and the job runs again.
        """
        if self._is_in_engine:
            self._is_in_engine = False  # once: the unwinding is not to be disturbed
            raise _BrokenOff

    def run(self) -> None:
        """Take and run jobs until `stop`; then the seat is free and no job is held."""
        bell = self._queue.bell()
        self._upkeep.start()
        self._heart.start()
        pause = _FIRST_PAUSE_S
        job: Job | None = None
        try:
            while self._may_go_on():
                self._heart.goes_on("jobs")
                try:
                    job = self._queue.dequeue(self.name, bell)
                    if self._settling.is_due():
                        self._settle(job)
                        job = None
                    elif job is None:
                        bell.wait(LOOK_S)
                    pause = _FIRST_PAUSE_S
                except SeedError as why:
                    log.warning("the queue does not work: %s", why)
                    self._rest(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
                while job is not None:
                    if not self._may_go_on():
                        self._give_back(job)
                        break
                    job = self.process_job(job, bell)
        finally:
            self._heart.goes_on("jobs")
            self._upkeep.stop()
            bell.close()
            try:
                self._queue.leave(self.name.worker_id)
            except SeedError as why:
                log.warning("the seat stays taken until the lease ends: %s", why)
            self._heart.stop()

    def _settle(self, job: Job | None) -> None:
        """In place of the job, which is next again: what is relocated takes as long as it takes."""
        if job is not None:
            held = job
            try:  # held by a worker that lives on, it would keep all others from being begun
                self._insist(lambda: self._queue.release(held))
            except LeaseLost:
                self._settling.is_for_another()
                return
        elif not self._queue.renew(self.name):
            self._settling.is_for_another()
            return
        self._heart.takes_long("jobs")
        try:
            self._is_in_engine = True
            try:
                self._settling.run(lambda: clock.monotonic() >= self._stop_at)
            finally:
                self._is_in_engine = False
        except _BrokenOff:
            log.info("what was resumed is taken back: the server ends")

    def _rest(self, pause_s: float) -> None:
        """Shorter, when it is told to end."""
        until = clock.monotonic() + pause_s
        while not self._stopping and (left := until - clock.monotonic()) > 0:
            clock.sleep(min(left, LOOK_S))

    @property
    def is_over(self) -> bool:
        """Nothing of it uses the queue any more."""
        return not self._upkeep.goes_on

    def process_job(self, job: Job, bell: Bell | None = None) -> Job | None:
        """Run one job that `dequeue` gave, and record how it ended.

        Returns the next job when one was handed out in the same go.
        """
        with bound(job=job.job_id):
            log.info("job starts: context %s, hash %s", job.context or "-", job.torrent_hash or "-")
            report = self._run_engine(job, bell)
            try:
                ended = self._insist(report)
            except LeaseLost as why:
                log.warning("what this worker did is not recorded: %s", why)
                return None
            if ended is None:
                return None
            done, following = ended
            log.info("job %s after %.3f s", done.status.value, done.execution_s or 0.0)
            if done.status is JobStatus.FAILED and done.error and done.interruptions:
                log.warning("job failed: %s", done.error)
            return following

    def _run_engine(self, job: Job, bell: Bell | None) -> Callable[[], Ended]:
        """How to record what happened."""
        self._upkeep.job_begins(job)
        self._heart.takes_long("jobs")
        try:
            self._is_in_engine = True
            try:
                result = self._engine.run(job, self._cancelled).as_json()
            finally:
                self._is_in_engine = False
        except (JobStopped, _BrokenOff):
            log.info("job stopped; it will run again")
            return lambda: (self._queue.release(job, interrupted=True), None)
        except SeedError as why:
            text = str(why)
            log.warning("job failed: %s", text)
        except Exception as why:
            trace_id = uuid.uuid4().hex[:12]
            log.exception("job failed, trace id %s", trace_id)
            text = (
                f"this is a bug: {type(why).__name__}: {why} (trace id {trace_id} in the server's"
                " log)"
            )
        else:
            if self._stopping:
                return lambda: (self._queue.complete(job, result), None)
            return lambda: self._queue.complete_and_dequeue(job, result, self.name, bell)
        finally:
            self._upkeep.job_ends()
        return lambda: (self._queue.fail(job, text), None)

    def _give_back(self, job: Job) -> None:
        try:
            self._queue.release(job)
        except SeedError as why:
            log.warning("job %s is taken back when the worker leaves: %s", job.job_id, why)

    def _cancelled(self) -> bool:
        return clock.monotonic() >= self._stop_at or not self._upkeep.holds_lease()

    def _insist(self, report: Callable[[], T]) -> T | None:
        """Report until it is recorded: without the queue there is nothing else to do.

        None when the worker has to end first; then the job is taken back with the lease.
        """
        pause = _FIRST_PAUSE_S
        while True:
            self._heart.goes_on("jobs")
            try:
                return report()
            except LeaseLost:
                raise
            except SeedError as why:
                log.warning("cannot record the job yet: %s", why)
                if clock.monotonic() >= self._stop_at:
                    return None
                clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _may_go_on(self) -> bool:
        if os.getppid() != self._parent:
            log.warning("the server is gone; the worker ends")
            self.stop()
        return not self._stopping


class _BrokenOff(BaseException):
    """Not an Exception, so that only clean-up code runs on the way out."""


def run_worker(
    open_queue: Callable[[], QueueManager],
    make_engine: Callable[[], Engine],
    options: WorkerOptions,
    worker_id: str,
    pulse: Pulse | None = None,
) -> int:
    """The worker as a process of its own: until SIGTERM or SIGINT, or until its parent is gone.

    After SIGHUP it ends with its job: whoever starts it again does so with new settings.
    """
    queue, pulse = open_queue(), pulse or Pulse()
    worker = Worker(
        queue,
        make_engine(),
        options,
        worker_id=worker_id,
        heart=Heart(pulse),
        open_runs=pulse.open_runs,
    )

    def end(_number: int, _frame: FrameType | None) -> None:
        worker.stop()
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, options.grace_s + BREAK_OFF_S)

    def break_off(_number: int, _frame: FrameType | None) -> None:
        worker.break_off()

    def end_after_job(_number: int, _frame: FrameType | None) -> None:
        worker.stop_after_job()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGALRM, break_off)
    signal.signal(signal.SIGHUP, end_after_job)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the supervisor blocked it
    log.info("worker %s starts", worker_id)
    worker.run()
    if worker.is_over:
        queue.close()
    return 0


def worker_child(
    open_queue: Callable[[], QueueManager],
    make_engine: Callable[[], Engine],
    options: Callable[[], WorkerOptions],
    pulse: Pulse | None = None,
) -> Child:
    """The worker for `supervise`; the options are asked for whenever it starts.

    When its process has ended, however it ended, its job is free at once instead of after the
    lease.
    """
    pulse = pulse or Pulse()

    def gone(worker_id: str) -> None:
        pulse.stop()
        try:
            _leave(open_queue(), worker_id)
        except SeedError as why:
            log.warning("its job is free when the lease ends: %s", why)

    return Child(
        name="worker",
        run=lambda name: run_worker(open_queue, make_engine, options(), name, pulse),
        gone=gone,
        incarnation=new_worker_id,
    )


def _leave(queue: QueueManager, worker_id: str) -> None:
    try:
        for job in queue.leave(worker_id):
            log.warning("job %s is %s: its worker has died", job.job_id, job.status.value)
    finally:
        queue.close()
