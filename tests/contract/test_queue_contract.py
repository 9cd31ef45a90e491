"""What every queue promises: SQLite, a real Redis, and the fake one that other tests use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.queues import (
    HASH,
    KINDS,
    LEASE_S,
    START,
    Hands,
    open_again,
    open_queue,
    taken,
    worker,
)
from tests.support.redis_server import RedisServer

from qbt_rules.model import MOST_ATTEMPTS, MOST_INTERRUPTIONS, Job, JobStatus, ScheduleSlot
from qbt_rules.queue_backends.bounds import MAX_ERROR, MAX_RESULT
from qbt_rules.queue_manager import LeaseLost, NoSuchJob, QueueManager, WrongStatus

REAL_KINDS = pytest.mark.parametrize("kind", ["sqlite", "redis"])  # not in one process only
RESULT = {"torrents_processed": 15, "rules_matched": 3, "actions_executed": 5}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def hands() -> Iterator[Hands]:
    with Hands().in_force() as moving:
        yield moving


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def queue(
    kind: str, tmp_path: Path, hands: Hands, request: pytest.FixtureRequest
) -> Iterator[QueueManager]:
    redis = request.getfixturevalue("server") if kind == "redis" else None
    opened = open_queue(kind, tmp_path, redis, hands)
    yield opened
    opened.close()


def ids(jobs: tuple[Job, ...]) -> list[str]:
    return [job.job_id for job in jobs]


# -- enqueue


def test_an_accepted_job_is_pending_and_found_again(queue: QueueManager) -> None:
    job = queue.enqueue("on_added", HASH.upper(), dry_run=True)
    assert (job.status, job.context, job.torrent_hash) == (JobStatus.PENDING, "on_added", HASH)
    assert job.dry_run
    assert (job.attempts, job.requests) == (0, 1)
    assert job.started_at is job.completed_at is job.result is job.error is job.worker is None
    assert START < job.created_at < START + timedelta(seconds=1)
    assert queue.get_job(job.job_id) == job


def test_a_job_without_context_and_hash_has_none(queue: QueueManager) -> None:
    job = queue.enqueue()
    assert job.context is None
    assert job.torrent_hash is None
    assert queue.get_job(job.job_id) == job
    assert queue.enqueue("", "").job_id == job.job_id


def test_an_unknown_job_is_none(queue: QueueManager) -> None:
    assert queue.get_job("550e8400-e29b-41d4-a716-446655440000") is None


def test_a_request_joins_the_pending_job_that_asks_the_same(queue: QueueManager) -> None:
    first = queue.enqueue("on_added", HASH)
    second = queue.enqueue("on_added", HASH)
    assert second.job_id == first.job_id
    assert second.requests == 2
    assert queue.stats().total == 1


@pytest.mark.parametrize(
    ("context", "torrent_hash", "dry_run"),
    [
        ("on_added", None, False),
        (None, HASH, False),
        ("other", HASH, False),
        ("on_added", HASH, True),
    ],
)
def test_a_request_that_asks_something_else_joins_nothing(
    queue: QueueManager, context: str | None, torrent_hash: str | None, dry_run: bool
) -> None:
    first = queue.enqueue("on_added", HASH)
    assert queue.enqueue(context, torrent_hash, dry_run=dry_run).job_id != first.job_id


def test_a_request_does_not_join_when_it_does_not_want_to(queue: QueueManager) -> None:
    first = queue.enqueue("on_added", HASH)
    assert queue.enqueue("on_added", HASH, coalesce=False).job_id != first.job_id


def test_a_request_does_not_join_a_job_that_has_begun(queue: QueueManager) -> None:
    queue.enqueue("on_added", HASH)
    first = taken(queue)
    second = queue.enqueue("on_added", HASH)
    assert second.job_id != first.job_id
    assert queue.enqueue("on_added", HASH).job_id == second.job_id


def test_a_request_does_not_join_a_cancelled_job(queue: QueueManager) -> None:
    first = queue.enqueue("on_added", HASH)
    queue.cancel_job(first.job_id)
    assert queue.enqueue("on_added", HASH).status is JobStatus.PENDING


def test_a_request_joins_a_job_that_came_back(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("on_added", HASH)
    first = taken(queue)
    queue.release(first)
    assert queue.enqueue("on_added", HASH).job_id == first.job_id


def test_contexts_may_hold_any_text(queue: QueueManager) -> None:
    for context in ("status:pending", "a|b", "2|ab|", "'; DROP TABLE jobs; --", "Ünïcode ☃", "*"):
        job = queue.enqueue(context)
        assert queue.list_jobs(context=context).jobs == (job,)


# -- dequeue


def test_jobs_run_in_the_order_of_their_requests(queue: QueueManager) -> None:
    asked = [queue.enqueue(f"c{n}").job_id for n in range(5)]
    ran = []
    while job := queue.dequeue(worker()):
        ran.append(job.job_id)
        queue.complete(job, {})
    assert ran == asked


def test_a_taken_job_is_processing_and_knows_its_worker(queue: QueueManager) -> None:
    asked = queue.enqueue("on_added")
    job = taken(queue)
    assert (job.job_id, job.status, job.attempts) == (asked.job_id, JobStatus.PROCESSING, 1)
    assert job.worker == "one"
    assert job.started_at is not None
    assert queue.get_job(job.job_id) == job


def test_an_empty_queue_gives_none(queue: QueueManager) -> None:
    assert queue.dequeue(worker()) is None
    assert queue.dequeue(worker()) is None


def test_one_job_at_a_time_for_the_worker_that_has_one(queue: QueueManager) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    job = taken(queue)
    assert queue.dequeue(worker()) is None
    queue.complete(job, {})
    assert taken(queue).context == "b"


def test_a_second_worker_stands_by_while_the_first_lives(queue: QueueManager, hands: Hands) -> None:
    queue.dequeue(worker("one"))
    queue.enqueue("a")
    assert queue.dequeue(worker("two")) is None
    hands.move(LEASE_S / 2)
    assert queue.renew(worker("one"))
    hands.move(LEASE_S * 0.75)
    assert queue.dequeue(worker("two")) is None
    assert taken(queue, "one").context == "a"


def test_a_second_worker_takes_over_once_the_lease_is_out(
    queue: QueueManager, hands: Hands
) -> None:
    queue.dequeue(worker("one"))
    queue.enqueue("a")
    hands.move(LEASE_S + 1)
    assert taken(queue, "two").worker == "two"
    assert not queue.renew(worker("one"))
    assert queue.dequeue(worker("one")) is None


def test_a_second_worker_takes_over_at_once_when_the_first_leaves(queue: QueueManager) -> None:
    queue.dequeue(worker("one"))
    queue.enqueue("a")
    assert queue.leave("one") == []
    assert taken(queue, "two").context == "a"


def test_a_stranger_that_leaves_takes_nobodys_seat(queue: QueueManager) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    taken(queue, "one")
    assert queue.leave("two") == []
    assert queue.dequeue(worker("two")) is None


# -- the end of a job


def test_a_completed_job_keeps_its_result(queue: QueueManager) -> None:
    queue.enqueue("a")
    done = queue.complete(taken(queue), RESULT)
    assert (done.status, done.result, done.error) == (JobStatus.COMPLETED, RESULT, None)
    assert done.completed_at is not None
    assert done.execution_s is not None
    assert queue.get_job(done.job_id) == done


def test_a_failed_job_keeps_its_error(queue: QueueManager) -> None:
    queue.enqueue("a")
    done = queue.fail(taken(queue), "qBittorrent does not answer")
    assert (done.status, done.error) == (JobStatus.FAILED, "qBittorrent does not answer")
    assert done.result is None
    assert queue.get_job(done.job_id) == done


def test_an_end_that_is_told_twice_is_one_end(queue: QueueManager) -> None:
    queue.enqueue("a")
    job = taken(queue)
    done = queue.complete(job, RESULT)
    assert queue.complete(job, {"other": 1}) == done
    with pytest.raises(LeaseLost):
        queue.fail(job, "no")
    assert queue.get_job(job.job_id) == done


def test_the_end_of_a_job_may_bring_the_next_one(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    first = taken(queue)
    done, second = queue.complete_and_dequeue(first, RESULT, worker())
    assert (done.status, done.result) == (JobStatus.COMPLETED, RESULT)
    assert queue.get_job(first.job_id) == done
    assert second is not None
    assert (second.context, second.status, second.attempts) == ("b", JobStatus.PROCESSING, 1)
    assert queue.get_job(second.job_id) == second
    done, third = queue.complete_and_dequeue(second, {}, worker())
    assert done.status is JobStatus.COMPLETED
    assert third is None


def test_a_late_end_brings_no_next_job(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    late = taken(queue, "one")
    hands.move(LEASE_S + 1)
    now = taken(queue, "two")
    with pytest.raises(LeaseLost):
        queue.complete_and_dequeue(late, RESULT, worker("one"))
    assert queue.get_job(now.job_id) == now
    assert queue.stats().counts[JobStatus.PENDING] == 1


def test_a_released_job_is_next_and_its_attempt_does_not_count(queue: QueueManager) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    back = queue.release(taken(queue))
    assert (back.status, back.attempts, back.started_at) == (JobStatus.PENDING, 0, None)
    again = taken(queue)
    assert (again.context, again.attempts) == ("a", 1)


def test_a_job_that_no_stop_lets_come_to_its_end_is_failed_at_last_and_listed(
    queue: QueueManager,
) -> None:
    asked = queue.enqueue("a")
    queue.enqueue("b")
    for n in range(1, MOST_INTERRUPTIONS):
        back = queue.release(taken(queue), interrupted=True)
        assert (back.status, back.attempts, back.interruptions) == (JobStatus.PENDING, 0, n)
    queue.release(taken(queue))  # one that was not under way yet
    last = queue.release(taken(queue), interrupted=True)
    assert (last.job_id, last.status) == (asked.job_id, JobStatus.FAILED)
    assert last.error is not None
    assert f"given up after {MOST_INTERRUPTIONS} interruptions" in last.error
    assert last.started_at is not None
    assert last.completed_at is not None
    (listed,) = queue.list_jobs(JobStatus.FAILED).jobs
    assert (listed.job_id, listed.error) == (last.job_id, last.error)
    assert queue.stats().last_completed_at == last.completed_at
    assert taken(queue).context == "b"
    assert queue.cleanup_old_jobs(timedelta(0)) == 1


def test_a_late_worker_changes_nothing(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("a")
    late = taken(queue, "one")
    hands.move(LEASE_S + 1)
    now = taken(queue, "two")
    assert now.job_id == late.job_id
    for report in (
        lambda: queue.complete(late, RESULT),
        lambda: queue.fail(late, "late"),
        lambda: queue.release(late),
    ):
        with pytest.raises(LeaseLost):
            report()
    assert queue.get_job(now.job_id) == now
    assert queue.complete(now, RESULT).worker == "two"


def test_the_same_worker_cannot_end_an_earlier_attempt(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("a")
    first = taken(queue)
    hands.move(LEASE_S + 1)
    assert len(queue.reap()) == 1
    second = taken(queue)
    assert (second.worker, second.attempts) == ("one", 2)
    with pytest.raises(LeaseLost):
        queue.complete(first, RESULT)
    queue.complete(second, RESULT)


def test_a_result_is_bounded(queue: QueueManager) -> None:
    queue.enqueue("a")
    actions = [{"rule": "r" * 40, "hash": HASH} for _ in range(5000)]
    done = queue.complete(taken(queue), {**RESULT, "actions": actions})
    assert done.result is not None
    assert done.result["actions_executed"] == 5
    assert done.result["truncated"] is True
    assert len(done.result["actions"]) == 100
    queue.enqueue("b")
    done = queue.complete(taken(queue), {**RESULT, "text": "x" * MAX_RESULT})
    assert done.result == {**RESULT, "truncated": True}
    queue.enqueue("c")
    done = queue.fail(taken(queue), "y" * MAX_ERROR * 2)
    assert done.error is not None
    assert len(done.error) == MAX_ERROR


# -- lost workers


def test_a_job_of_a_lost_worker_is_tried_again_and_then_given_up(
    queue: QueueManager, hands: Hands
) -> None:
    asked = queue.enqueue("a")
    queue.enqueue("b")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        job = taken(queue, f"worker {attempt}")
        assert (job.job_id, job.attempts) == (asked.job_id, attempt)
        hands.move(LEASE_S + 1)
    (lost,) = queue.reap()
    assert (lost.job_id, lost.status) == (asked.job_id, JobStatus.FAILED)
    assert lost.error is not None
    assert "3 attempts" in lost.error
    assert lost.completed_at is not None
    assert taken(queue).context == "b"


def test_reaping_leaves_a_living_worker_alone(queue: QueueManager, hands: Hands) -> None:
    queue.enqueue("a")
    job = taken(queue)
    hands.move(LEASE_S / 2)
    assert queue.reap() == []
    assert queue.renew(worker())
    hands.move(LEASE_S * 0.9)
    assert queue.reap() == []
    assert queue.complete(job, {}).status is JobStatus.COMPLETED


def test_the_job_of_a_worker_that_left_comes_back(queue: QueueManager) -> None:
    queue.enqueue("a")
    job = taken(queue)
    (back,) = queue.leave("one")
    assert (back.job_id, back.status, back.attempts) == (job.job_id, JobStatus.PENDING, 1)
    assert taken(queue, "two").job_id == job.job_id


def test_a_worker_may_renew_late_when_nobody_took_its_seat(
    queue: QueueManager, hands: Hands
) -> None:
    queue.enqueue("a")
    job = taken(queue)
    hands.move(LEASE_S * 2)
    assert queue.renew(worker())
    assert queue.reap() == []
    assert queue.complete(job, {}).status is JobStatus.COMPLETED


def test_a_worker_without_a_seat_cannot_renew(queue: QueueManager) -> None:
    assert not queue.renew(worker())


# -- cancel


def test_a_cancelled_job_never_runs(queue: QueueManager) -> None:
    queue.enqueue("a")
    gone = queue.enqueue("b")
    queue.enqueue("c")
    done = queue.cancel_job(gone.job_id)
    assert done.status is JobStatus.CANCELLED
    assert done.completed_at is not None
    assert queue.get_job(gone.job_id) == done
    for context in ("a", "c"):
        job = taken(queue)
        assert job.context == context
        queue.complete(job, {})
    assert queue.dequeue(worker()) is None


def test_only_a_pending_job_can_be_cancelled(queue: QueueManager) -> None:
    queue.enqueue("a")
    job = taken(queue)
    with pytest.raises(WrongStatus, match="Cannot cancel job in status: processing") as refused:
        queue.cancel_job(job.job_id)
    assert refused.value.status is JobStatus.PROCESSING
    queue.complete(job, {})
    with pytest.raises(WrongStatus, match="completed"):
        queue.cancel_job(job.job_id)
    with pytest.raises(NoSuchJob, match="not-there"):
        queue.cancel_job("not-there")


# -- lists and numbers


def test_lists_are_filtered_and_paged_newest_first(queue: QueueManager) -> None:
    asked = [queue.enqueue("even" if n % 2 == 0 else "odd", f"{n:040x}").job_id for n in range(6)]
    queue.complete(taken(queue), RESULT)
    newest_first = asked[::-1]
    assert ids(queue.list_jobs().jobs) == newest_first
    page = queue.list_jobs(limit=2, offset=3)
    assert (ids(page.jobs), page.total) == (newest_first[3:5], 6)
    assert (page.limit, page.offset) == (2, 3)
    page = queue.list_jobs(JobStatus.PENDING, limit=3)
    assert (ids(page.jobs), page.total) == (newest_first[:3], 5)
    page = queue.list_jobs(context="even")
    assert (ids(page.jobs), page.total) == ([asked[4], asked[2], asked[0]], 3)
    page = queue.list_jobs(JobStatus.COMPLETED, "even")
    assert (ids(page.jobs), page.total) == ([asked[0]], 1)
    assert page.jobs[0].result is None
    assert queue.list_jobs(JobStatus.COMPLETED, "odd").jobs == ()
    assert queue.list_jobs(offset=6).jobs == ()
    assert queue.list_jobs(context="nobody").total == 0


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (101, 0), (-1, 0), (10, -1)])
def test_a_page_has_limits(queue: QueueManager, limit: int, offset: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        queue.list_jobs(limit=limit, offset=offset)


@REAL_KINDS
def test_lists_of_many_jobs_are_paged_the_same_way(queue: QueueManager) -> None:
    for n in range(260):
        queue.enqueue("many" if n % 8 else "few", f"{n:040x}")
    for wanted in ({}, {"status": JobStatus.PENDING}):
        page = queue.list_jobs(**wanted, limit=3, offset=100)
        assert page.total == 260
        assert [job.torrent_hash for job in page.jobs] == [f"{n:040x}" for n in (159, 158, 157)]
    page = queue.list_jobs(JobStatus.PENDING, "many", limit=2, offset=220)
    assert page.total == 227
    assert [job.torrent_hash for job in page.jobs] == [f"{n:040x}" for n in (7, 6)]
    assert queue.list_jobs(JobStatus.PENDING, "few", offset=30).total == 33


def test_numbers_of_an_empty_queue(queue: QueueManager) -> None:
    stats = queue.stats()
    assert stats.counts == dict.fromkeys(JobStatus, 0)
    assert (stats.total, stats.depth, stats.jobs_per_hour) == (0, 0, 0.0)
    assert stats.average_execution_s is stats.last_completed_at is stats.oldest_pending_at is None


def test_numbers_follow_the_jobs(queue: QueueManager, hands: Hands) -> None:
    for n in range(5):
        queue.enqueue(f"c{n}")
    for seconds in (2.0, 4.0):
        job = taken(queue)
        hands.move(seconds)
        last = queue.complete(job, {})
    last = queue.fail(taken(queue), "no")
    queue.cancel_job(queue.list_jobs(context="c4").jobs[0].job_id)
    hands.move(3600 * 2)
    stats = queue.stats()
    assert stats.counts == {
        JobStatus.PENDING: 1,
        JobStatus.PROCESSING: 0,
        JobStatus.COMPLETED: 2,
        JobStatus.FAILED: 1,
        JobStatus.CANCELLED: 1,
    }
    assert (stats.total, stats.depth) == (5, 1)
    assert stats.average_execution_s == pytest.approx(2.0, abs=0.1)
    assert stats.jobs_per_hour == pytest.approx(1.5, abs=0.01)
    assert stats.last_completed_at == last.completed_at
    assert stats.oldest_pending_at == queue.list_jobs(context="c3").jobs[0].created_at
    hands.move(3600 * 24)
    assert queue.stats().jobs_per_hour == 0.0


def test_health_knows_the_worker(queue: QueueManager, kind: str, hands: Hands) -> None:
    health = queue.health()
    assert (health.pending, health.processing, health.worker) == (0, 0, None)
    assert health.backend == queue.backend == ("sqlite" if kind == "sqlite" else "redis")
    assert health.problems == ()
    assert health.last_completed_at is None
    queue.enqueue("a")
    queue.enqueue("b")
    job = taken(queue)
    health = queue.health()
    assert (health.pending, health.processing) == (1, 1)
    assert health.worker is not None
    assert (health.worker.worker_id, health.worker.host, health.worker.pid) == ("one", "host", 42)
    assert health.worker.alive
    since = health.worker.since
    done = queue.complete(job, {})
    assert queue.health().last_completed_at == done.completed_at
    hands.move(LEASE_S / 2)
    queue.renew(worker())
    health = queue.health()
    assert health.worker is not None
    assert health.worker.since == since
    assert health.worker.seen_at > since
    hands.move(LEASE_S + 1)
    health = queue.health()
    assert health.worker is not None
    assert not health.worker.alive


# -- retention


def test_retention_removes_what_ended_long_ago_and_nothing_else(
    queue: QueueManager, hands: Hands
) -> None:
    old = []
    for end in (lambda job: queue.complete(job, {}), lambda job: queue.fail(job, "no")):
        queue.enqueue("old")
        old.append(end(taken(queue)).job_id)
    old.append(queue.cancel_job(queue.enqueue("old").job_id).job_id)
    queue.enqueue("running")
    running = taken(queue)
    waiting = queue.enqueue("waiting")
    hands.move(3600)
    assert queue.renew(worker())
    just_ended = queue.cancel_job(queue.enqueue("fresh").job_id)
    late = queue.cancel_job(waiting.job_id)  # asked long ago, ended now
    assert queue.cleanup_old_jobs(timedelta(minutes=30)) == 3
    assert [queue.get_job(job_id) for job_id in old] == [None, None, None]
    kept = {just_ended.job_id, late.job_id, running.job_id}
    assert {job.job_id for job in queue.list_jobs().jobs} == kept
    assert queue.list_jobs(context="old").total == 0
    assert queue.cleanup_old_jobs(timedelta(minutes=30)) == 0
    assert queue.complete(running, {}).status is JobStatus.COMPLETED


def test_retention_goes_in_steps(queue: QueueManager, hands: Hands) -> None:
    for n in range(7):
        queue.cancel_job(queue.enqueue(f"c{n}").job_id)
    waiting = queue.enqueue("waits")
    hands.move(60)
    removed = [queue.cleanup_old_jobs(timedelta(0), most=3) for _ in range(4)]
    assert removed == [3, 3, 1, 0]
    assert ids(queue.list_jobs().jobs) == [waiting.job_id]


# -- schedule


def test_a_moment_of_the_schedule_happens_once(queue: QueueManager, hands: Hands) -> None:
    hour = timedelta(hours=1)
    slot = ScheduleSlot(entry="nightly", due=START)
    job = queue.enqueue_scheduled(slot, "scheduled", None, dry_run=True)
    assert job is not None
    assert (job.context, job.dry_run) == ("scheduled", True)
    assert queue.enqueue_scheduled(slot, "scheduled", None, dry_run=True) is None
    earlier = ScheduleSlot(entry="nightly", due=START - hour)
    assert queue.enqueue_scheduled(earlier, "scheduled", None, dry_run=True) is None
    other = ScheduleSlot(entry="other", due=START)
    assert queue.enqueue_scheduled(other, "more", None, dry_run=False) is not None
    queue.complete(taken(queue), {})
    later = ScheduleSlot(entry="nightly", due=START + hour)
    assert queue.enqueue_scheduled(later, "scheduled", None, dry_run=True) is not None


def test_a_moment_claimed_with_a_wrong_clock_does_not_silence_the_schedule(
    queue: QueueManager,
) -> None:
    wrong = ScheduleSlot(entry="nightly", due=START + timedelta(days=3650))
    assert queue.enqueue_scheduled(wrong, None, None, dry_run=False) is not None
    right = ScheduleSlot(entry="nightly", due=START)
    assert queue.enqueue_scheduled(right, None, None, dry_run=False) is not None
    assert queue.enqueue_scheduled(right, None, None, dry_run=False) is None


def missed(due: datetime) -> ScheduleSlot:
    return ScheduleSlot(entry="nightly", due=due, missed=True)


def test_a_missed_moment_is_made_up_for_once(queue: QueueManager) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    queue.note_schedule({"nightly": "0 3 * * *", "other": "6h"}, START - 2 * hour)
    queue.note_schedule({"nightly": "0 3 * * *"}, START)  # as every start does
    assert queue.enqueue_scheduled(missed(START - minute), None, None, dry_run=False) is not None
    assert queue.enqueue_scheduled(missed(START - minute), None, None, dry_run=False) is None
    assert queue.enqueue_scheduled(missed(START - hour), None, None, dry_run=False) is None


def test_an_entry_that_is_new_or_has_other_times_has_missed_nothing(queue: QueueManager) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert queue.enqueue_scheduled(missed(START - minute), None, None, dry_run=False) is None
    queue.note_schedule({"nightly": "0 3 * * *"}, START)
    assert queue.enqueue_scheduled(missed(START - minute), None, None, dry_run=False) is None
    queue.note_schedule({"nightly": "0 4 * * *"}, START + hour)
    assert queue.enqueue_scheduled(missed(START + minute), None, None, dry_run=False) is None
    later = START + hour + minute
    assert queue.enqueue_scheduled(missed(later), None, None, dry_run=False) is not None


def test_after_the_clock_was_set_back_nothing_counts_as_missed(queue: QueueManager) -> None:
    day = timedelta(days=1)
    queue.note_schedule({"nightly": "0 3 * * *"}, START - day)
    wrong = ScheduleSlot(entry="nightly", due=START + day)
    assert queue.enqueue_scheduled(wrong, None, None, dry_run=False) is not None
    minute = timedelta(minutes=1)
    assert queue.enqueue_scheduled(missed(START - minute), None, None, dry_run=False) is None
    queue.note_schedule({"nightly": "0 4 * * *"}, START)  # and this forgets the wrong moment
    assert queue.enqueue_scheduled(missed(START + minute), None, None, dry_run=False) is not None


# -- several threads and processes


def test_many_threads_at_once_lose_nothing(queue: QueueManager) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda n: queue.enqueue(f"c{n}").job_id, range(60)))
        assert len(set(asked)) == 60
        ran: list[str] = []

        def work(name: str) -> None:
            while len(ran) < 60:
                job = queue.dequeue(worker(name))
                if job is not None:
                    ran.append(job.job_id)
                    queue.complete(job, {})
                elif name != "0":
                    return

        list(pool.map(work, [str(n) for n in range(4)]))
    assert sorted(ran) == sorted(asked)
    assert queue.stats().counts[JobStatus.COMPLETED] == 60


def test_the_same_request_from_many_threads_is_one_job(queue: QueueManager) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = set(pool.map(lambda _: queue.enqueue("c", HASH).job_id, range(50)))
    assert len(asked) == 1
    assert queue.list_jobs().jobs[0].requests == 50


@REAL_KINDS
def test_a_queue_works_on_after_a_fork(queue: QueueManager) -> None:
    queue.enqueue("parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            queue.enqueue("child")
            code = 0 if queue.stats().total == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert queue.enqueue("parent again").status is JobStatus.PENDING
    assert queue.stats().total == 3


@REAL_KINDS
def test_a_waiting_worker_is_woken(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The bell rings long before the timeout, across two openings of the same queue."""
    redis = request.getfixturevalue("server") if kind == "redis" else None
    if redis:
        redis.empty()
    mine, other = open_again(kind, tmp_path, redis), open_again(kind, tmp_path, redis)
    bell = mine.bell()
    try:
        assert mine.dequeue(worker(), bell) is None
        bell.wait(0.05)  # the first wait may end at once, to look again
        ringing = threading.Timer(0.2, other.enqueue, ["a"])
        ringing.start()
        began = time.monotonic()
        assert bell.wait(60)
        assert time.monotonic() - began < 30
        ringing.join()  # the bell rings before the answer is there
        assert mine.dequeue(worker(), bell) is not None
    finally:
        bell.close()
        mine.close()
        other.close()
