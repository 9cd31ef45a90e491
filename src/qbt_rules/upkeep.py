"""What a worker does beside its jobs, in a thread of its own, so that none of it waits for them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from qbt_rules.model import Job
from qbt_rules.pulse import Heart
from qbt_rules.queue_manager import QueueManager, WorkerName
from qbt_rules.scheduler import Scheduler
from seedkeep import clock
from seedkeep.errors import SeedError

if TYPE_CHECKING:
    from qbt_rules.worker import WorkerOptions

SAFE_PART = 0.8  # of a lease that could not be renewed, in which a job still changes something
_LEAST_PAUSE_S = 1.0  # when the queue refuses what is due
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_FAREWELL_S = 2.0

log = logging.getLogger("qbt_rules.worker")


class Upkeep:
    """Renews the lease, enqueues what the schedule says, removes old jobs."""

    def __init__(
        self, queue: QueueManager, name: WorkerName, options: WorkerOptions, heart: Heart
    ) -> None:
        self._queue, self._name, self._options = queue, name, options
        self._heart = heart
        self._stop = threading.Event()
        self._job: Job | None = None
        self._lost: Job | None = None  # the job that is not ours any more
        self._held_at = clock.monotonic()  # when the lease was last known to hold
        self._scheduler = Scheduler(options.schedule, clock.now())
        self._clean_at = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A step that waits for the queue's storage is not waited for: it does no harm later."""
        self._stop.set()
        self._thread.join(timeout=_FAREWELL_S)

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def job_begins(self, job: Job) -> None:
        self._held_at = clock.monotonic()
        self._job = job

    def job_ends(self) -> None:
        self._job = None

    def holds_lease(self) -> bool:
        """False before another worker can have the job, also when nobody could be asked."""
        safe_s = self._options.lease_s * SAFE_PART
        return self._lost is not self._job and clock.monotonic() - self._held_at < safe_s

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            if self._do_all():
                pause_s = _FIRST_PAUSE_S
                self._stop.wait(self._pause_s())
            else:  # a queue that was away for some seconds is back before the lease is out
                self._stop.wait(min(pause_s, self._pause_s()))
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _do_all(self) -> bool:
        """Whether all of it worked."""
        worked = True
        for step in (self._renew, self._schedule, self._clean):
            if self._stop.is_set():
                break
            self._heart.goes_on("upkeep")
            try:
                step()
            except SeedError as why:
                worked = False
                log.warning("upkeep: %s", why)
            except Exception:
                worked = False
                log.exception("upkeep failed")
        return worked

    def _renew(self) -> None:
        began, job = clock.monotonic(), self._job
        if self._queue.renew(self._name):
            self._held_at = max(began, self._held_at)
        elif job is not None and job is self._job:
            log.warning("the lease of this worker ran out; its job is stopped")
            self._lost = job

    def _schedule(self) -> None:
        self._scheduler.tick(self._queue, clock.now())

    def _clean(self) -> None:
        if clock.monotonic() < self._clean_at:
            return
        self._clean_at = clock.monotonic() + self._options.cleanup_every.total_seconds()
        removed = 0
        while not self._stop.is_set():
            some = self._queue.cleanup_old_jobs(self._options.retention)
            removed += some
            if not some:
                break
            self._heart.goes_on("upkeep")
            self._renew()
        if removed:
            log.info("removed %d old jobs", removed)

    def _pause_s(self) -> float:
        pause = self._options.lease_s / 3
        if due := self._scheduler.next_due:
            pause = min(pause, max(_LEAST_PAUSE_S, (due - clock.now()).total_seconds()))
        return pause
