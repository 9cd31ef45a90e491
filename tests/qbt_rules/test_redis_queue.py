"""What is particular to the queue in Redis."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from tests.support.queues import HASH, taken, worker
from tests.support.redis_server import RedisServer

from qbt_rules.model import JobStatus
from qbt_rules.queue_backends import redis_queue
from qbt_rules.queue_backends.redis_queue import TRIES, RedisQueue
from qbt_rules.queue_manager import LeaseLost, NoSuchJob, QueueUnreachable, create_queue
from seedkeep.errors import Misused

NOWHERE = "redis://:geheim@127.0.0.1:1/0"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def queue(server: RedisServer) -> Iterator[RedisQueue]:
    opened = RedisQueue(server.url)
    yield opened
    opened.close()


@pytest.fixture
def raw(server: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(server.url, protocol=2, decode_responses=True)
    yield client
    client.close()


def test_the_published_keys_are_there(queue: RedisQueue, raw: redis.Redis) -> None:
    job = queue.enqueue("scheduled")
    assert raw.lrange("qbt_rules:queue:pending", 0, -1) == [job.job_id]
    assert raw.smembers("qbt_rules:jobs:status:pending") == {job.job_id}
    assert raw.smembers("qbt_rules:jobs:context:scheduled") == {job.job_id}
    assert raw.zscore("qbt_rules:jobs:by_time", job.job_id) == pytest.approx(
        job.created_at.timestamp(), abs=1e-3
    )
    fields = raw.hgetall(f"qbt_rules:jobs:{job.job_id}")
    assert fields["id"] == job.job_id
    assert fields["status"] == "pending"
    assert fields["created_at"].endswith("Z")
    # What has no value is not there: a hash cannot hold a null.
    assert {"hash", "started_at", "completed_at", "result", "error"} & fields.keys() == set()


def test_removed_jobs_leave_no_key_behind(queue: RedisQueue, raw: redis.Redis) -> None:
    queue.enqueue("scheduled", HASH)
    queue.complete(taken(queue), {})
    queue.cancel_job(queue.enqueue("scheduled").job_id)
    queue.enqueue("scheduled")
    queue.fail(taken(queue), "no")
    assert queue.leave("one") == []
    assert queue.cleanup_old_jobs(timedelta(0)) == 3
    assert raw.keys("*") == []


def test_accepted_jobs_survive_the_death_of_redis(queue: RedisQueue, server: RedisServer) -> None:
    jobs = [queue.enqueue(f"c{n}") for n in range(20)]
    queue.complete(taken(queue), {"rules_matched": 1})
    running = taken(queue)
    server.kill()
    server.start()
    assert queue.get_job(jobs[0].job_id) is not None
    assert queue.complete(running, {}).status is JobStatus.COMPLETED
    assert queue.stats().counts[JobStatus.PENDING] == 18
    assert taken(queue).context == "c2"


def test_a_short_absence_of_redis_is_bridged(queue: RedisQueue, server: RedisServer) -> None:
    queue.enqueue("before")
    server.kill()
    back = threading.Timer(0.2, server.start)
    back.start()
    assert queue.enqueue("while away").status is JobStatus.PENDING
    back.join()
    assert queue.stats().total == 2


def test_a_long_absence_is_an_error_that_a_person_understands() -> None:
    queue = create_queue("redis", url=NOWHERE)
    began = time.monotonic()
    with pytest.raises(QueueUnreachable) as away:
        queue.enqueue("a")
    assert 0.5 < time.monotonic() - began < 30
    assert away.value.brief == "Redis does not answer"
    assert "geheim" not in str(away.value)
    assert "127.0.0.1:1" in away.value.detail
    health = queue.health()
    assert health.problems == ("Redis does not answer",)
    assert health.worker is None
    bell = queue.bell()
    assert not bell.wait(0.01)
    bell.close()
    queue.close()


def test_who_leaves_does_not_wait_for_a_redis_that_stands_still(
    queue: RedisQueue, server: RedisServer
) -> None:
    queue.enqueue()
    held = taken(queue)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(QueueUnreachable):
            queue.leave(worker().worker_id)
        assert time.monotonic() - begun < 8
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert queue.leave(worker().worker_id) in ([], [queue.get_job(held.job_id)])
    again = queue.get_job(held.job_id)
    assert again is not None
    assert again.status is JobStatus.PENDING


def test_a_redis_that_stands_still_is_not_waited_for_again_and_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections: the library would try in three places, one inside the other."""
    monkeypatch.setattr(redis_queue, "TRY_FOR_S", 0.5)
    queue = RedisQueue("", client=redis_queue._client(server.url, tries=TRIES, timeout_s=0.5))
    queue.enqueue("before")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # by a connection of before, and by a new one
            begun = time.monotonic()
            with pytest.raises(QueueUnreachable):
                queue.enqueue("a")
            assert time.monotonic() - begun < 2.5
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert queue.enqueue("after").context == "after"
    queue.close()


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(Misused) as wrong:
        create_queue("redis", url="http://geheim@example.org")
    assert "geheim" not in str(wrong.value)


def test_a_redis_that_wants_a_password_is_named(server: RedisServer, raw: redis.Redis) -> None:
    raw.config_set("requirepass", "right")
    queue = create_queue("redis", url=server.url)
    with pytest.raises(QueueUnreachable, match="Redis refuses the login"):
        queue.enqueue("a")
    queue.close()


