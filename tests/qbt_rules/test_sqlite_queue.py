"""What is particular to the queue in a file."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.engines import forked
from tests.support.qbt import wait_for
from tests.support.queues import Hands, taken, worker

from qbt_rules.model import JobStatus
from qbt_rules.queue_backends import sqlite_connections
from qbt_rules.queue_backends.bell import Ringer, SocketBell
from qbt_rules.queue_backends.sqlite_connections import BUSY_TIMEOUT_S, Connections
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.queue_backends.sqlite_turn import Turn
from qbt_rules.queue_manager import NoSuchJob, create_queue, wait_until_final
from seedkeep.errors import Locked, Misused
from seedkeep.sqlite import (
    Database,
    DatabaseError,
    open_database,
    transaction,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "qbt-rules.db"


@pytest.fixture
def queue(path: Path) -> Iterator[SQLiteQueue]:
    opened = SQLiteQueue(path)
    yield opened
    opened.close()


def columns(db: Database, name: str) -> list[tuple[str, str]]:
    return [(row["name"], row["type"]) for row in db.all(f"PRAGMA table_info({name})")]


def test_the_published_tables_are_there(queue: SQLiteQueue, path: Path) -> None:
    with open_database(path) as db:
        assert columns(db, "jobs")[:9] == [
            ("id", "TEXT"),
            ("context", "TEXT"),
            ("hash", "TEXT"),
            ("status", "TEXT"),
            ("created_at", "TIMESTAMP"),
            ("started_at", "TIMESTAMP"),
            ("completed_at", "TIMESTAMP"),
            ("result", "TEXT"),
            ("error", "TEXT"),
        ]
        assert columns(db, "queue") == [
            ("id", "INTEGER"),
            ("job_id", "TEXT"),
            ("priority", "INTEGER"),
        ]
        assert {"version", "applied_at"} <= {name for name, _ in columns(db, "schema_version")}
        indexes = {row["name"] for row in db.all("SELECT name FROM sqlite_schema")}
        assert {"idx_status", "idx_created_at", "idx_context"} <= indexes
        row = db.one("PRAGMA journal_mode")
        assert row is not None
        assert row[0] == "wal"


def test_jobs_survive_a_new_opening(queue: SQLiteQueue, path: Path) -> None:
    job = queue.enqueue("a")
    queue.close()
    again = create_queue("sqlite", path=path)
    assert again.get_job(job.job_id) == job
    again.close()


def test_a_row_that_a_person_inserted_is_a_job(queue: SQLiteQueue, path: Path) -> None:
    with open_database(path) as db, transaction(db):
        db.execute("INSERT INTO jobs (id, status) VALUES ('by-hand', 'pending')")
        db.execute("INSERT INTO queue (job_id) VALUES ('by-hand')")
    job = taken(queue)
    assert job.job_id == "by-hand"
    assert abs((datetime.now(UTC) - job.created_at).total_seconds()) < 600


def test_urgent_jobs_run_first(queue: SQLiteQueue, path: Path) -> None:
    queue.enqueue("a")
    urgent = queue.enqueue("b")
    with open_database(path) as db:
        db.execute("UPDATE queue SET priority = 1 WHERE job_id = ?", (urgent.job_id,))
    assert taken(queue).job_id == urgent.job_id


def test_a_status_that_does_not_exist_cannot_be_stored(queue: SQLiteQueue, path: Path) -> None:
    with open_database(path) as db, pytest.raises(DatabaseError):
        db.execute("INSERT INTO jobs (id, status) VALUES ('x', 'paused')")


def test_the_order_of_jobs_uses_indexes(queue: SQLiteQueue, path: Path) -> None:
    """A long queue and a long history must not make a job slow."""
    statements = [
        "SELECT id FROM queue ORDER BY priority DESC, id LIMIT 1",
        "SELECT 1 FROM jobs WHERE status = 'processing'",
        "SELECT id FROM jobs WHERE status = 'pending' AND context IS ? AND hash IS ?"
        " AND dry_run = ? LIMIT 1",
        "SELECT id FROM jobs WHERE completed_at < ? ORDER BY completed_at LIMIT ?",
        "SELECT id FROM jobs WHERE status = ? ORDER BY created_at DESC, rowid DESC LIMIT 5",
        "SELECT id FROM jobs WHERE context = ? ORDER BY created_at DESC, rowid DESC LIMIT 5",
        "SELECT id FROM jobs ORDER BY created_at DESC, rowid DESC LIMIT 5",
    ]
    with open_database(path) as db:
        for statement in statements:
            values = ["x"] * statement.count("?")
            plan = db.all(f"EXPLAIN QUERY PLAN {statement}", values)
            said = " / ".join(row["detail"] for row in plan)
            assert "USING" in said, statement
            assert "TEMP B-TREE" not in said, statement


def test_a_worker_of_an_earlier_boot_holds_nothing(queue: SQLiteQueue, path: Path) -> None:
    queue.enqueue("a")
    taken(queue, "before the reboot")
    with open_database(path) as db:
        db.execute("UPDATE worker SET boot = 'another', lease_until = lease_until + 1e9")
    assert taken(queue, "after").attempts == 2


def test_setting_the_clock_ends_no_lease(queue: SQLiteQueue) -> None:
    queue.enqueue("a")
    job = taken(queue)
    with Hands(at=datetime(2099, 1, 1, tzinfo=UTC)).in_force() as hands:
        hands.monotonic()
    assert queue.reap() == []
    assert queue.complete(job, {}).status is JobStatus.COMPLETED


def test_an_error_of_one_request_does_not_touch_those_written_with_it(path: Path) -> None:
    """Twenty threads at once; every third one fails."""
    SQLiteQueue(path).close()
    connections = Connections(path)
    barrier = threading.Barrier(20)

    def insert(n: int) -> int | str:
        def work(db: Database) -> int:
            db.execute("INSERT INTO schedule_slots (entry, due) VALUES (?, 'x')", (str(n),))
            if n % 3 == 0:
                raise Misused(f"no {n}")
            return n

        barrier.wait()
        try:
            return connections.write(work)
        except Misused as why:
            return why.brief

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(insert, range(20)))
    assert answers == [f"no {n}" if n % 3 == 0 else n for n in range(20)]
    rows = {row["entry"] for row in connections.reader().all("SELECT entry FROM schedule_slots")}
    assert rows == {str(n) for n in range(20) if n % 3}
    connections.close()


def test_a_failed_commit_is_told_to_everybody(path: Path) -> None:
    SQLiteQueue(path).close()
    connections = Connections(path)
    begun, go_on = threading.Event(), threading.Event()

    def slow(_db: Database) -> None:
        begun.set()
        go_on.wait(60)

    def breaking(db: Database) -> None:
        db.script("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise DatabaseError("the disk is full")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(connections.write, slow)
        assert begun.wait(60)  # from here on the others wait for it, together
        others = [pool.submit(connections.write, work) for work in (breaking, Database.changes)]
        wait_for(lambda: len(connections._held.waiting) == 2, "the others to wait")
        go_on.set()
        first.result()
        for other in others:
            with pytest.raises(DatabaseError, match="full"):
                other.result()
    assert connections.write(lambda _db: 5) == 5
    connections.close()


@contextmanager
def held_up(connections: Connections, waiting: int) -> Iterator[None]:
    """Somebody is writing; what the block asks for waits until so many do, and is done together."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(_db: Database) -> None:
        begun.set()
        go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(connections.write, slow)
        assert begun.wait(60)
        yield
        wait_for(lambda: len(connections._held.waiting) == waiting, "the others to wait")
        go_on.set()
        first.result()


