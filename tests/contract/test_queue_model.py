"""Any sequence of calls leaves a queue as a simple model says, whatever keeps it.

SEEDKEEP_QUEUE_EXAMPLES sets how many sequences each kind of queue gets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.support.queues import KINDS, LEASE_S, START, Hands, open_queue, worker
from tests.support.redis_server import RedisServer

from qbt_rules.model import MOST_ATTEMPTS, Job, JobStatus, ScheduleSlot
from qbt_rules.queue_manager import LeaseLost, NoSuchJob, QueueManager, WrongStatus

EXAMPLES = int(os.environ.get("SEEDKEEP_QUEUE_EXAMPLES", "20"))
CONTEXTS = st.sampled_from([None, "on_added", "scheduled"])
WORKERS = st.sampled_from(["one", "two"])
# No sum of these is a lease or the retention, which would leave it to microseconds who is right.
PAUSES = st.sampled_from([7.0, 17.0, 31.0])
RETENTION_S = 20.0
WHICH = st.integers(0, 1000)  # picks one of what there is


@dataclass
class Known:
    """A job as the model sees it."""

    key: tuple[str | None, bool]  # context, dry_run
    status: JobStatus = JobStatus.PENDING
    attempts: int = 0
    requests: int = 1
    worker: str | None = None
    ended_at: float = 0.0


@dataclass
class Model:
    """Jobs in the order of their requests; who waits, in the order in which they will run."""

    jobs: dict[str, Known] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    seat: str | None = None
    lease_until: float = 0.0
    slot: int = -1

    def live(self, now: float) -> str | None:
        return self.seat if self.lease_until > now else None

    def processing(self) -> list[str]:
        return [i for i, job in self.jobs.items() if job.status is JobStatus.PROCESSING]

    def reclaim(self, now: float, lost: list[str]) -> None:
        for job_id in lost:
            job = self.jobs[job_id]
            if job.attempts >= MOST_ATTEMPTS:
                job.status, job.ended_at = JobStatus.FAILED, now
            else:
                job.status = JobStatus.PENDING
                self.waiting.insert(0, job_id)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, queue: QueueManager, hands: Hands) -> None:
        super().__init__()
        self.queue, self.hands, self.model = queue, hands, Model()
        self.held: list[Job] = []  # whatever was ever handed out, also long ago

    @property
    def now(self) -> float:
        return (self.hands.at - START).total_seconds()

    @rule(context=CONTEXTS, dry_run=st.booleans(), coalesce=st.booleans())
    def enqueue(self, context: str | None, dry_run: bool, coalesce: bool) -> None:
        job = self.queue.enqueue(context, dry_run=dry_run, coalesce=coalesce)
        self._accepted(job, (context, dry_run), coalesce)

    def _accepted(self, job: Job, key: tuple[str | None, bool], coalesce: bool) -> None:
        model = self.model
        if job.job_id in model.jobs:
            assert coalesce
            known = model.jobs[job.job_id]
            assert (known.key, known.status) == (key, JobStatus.PENDING)
            known.requests += 1
        else:
            fitting = [i for i in model.waiting if model.jobs[i].key == key]
            assert not coalesce or not fitting
            model.jobs[job.job_id] = Known(key)
            model.waiting.append(job.job_id)

    @rule(due=st.integers(0, 5), context=CONTEXTS)
    def schedule(self, due: int, context: str | None) -> None:
        slot = ScheduleSlot(entry="hourly", due=START + timedelta(seconds=due))
        job = self.queue.enqueue_scheduled(slot, context, None, dry_run=False)
        if due <= self.model.slot:
            assert job is None
        else:
            assert job is not None
            self.model.slot = due
            self._accepted(job, (context, False), coalesce=True)

    @rule(name=WORKERS)
    def dequeue(self, name: str) -> None:
        self._handed_out(self.queue.dequeue(worker(name)), name)

    def _handed_out(self, job: Job | None, name: str) -> None:
        model = self.model
        if model.live(self.now) not in (None, name):
            assert job is None
            return
        if model.live(self.now) is None or model.waiting:
            model.seat, model.lease_until = name, self.now + LEASE_S
            model.reclaim(self.now, [i for i in model.processing() if model.jobs[i].worker != name])
        if model.processing() or not model.waiting:
            assert job is None
            return
        assert job is not None
        assert job.job_id == model.waiting.pop(0)
        known = model.jobs[job.job_id]
        known.status, known.worker = JobStatus.PROCESSING, name
        known.attempts += 1
        assert job.attempts == known.attempts
        self.held.append(job)

    @rule(which=WHICH, name=WORKERS)
    def complete_and_dequeue(self, which: int, name: str) -> None:
        if not self.held:
            return
        job = self.held[which % len(self.held)]
        known = self.model.jobs.get(job.job_id)
        mine = known is not None and (known.worker, known.attempts) == (job.worker, job.attempts)
        if not mine or known.status not in (JobStatus.PROCESSING, JobStatus.COMPLETED):
            with pytest.raises(LeaseLost):
                self.queue.complete_and_dequeue(job, {}, worker(name))
            return
        done, following = self.queue.complete_and_dequeue(job, {}, worker(name))
        assert done.status is JobStatus.COMPLETED
        if known.status is JobStatus.PROCESSING:
            known.status, known.ended_at = JobStatus.COMPLETED, self.now
        self._handed_out(following, name)

    @rule(which=WHICH, how=st.sampled_from(["complete", "fail", "release"]))
    def report(self, which: int, how: str) -> None:
        if not self.held:
            return
        job = self.held[which % len(self.held)]
        known = self.model.jobs.get(job.job_id, Known((None, False), worker="nobody"))
        mine = (known.worker, known.attempts) == (job.worker, job.attempts)
        to = {"complete": JobStatus.COMPLETED, "fail": JobStatus.FAILED}.get(how)
        lost = not mine or known.status not in (JobStatus.PROCESSING, to)
        try:
            if how == "release":
                self.queue.release(job)
            elif how == "complete":
                self.queue.complete(job, {"rules_matched": 1})
            else:
                self.queue.fail(job, "no")
        except LeaseLost:
            assert lost
            return
        assert not lost
        if to is None:
            known.status, known.attempts = JobStatus.PENDING, known.attempts - 1
            self.model.waiting.insert(0, job.job_id)
        elif known.status is JobStatus.PROCESSING:
            known.status, known.ended_at = to, self.now

    @rule(name=WORKERS)
    def renew(self, name: str) -> None:
        assert self.queue.renew(worker(name)) == (self.model.seat == name)
        if self.model.seat == name:
            self.model.lease_until = self.now + LEASE_S

    @rule(name=WORKERS)
    def leave(self, name: str) -> None:
        moved = self.queue.leave(name)
        lost = [i for i in self.model.processing() if self.model.jobs[i].worker == name]
        assert [job.job_id for job in moved] == lost
        self.model.reclaim(self.now, lost)
        if self.model.seat == name:
            self.model.seat, self.model.lease_until = None, 0.0

    @rule()
    def reap(self) -> None:
        moved = self.queue.reap()
        live = self.model.live(self.now)
        lost = [i for i in self.model.processing() if self.model.jobs[i].worker != live]
        assert [job.job_id for job in moved] == lost
        self.model.reclaim(self.now, lost)
        if live is None:
            self.model.seat, self.model.lease_until = None, 0.0

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        if not self.model.jobs:
            return
        job_id = list(self.model.jobs)[which % len(self.model.jobs)]
        known = self.model.jobs[job_id]
        if known.status is not JobStatus.PENDING:
            with pytest.raises(WrongStatus) as refused:
                self.queue.cancel_job(job_id)
            assert refused.value.status is known.status
            return
        assert self.queue.cancel_job(job_id).status is JobStatus.CANCELLED
        known.status, known.ended_at = JobStatus.CANCELLED, self.now
        self.model.waiting.remove(job_id)

    @rule(most=st.sampled_from([1, 1000]))
    def clean_up(self, most: int) -> None:
        model = self.model
        old = [
            job_id
            for job_id, job in model.jobs.items()
            if job.status.is_final and job.ended_at < self.now - RETENTION_S
        ]
        assert self.queue.cleanup_old_jobs(timedelta(seconds=RETENTION_S), most=most) == min(
            most, len(old)
        )
        gone = [job_id for job_id in old if self.queue.get_job(job_id) is None]
        assert len(gone) == min(most, len(old))
        for job_id in gone:
            del model.jobs[job_id]
            with pytest.raises(NoSuchJob):
                self.queue.cancel_job(job_id)

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.hands.move(seconds)

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        listed = self.queue.list_jobs(limit=100)
        assert [job.job_id for job in reversed(listed.jobs)] == list(self.model.jobs)
        assert listed.total == len(self.model.jobs)
        for job in listed.jobs:
            known = self.model.jobs[job.job_id]
            assert Known(
                (job.context, job.dry_run), job.status, job.attempts, job.requests, job.worker
            ) == replace(known, ended_at=0.0)
            assert (job.completed_at is not None) == job.status.is_final
            assert (job.started_at is None) or job.status is not JobStatus.PENDING

    @invariant()
    def the_numbers_add_up_and_one_job_runs_at_most(self) -> None:
        counts = self.queue.stats().counts
        statuses = [job.status for job in self.model.jobs.values()]
        assert counts == {status: statuses.count(status) for status in JobStatus}
        assert counts[JobStatus.PROCESSING] <= 1
        health = self.queue.health()
        assert health.problems == ()
        assert health.pending == len(self.model.waiting)
        seat = health.worker
        live = seat.worker_id if seat is not None and seat.alive else None
        assert live == self.model.live(self.now)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_does_what_the_model_does(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    redis = request.getfixturevalue("server") if kind == "redis" else None
    opened: list[QueueManager] = []
    number = count()

    def machine() -> QueueMachine:
        hands.at = START
        while opened:
            opened.pop().close()
        folder = tmp_path / str(next(number))
        opened.append(open_queue(kind, folder, redis, hands))
        return QueueMachine(opened[0], hands)

    with Hands().in_force() as hands:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
            ),
        )
        while opened:
            opened.pop().close()