def test_what_redis_cannot_do_is_told(queue: RedisQueue, raw: redis.Redis) -> None:
    raw.set("qbt_rules:queue:pending", "not a list")
    with pytest.raises(QueueUnreachable, match="cannot do what the queue needs"):
        queue.enqueue("a")


def test_a_redis_without_append_only_file_is_warned_of(queue: RedisQueue, raw: redis.Redis) -> None:
    assert queue.health().warnings == ()
    raw.config_set("appendonly", "no")
    assert "append-only" in queue.health().warnings[0]


def test_a_repeated_dequeue_gives_the_same_job(
    queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was lost on the way, and the library asked again."""
    queue.enqueue("a")
    queue.enqueue("b")
    real = queue._scripts["DEQUEUE"]

    def twice(args: list[object]) -> object:
        first = real(args=args)
        assert real(args=args) == first
        return first

    monkeypatch.setitem(queue._scripts, "DEQUEUE", twice)
    assert taken(queue).context == "a"
    assert queue.dequeue(worker()) is None


def test_a_repeated_enqueue_is_one_job(queue: RedisQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    real = queue._scripts["ENQUEUE"]

    def twice(args: list[object]) -> object:
        real(args=args)
        return real(args=args)

    monkeypatch.setitem(queue._scripts, "ENQUEUE", twice)
    job = queue.enqueue("a")
    assert job.requests == 1
    assert queue.stats().total == 1


def test_a_job_whose_data_somebody_deleted_stops_nothing(
    queue: RedisQueue, raw: redis.Redis
) -> None:
    gone = queue.enqueue("gone")
    queue.enqueue("b")
    raw.delete(f"qbt_rules:jobs:{gone.job_id}")
    assert taken(queue).context == "b"


def test_a_request_joins_no_job_whose_data_is_gone(queue: RedisQueue, raw: redis.Redis) -> None:
    gone = queue.enqueue("on_added", HASH)
    raw.delete(f"qbt_rules:jobs:{gone.job_id}")
    again = queue.enqueue("on_added", HASH)
    assert again.job_id != gone.job_id
    assert queue.enqueue("on_added", HASH).requests == 2
    assert taken(queue).job_id == again.job_id


def test_jobs_are_listed_without_those_whose_data_is_gone(
    queue: RedisQueue, raw: redis.Redis
) -> None:
    kept, gone = queue.enqueue("a"), queue.enqueue("b")
    raw.delete(f"qbt_rules:jobs:{gone.job_id}")
    assert [job.job_id for job in queue.list_jobs().jobs] == [kept.job_id]
    assert [job.job_id for job in queue.list_jobs(JobStatus.PENDING).jobs] == [kept.job_id]
    assert queue.cleanup_old_jobs(timedelta(0)) == 1
    assert queue.stats().total == 1


def test_a_running_job_whose_data_is_gone_is_not_taken_up_again(
    queue: RedisQueue, raw: redis.Redis
) -> None:
    queue.enqueue("a")
    queue.enqueue("b")
    running = taken(queue)
    raw.delete(f"qbt_rules:jobs:{running.job_id}")
    with pytest.raises(LeaseLost):
        queue.complete(running, {})
    assert queue.leave("one") == []
    assert taken(queue, "two").context == "b"
    assert not raw.exists(f"qbt_rules:jobs:{running.job_id}")


@pytest.mark.parametrize("key", ["by_time", "by_end", "status:pending", "context:a", "x", ""])
def test_other_keys_of_the_queue_are_no_jobs(queue: RedisQueue, key: str) -> None:
    queue.enqueue("a")
    queue.complete(taken(queue), {})
    queue.enqueue("a")
    assert queue.get_job(key) is None
    with pytest.raises(NoSuchJob):
        queue.cancel_job(key)


def test_a_redis_that_may_throw_jobs_away_is_warned_of(queue: RedisQueue, raw: redis.Redis) -> None:
    raw.config_set("maxmemory-policy", "allkeys-lru")
    assert queue.health().warnings == ()  # it has all the memory that it wants
    raw.config_set("maxmemory", "100mb")
    assert "maxmemory-policy" in queue.health().warnings[0]
    raw.config_set("maxmemory-policy", "volatile-lru")  # no key of the queue has an end
    assert queue.health().warnings == ()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("maxmemory", "1", "its memory is full"),
        ("min-replicas-to-write", "1", "it does not accept changes"),
    ],
)
def test_a_redis_that_accepts_no_changes_is_told_as_such(
    queue: RedisQueue, raw: redis.Redis, setting: str, value: str, words: str
) -> None:
    raw.config_set(setting, value)
    with pytest.raises(QueueUnreachable, match="cannot do what the queue needs") as wrong:
        queue.enqueue("a")
    assert words in wrong.value.hint


def test_the_bell_rings_again_after_redis_was_away(server: RedisServer) -> None:
    queue, other = RedisQueue(server.url), RedisQueue(server.url)
    bell = queue.bell()
    bell.wait(0.01)
    server.kill()
    assert not bell.wait(0.01)
    server.start()
    deadline = time.monotonic() + 60
    while not bell.wait(0.05):  # it subscribes anew, and says that it has to be looked
        assert time.monotonic() < deadline
    ringing = threading.Timer(0.1, other.enqueue, ["a"])
    ringing.start()
    assert bell.wait(60)
    ringing.join()  # the bell rings before the answer is there
    bell.close()
    queue.close()
    other.close()