def test_those_who_ask_together_share_one_call_and_keep_their_own_errors(path: Path) -> None:
    SQLiteQueue(path).close()
    connections = Connections(path)
    calls = []

    def insert(db: Database, names: list[str]) -> list[str]:
        calls.append(sorted(names))
        for name in names:
            db.execute("INSERT INTO schedule_slots (entry, due) VALUES (?, 'x')", (name,))
        if "bad" in names:
            raise Misused("a bad one")
        return [name.upper() for name in names]

    with ThreadPoolExecutor(3) as pool:
        with held_up(connections, 3):
            asked = [pool.submit(connections.write_many, insert, n) for n in ("a", "bad", "c")]
        assert [asked[0].result(), asked[2].result()] == ["A", "C"]
        with pytest.raises(Misused, match="a bad one"):
            asked[1].result()
    assert calls[0] == ["a", "bad", "c"]
    rows = connections.reader().all("SELECT entry FROM schedule_slots ORDER BY entry")
    assert [row["entry"] for row in rows] == ["a", "c"]
    connections.close()


def test_who_cannot_open_the_file_is_told_and_holds_up_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SQLiteQueue(path).close()
    connections = Connections(path)

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("no more open files")

    with ThreadPoolExecutor(2) as pool:
        with held_up(connections, 2):
            monkeypatch.setattr(sqlite_connections, "open_database", refuse)
            asked = [pool.submit(connections.write, Database.changes) for _ in range(2)]
        for one in asked:
            with pytest.raises(DatabaseError, match="no more open files"):
                one.result()
    monkeypatch.undo()
    assert connections.write(lambda _db: 5) == 5
    connections.close()


