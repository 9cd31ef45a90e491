"""Queues for tests, one of each kind, with a clock that tests can turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fakeredis
from tests.support.redis_server import RedisServer

from qbt_rules.model import Job
from qbt_rules.queue_backends.redis_queue import RedisQueue
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.queue_manager import QueueManager, WorkerName, create_queue
from seedkeep import clock

KINDS = ("sqlite", "redis", "fakeredis")
START = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
LEASE_S = 30.0
HASH = "c9" * 20


@dataclass
class Hands:
    """A clock whose hands a test moves; it also ticks a little with every look."""

    at: datetime = START
    tick: timedelta = field(default=timedelta(microseconds=100))

    def now(self) -> datetime:
        self.at += self.tick
        return self.at

    def monotonic(self) -> float:
        return (self.now() - START).total_seconds() + 1000

    def ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    @contextmanager
    def in_force(self) -> Iterator[Hands]:
        with clock.using(now=self.now, monotonic=self.monotonic):
            yield self


def open_queue(kind: str, folder: Path, server: RedisServer | None, hands: Hands) -> QueueManager:
    """A new, empty queue whose leases follow `hands` (which must be in force)."""
    if kind == "sqlite":
        return SQLiteQueue(folder / "queue.db")
    if kind == "fakeredis":
        fake = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        return RedisQueue("", client=fake, lease_clock_ms=hands.ms)
    assert server is not None
    server.empty()
    return RedisQueue(server.url, lease_clock_ms=hands.ms)


def open_again(kind: str, folder: Path, server: RedisServer | None) -> QueueManager:
    """Another opening of the same queue, as another process has it; real time."""
    if kind == "sqlite":
        return create_queue("sqlite", path=folder / "queue.db")
    assert server is not None
    return create_queue("redis", url=server.url)


def worker(name: str = "one", lease_s: float = LEASE_S) -> WorkerName:
    return WorkerName(worker_id=name, host="host", pid=42, lease_s=lease_s)


def taken(queue: QueueManager, name: str = "one") -> Job:
    job = queue.dequeue(worker(name))
    assert job is not None
    return job
