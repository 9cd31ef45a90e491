"""One database file, connections for every thread of every process, and writes that share a sync.

What somebody was promised needs a sync of the disk, which takes longer than all the rest.  Threads
that want to write at the same moment therefore write in one transaction: the first to get the lock
does the work of all that wait, and each gets its own answer.  SQLite itself commits without a sync
(synchronous NORMAL: the log is synced before its pages go into the database), and what waits for
the disk here is the write-ahead log, after the lock was given away.

Processes queue up at a lock of the kernel: SQLite's own waiting is a sleep of up to 100 ms, and who
has slept longest loses to whoever comes by.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from qbt_rules.asked import waited_s
from qbt_rules.queue_backends.sqlite_turn import LONGEST_S, Turn
from seedkeep.errors import Locked
from seedkeep.sqlite import Database, DatabaseError, open_database, transaction

BUSY_TIMEOUT_S = 5.0  # from the request to `Locked`: who called waits no longer than that
_LEAST_WAIT_S = 0.05  # for the lock, however long the turn took
_UNTOUCHED = 0.9  # of that time: what was waited before is not worth a change
_JUST_REFUSED_S = 1.0  # who is late, so soon after a refusal, asks once and does not wait
_MOST_TOGETHER = 200

T = TypeVar("T")
X = TypeVar("X")


class Connections:
    """Opens connections on first use.

    A connection must not cross a fork: what a child inherits is neither used nor closed there,
    because closing would touch the parent's WAL.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        """`busy_timeout_s`: how long to wait for the lock, and below the usual for the turn too."""
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._file = _file_at(path)  # the one that all connections are to; None: not there yet
        self._held = self._none_held()
        _all.add(self)

    def is_there(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        return self._file == _file_at(self.path)

    def reader(self) -> Database:
        return self._connection()

    def write(self, work: Callable[[Database], T]) -> T:
        """Do `work` under the write lock; on the disk when this returns.

        An error in `work` undoes that work alone and is raised here.
        """
        return self.write_many(lambda db, _: [work(db)], None)

    def write_many(self, work: Callable[[Database, list[X]], list[T]], item: X) -> T:
        """`write`, for something that is cheaper for many: one call for all that wait with `work`.

        `work` gives an answer for each item, in their order.  When it fails for several, it is
        called for each of them alone.
        """
        held = self._held
        request = _Request(work, item)
        with held.mutex:
            held.waiting.append(request)
            leads, held.led = not held.led, True
        if not leads:
            request.wait()
            leads = not request.done
        if leads:
            self._lead(held, request.asked_at)
        try:
            return request.answer()
        except Locked as why:
            raise self._held_up(held, why) from why

    def _lead(self, held: _Held, asked_at: float) -> None:
        """Do what waits, which begins with this thread's own; then the next one leads.

        The next one starts before the others are woken, so that nothing stands still meanwhile.
        """
        group: list[_Request[Any, Any]] = []
        try:
            try:
                with held.lock, self._turn(asked_at):
                    db = self._connection()
                    with self._patience(db, asked_at):
                        with held.mutex:
                            group += _some(held.waiting)
                        _do_together(db, group)
            finally:
                self._hand_on(held, took=bool(group))
            self._sync(held, group)
        finally:
            for request in group:
                request.wake()

    def _hand_on(self, held: _Held, *, took: bool) -> None:
        with held.mutex:
            if not took:  # no database, no turn: this thread takes its request along
                held.waiting.popleft()
            follower = held.waiting[0] if held.waiting else None
            held.led = follower is not None
        if follower is not None:
            follower.wake()

    def _sync(self, held: _Held, group: list[_Request[Any, Any]]) -> None:
        """Every commit so far is on the disk afterwards; those of `group` are told if it is not."""
        error = None if self.is_there() else self._gone()
        try:
            self._sync_log(held)
        except OSError as why:
            error = error or DatabaseError(
                f"{self.path}: what was written may not be on the disk",
                detail=str(why),
                hint="check the disk and the kernel's log",
            )
        if error is not None:
            for request in group:
                request.fail(error)

    def _gone(self) -> DatabaseError:
        return DatabaseError(
            f"{self.path} was removed or replaced",
            detail="what is written now is lost",
            hint="restart the server",
        )

    def _sync_log(self, held: _Held) -> None:
        # No lock of SQLite's is on the log, so that closing a descriptor of it drops none.
        log = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(log)
        finally:
            os.close(log)
        if not held.folder_synced:  # once: the log stays as long as we have a connection
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            held.folder_synced = True

    def write_soon(self, work: Callable[[Database], T]) -> T:
        """Do `work` under the write lock; on the disk with the next `write`.

        Visible at once to everybody and safe from the end of a process.  A power cut may undo it,
        together with everything that came after it.
        """
        held, asked_at = self._held, time.monotonic()
        db = self._connection()
        try:
            with (
                held.lock,
                self._turn(asked_at),
                self._patience(db, asked_at),
                transaction(db),
            ):
                return work(db)
        except Locked as why:
            raise self._held_up(held, why) from why

    def close(self) -> None:
        """Close this process's connections; no thread may be using one."""
        held, self._held = self._held, self._none_held()
        for db in list(held.opened):
            db.close()
        held.turn.close()

    @contextmanager
    def _turn(self, asked_at: float) -> Iterator[None]:
        """Wait for the other processes.  Only for fairness: SQLite itself keeps the promise."""
        turn = self._held.turn
        left_s = self._left_s(asked_at) - _LEAST_WAIT_S
        try:
            is_ours = turn.take(min(LONGEST_S, left_s))
        except OSError:  # a filesystem without it
            is_ours = False
        try:
            yield
        finally:
            if is_ours:
                with suppress(OSError):
                    turn.leave()

    def _left_s(self, asked_at: float) -> float:
        return self._busy_timeout_s - (time.monotonic() - asked_at)

    def _held_up(self, held: _Held, why: Locked) -> Locked:
        """The same error, with who holds up all writers where that is known."""
        held.refused_at = time.monotonic()
        holder = held.turn.who_holds_up()
        if not holder:
            return Locked(
                f"{self.path} is locked by another program",
                detail=why.detail,
                hint="end what keeps it open: a backup, an editor of databases",
            )
        return Locked(
            f"{self.path} cannot be written: {holder}",
            detail=why.detail,
            hint="let that process go on (kill -CONT), or end it (kill -KILL)",
        )

    @contextmanager
    def _patience(self, db: Database, asked_at: float) -> Iterator[None]:
        """Wait for SQLite's lock as long as is left of the time since `asked_at`.

        Else everybody who stood in line behind one that waited in vain would begin to wait anew.
        """
        left_s = self._left_s(asked_at)
        if left_s > self._busy_timeout_s * _UNTOUCHED:
            yield
            return
        just_refused = time.monotonic() - self._held.refused_at < _JUST_REFUSED_S
        _wait_at_most(db, max(0.0 if just_refused else _LEAST_WAIT_S, left_s))
        try:
            yield
        finally:
            _wait_at_most(db, self._busy_timeout_s)

    def after_fork(self) -> None:
        _inherited.append(self._held)
        self._held = self._none_held()

    def _none_held(self) -> _Held:
        return _Held(Turn(Path(f"{self.path}-turn")))

    def _connection(self) -> Database:
        held = self._held
        db: Database | None = getattr(held.local, "db", None)
        if db is None:
            if self._file is not None and not self.is_there():
                raise self._gone()
            db = open_database(
                self.path,
                create=False,
                synchronous="NORMAL",
                busy_timeout_s=self._busy_timeout_s,
            )
            self._file = self._file or _file_at(self.path)
            held.local.db = db
            held.opened.add(db)
        return db


class _Request(Generic[X, T]):
    """One thread's work, done by itself or by the thread that leads."""

    def __init__(self, work: Callable[[Database, list[X]], list[T]], item: X) -> None:
        self.work, self.item = work, item
        self.asked_at = time.monotonic() - waited_s()
        self.done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def wait(self) -> None:
        """Until `wake`: it is done, or its thread is to lead."""
        self._asleep.acquire()

    def wake(self) -> None:
        self._asleep.release()

    def end(self, value: T | None, error: BaseException | None = None) -> None:
        self._value, self._error = value, error
        self.done = True

    def fail(self, error: BaseException) -> None:
        """Unless it has an error of its own."""
        self._error = self._error or error

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        value: T = self._value
        return value


class _Held:
    def __init__(self, turn: Turn) -> None:
        self.local = threading.local()
        self.lock = threading.Lock()  # one writer in this process
        self.mutex = threading.Lock()  # of the two below
        self.waiting: deque[_Request[Any, Any]] = deque()  # the first one's thread leads
        self.led = False
        self.folder_synced = False
        self.opened: weakref.WeakSet[Database] = weakref.WeakSet()
        self.turn = turn  # a child has its own, since a lock belongs to the opening
        self.refused_at = float("-inf")  # monotonic; when somebody last waited in vain


def _wait_at_most(db: Database, seconds: float) -> None:
    db.script(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _some(waiting: deque[_Request[Any, Any]]) -> list[_Request[Any, Any]]:
    return [waiting.popleft() for _ in range(min(len(waiting), _MOST_TOGETHER))]


def _do_together(db: Database, group: list[_Request[Any, Any]]) -> None:
    bundles: dict[Any, list[_Request[Any, Any]]] = {}
    for request in group:
        bundles.setdefault(request.work, []).append(request)
    try:
        if len(group) == 1:
            _do_bundle(db, group)  # a transaction of its own, without a savepoint in it
        else:
            with transaction(db):
                for bundle in bundles.values():
                    _do_bundle(db, bundle)
    except BaseException as why:
        for request in group:
            request.end(None, why)
        if not isinstance(why, Exception):
            raise


def _do_bundle(db: Database, bundle: list[_Request[Any, Any]]) -> None:
    """An error takes back this bundle only, and of several only the one that it belongs to."""
    try:
        with transaction(db):
            answers = bundle[0].work(db, [request.item for request in bundle])
    except Exception as why:
        if not db.in_transaction:
            raise  # SQLite rolled everything back: a full disk, an I/O error
        if len(bundle) == 1:
            bundle[0].end(None, why)
            return
        for request in bundle:
            _do_bundle(db, [request])
        return
    for request, answer in zip(bundle, answers, strict=True):
        request.end(answer)


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_inherited: list[_Held] = []  # kept, so that nothing in it is closed by being collected


def _after_fork() -> None:
    for connections in list(_all):
        connections.after_fork()


os.register_at_fork(after_in_child=_after_fork)