def test_an_accepted_job_is_on_the_disk_before_the_answer_and_others_may_write_meanwhile(
    queue: SQLiteQueue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    sync = os.fdatasync

    def watching(descriptor: int) -> None:
        assert os.path.samefile(f"/proc/self/fd/{descriptor}", f"{path}-wal")
        with open_database(path, busy_timeout_s=1) as other, transaction(other):
            seen.extend(other.tuples("SELECT count(*) FROM jobs").__next__())
        sync(descriptor)
        seen.append(-1)

    monkeypatch.setattr("os.fdatasync", watching)
    queue.enqueue("a")
    assert seen == [1, -1]


def test_a_disk_that_cannot_sync_is_told_to_who_asked(
    queue: SQLiteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", failing)
        with pytest.raises(DatabaseError, match="may not be on the disk"):
            queue.enqueue("a")
    assert queue.enqueue("b").context == "b"


def test_equal_requests_of_one_moment_are_one_job(queue: SQLiteQueue) -> None:
    with ThreadPoolExecutor(6) as pool:
        with held_up(queue._connections, 6):
            asked = [pool.submit(queue.enqueue, "a", h) for h in ("11" * 20, "22" * 20) * 2]
            asked += [pool.submit(queue.enqueue, "a", "11" * 20, coalesce=False) for _ in range(2)]
        jobs = [one.result() for one in asked]
    assert jobs[0].job_id == jobs[2].job_id != jobs[1].job_id == jobs[3].job_id
    assert len({job.job_id for job in jobs}) == 4
    joined = queue.get_job(jobs[0].job_id)
    assert joined is not None
    assert joined.requests == 2
    assert queue.enqueue("a", "22" * 20).requests == 3
    assert queue.stats().depth == 4


def test_waiting_for_the_turn_is_not_needed_for_correctness(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    queue = SQLiteQueue(path)
    queue.enqueue("a")
    assert queue.complete(taken(queue), {}).status is JobStatus.COMPLETED
    queue.close()


def test_nobody_waits_for_a_locked_queue_longer_than_its_time_however_many_wait(
    queue: SQLiteQueue, path: Path
) -> None:
    """Of the same process and of others, come together and one after the other."""
    limit_s = 1.5
    processes = [Connections(path, busy_timeout_s=limit_s) for _ in range(2)]

    def waited(process: Connections, after_s: float) -> float:
        time.sleep(after_s)
        begun = time.monotonic()
        with pytest.raises(Locked):
            process.write(Database.changes)
        return time.monotonic() - begun

    with open_database(path) as db, transaction(db), ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(waited, one, 0.1 * n) for n in range(3) for one in processes]
        took = [one.result() for one in asked]
    assert max(took) < limit_s + 1
    for process in processes:
        assert process.write(lambda _db: 5) == 5
        row = process.reader().one("PRAGMA busy_timeout")
        assert row is not None
        assert row[0] == limit_s * 1000
        process.close()


def test_who_leaves_does_not_wait_for_somebody_who_keeps_the_queue_locked(
    queue: SQLiteQueue, path: Path
) -> None:
    queue.enqueue()
    held = taken(queue)
    with open_database(path) as db:
        with transaction(db):
            begun = time.monotonic()
            with pytest.raises(Locked):
                queue.leave(worker().worker_id)
            assert time.monotonic() - begun < 5
        (moved,) = queue.leave(worker().worker_id)
    assert (moved.job_id, moved.status) == (held.job_id, JobStatus.PENDING)


def test_who_leaves_does_not_wait_long_for_others_of_its_process(queue: SQLiteQueue) -> None:
    queue.enqueue()
    held = taken(queue)
    with queue._connections._turn(time.monotonic()):
        (moved,) = queue.leave(worker().worker_id)
    assert moved.job_id == held.job_id


@contextmanager
def frozen_writer(path: Path, *, in_transaction: bool) -> Iterator[int]:
    """The id of another process that is stopped while it has the turn; it goes on afterwards."""
    read_end, write_end = os.pipe()

    def hold() -> int:
        connections = Connections(path)
        with ExitStack() as stack:
            stack.enter_context(connections._turn(time.monotonic()))
            if in_transaction:
                stack.enter_context(transaction(connections.reader()))
            os.write(write_end, b".")
            time.sleep(60)
        return 0

    child = forked(hold)
    try:
        assert os.read(read_end, 1) == b"."
        os.kill(child, signal.SIGSTOP)
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)


def test_who_cannot_write_is_told_which_frozen_process_holds_up_all_and_may_still_read(
    queue: SQLiteQueue, path: Path
) -> None:
    job = queue.enqueue("before")
    queue.close()
    other = Connections(path, busy_timeout_s=1.5)
    with frozen_writer(path, in_transaction=True) as pid:
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(Locked, match=rf"process {pid} has held .* it is stopped") as told:
                other.write(Database.changes)
            assert time.monotonic() - begun < 5
            assert "kill -CONT" in told.value.hint
        assert queue.get_job(job.job_id) == job
        assert queue.health().problems == ()
    assert other.write(lambda _db: 5) == 5
    other.close()


def test_a_process_that_is_frozen_with_nothing_but_the_turn_holds_up_nobody_twice(
    queue: SQLiteQueue, path: Path
) -> None:
    with frozen_writer(path, in_transaction=False):
        began = time.monotonic()
        queue.enqueue("a")
        assert time.monotonic() - began < BUSY_TIMEOUT_S
        began = time.monotonic()
        for n in range(5):
            queue.enqueue(f"b{n}")
        assert time.monotonic() - began < 1.5
    assert queue.complete(taken(queue), {}).status is JobStatus.COMPLETED


def test_a_turn_that_came_too_late_is_given_on(queue: SQLiteQueue, path: Path) -> None:
    mine, other = Turn(Path(f"{path}-turn")), Turn(Path(f"{path}-turn"))
    assert mine.take(1)
    assert not other.take(0.1), "from here on a thread waits for it"
    mine.leave()
    wait_for(lambda: not other._waiter.is_busy, "the thread to have had it")  # type: ignore[union-attr]
    for turn in (mine, other, mine):
        assert turn.take(20)
        turn.leave()
    mine.close()
    other.close()


def test_a_turn_that_comes_after_its_owner_closed_is_not_kept_by_a_child(
    queue: SQLiteQueue, path: Path
) -> None:
    """A fork shares the lock: it would stay locked for as long as the child lives."""
    mine, other, third = (Turn(Path(f"{path}-turn")) for _ in range(3))
    assert mine.take(1)
    assert not other.take(0.1), "from here on a thread waits for it"
    child = forked(lambda: time.sleep(60) or 0)
    try:
        other.close()
        mine.leave()
        assert third.take(20)
        third.leave()
    finally:
        os.kill(child, signal.SIGKILL)  # a SIGTERM may be taken by the measuring of coverage
        os.waitpid(child, 0)
    mine.close()
    third.close()


def test_who_is_refused_after_a_wait_is_told_of_other_programs(
    queue: SQLiteQueue, path: Path
) -> None:
    impatient = Connections(path, busy_timeout_s=0.3)
    with (
        open_database(path) as db,
        transaction(db),
        pytest.raises(Locked, match="locked by another program") as told,
    ):
        impatient.write(Database.changes)
    assert "backup" in told.value.hint
    impatient.close()


def test_health_says_when_the_file_is_gone_bad(queue: SQLiteQueue, path: Path) -> None:
    queue.enqueue("a")
    queue.close()
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    path.write_bytes(os.urandom(8192))
    health = queue.health()
    assert health.problems == ("The queue's database cannot be read",)
    with pytest.raises(DatabaseError):
        queue.enqueue("b")


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_no_job_is_accepted_into_a_file_that_is_not_there_any_more(
    queue: SQLiteQueue, path: Path, tmp_path: Path, how: str
) -> None:
    queue.enqueue("before")
    SQLiteQueue(tmp_path / "other.db").close()
    with open_database(tmp_path / "other.db") as other:
        if how == "replaced":  # by one that somebody else has open
            (tmp_path / "other.db").rename(path)
            other.execute("PRAGMA user_version = 0")
            (tmp_path / "other.db-wal").rename(f"{path}-wal")
        else:
            path.unlink()
        with pytest.raises(DatabaseError, match="removed or replaced"):
            queue.enqueue("after")
        with (
            ThreadPoolExecutor(1) as another_thread,
            pytest.raises(DatabaseError, match="removed or replaced"),
        ):
            another_thread.submit(queue.stats).result()
        assert queue.health().problems == ("The queue's database was removed or replaced",)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown queue backend: 'mysql'"):
        create_queue("mysql")


def test_waiting_for_a_job_ends_with_it_or_in_time(queue: SQLiteQueue) -> None:
    job = queue.enqueue("a")
    assert wait_until_final(queue, job.job_id, 0.05).status is JobStatus.PENDING
    ending = threading.Timer(0.1, lambda: queue.complete(taken(queue), {}))
    ending.start()
    assert wait_until_final(queue, job.job_id, 60).status is JobStatus.COMPLETED
    ending.join()
    with pytest.raises(NoSuchJob):
        wait_until_final(queue, "nobody", 1)


def test_a_bell_rings_once_for_many_rings_and_bears_a_lost_owner() -> None:
    bell, ringer = SocketBell(), Ringer()
    for _ in range(1000):
        ringer.ring(bell.name)
    assert bell.wait(0)
    while bell.wait(0):
        continue
    assert not bell.wait(0.01)
    bell.close()
    ringer.ring(bell.name)
    ringer.ring(None)
    ringer.close()


def test_a_busy_queue_keeps_its_size(queue: SQLiteQueue, path: Path) -> None:
    """Retention gives back what it frees: the second half of the jobs needs no more room."""

    def sizes() -> int:
        return sum(file.stat().st_size for file in path.parent.iterdir())

    after = []
    for _ in range(4):
        for n in range(60):
            queue.enqueue("load", f"{n:040x}")
            queue.complete(taken(queue), {"text": "x" * 500})
            queue.cleanup_old_jobs(timedelta(0))
        after.append(sizes())
    assert queue.dequeue(worker()) is None
    assert after[3] <= after[1] * 1.1


def test_a_context_that_is_no_text_is_refused_before_it_is_stored(queue: SQLiteQueue) -> None:
    with pytest.raises(Misused, match="context is not text"):
        queue.enqueue("\ud800")
    queue.enqueue("good")
    assert [job.context for job in queue.list_jobs().jobs] == ["good"]
