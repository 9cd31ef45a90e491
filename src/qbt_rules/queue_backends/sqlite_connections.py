"""One database file, connections for every thread of every process, and writes that share a sync.

A commit of what somebody was promised ends with a sync of the disk, which takes longer than all the
rest.  Threads that want to write at the same moment therefore write in one transaction: the first
to get the lock does the work of all that wait, and each gets its own answer.

Processes queue up at a lock of the kernel: SQLite's own waiting is a sleep of up to 100 ms, and who
has slept longest loses to whoever comes by.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from seedkeep.sqlite import Database, open_database, transaction

BUSY_TIMEOUT_S = 10.0
_MOST_TOGETHER = 200

T = TypeVar("T")


class Connections:
    """Opens connections on first use.

    A connection must not cross a fork: what a child inherits is neither used nor closed there,
    because closing would touch the parent's WAL.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held = _Held()
        _all.add(self)

    def reader(self) -> Database:
        return self._connection("durable", "FULL")

    def write(self, work: Callable[[Database], T]) -> T:
        """Do `work` under the write lock; on the disk when this returns.

        An error in `work` undoes that work alone and is raised here.
        """
        held = self._held
        request = _Request(work)
        held.waiting.append(request)
        with held.lock, self._turn():
            while not request.done:
                _do_together(self.reader(), _some(held.waiting))
        return request.answer()

    def write_soon(self, work: Callable[[Database], T]) -> T:
        """Do `work` under the write lock; on the disk with the next `write`.

        Visible at once to everybody and safe from the end of a process.  A power cut may undo it,
        together with everything that came after it.
        """
        db = self._connection("soon", "NORMAL")
        with self._held.lock, self._turn(), transaction(db):
            return work(db)

    def close(self) -> None:
        """Close this process's connections; no thread may be using one."""
        held, self._held = self._held, _Held()
        for db in list(held.opened):
            db.close()
        if held.turn >= 0:
            os.close(held.turn)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the other processes.  Only for fairness: SQLite itself keeps the promise."""
        held = self._held
        try:
            if held.turn < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                held.turn = os.open(f"{self.path}-turn", flags, 0o600)
            fcntl.flock(held.turn, fcntl.LOCK_EX)
        except OSError:  # a filesystem without it
            yield
            return
        try:
            yield
        finally:
            fcntl.flock(held.turn, fcntl.LOCK_UN)

    def after_fork(self) -> None:
        _inherited.append(self._held)
        self._held = _Held()

    def _connection(self, name: str, synchronous: str) -> Database:
        held = self._held
        db: Database | None = getattr(held.local, name, None)
        if db is None:
            db = open_database(
                self.path,
                create=False,
                synchronous=synchronous,
                busy_timeout_s=BUSY_TIMEOUT_S,
            )
            setattr(held.local, name, db)
            held.opened.add(db)
        return db


class _Request(Generic[T]):
    """One thread's work, done by itself or by the thread before it."""

    def __init__(self, work: Callable[[Database], T]) -> None:
        self._work = work
        self._value: T
        self._error: BaseException | None = None
        self.done = False

    def run(self, db: Database) -> None:
        try:
            with transaction(db):  # a savepoint: an error takes back this work only
                self._value = self._work(db)
        except Exception as why:
            self._error = why
            if not db.in_transaction:
                raise  # SQLite rolled everything back: a full disk, an I/O error

    def end(self, error: BaseException | None = None) -> None:
        self._error = error or self._error
        self.done = True

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value


class _Held:
    def __init__(self) -> None:
        self.local = threading.local()
        self.lock = threading.Lock()
        self.waiting: deque[_Request[Any]] = deque()
        self.opened: weakref.WeakSet[Database] = weakref.WeakSet()
        self.turn = -1  # descriptor; a child opens its own, since a lock belongs to the opening


def _some(waiting: deque[_Request[Any]]) -> list[_Request[Any]]:
    """Only called under the lock, so that nobody else takes from the left."""
    return [waiting.popleft() for _ in range(min(len(waiting), _MOST_TOGETHER))]


def _do_together(db: Database, group: list[_Request[Any]]) -> None:
    try:
        with transaction(db):
            for request in group:
                request.run(db)
    except BaseException as why:
        for request in group:
            request.end(why)
        if not isinstance(why, Exception):
            raise
        return
    for request in group:
        request.end()


_all: weakref.WeakSet[Connections] = weakref.WeakSet()
_inherited: list[_Held] = []  # kept, so that nothing in it is closed by being collected


def _after_fork() -> None:
    for connections in list(_all):
        connections.after_fork()


os.register_at_fork(after_in_child=_after_fork)
