"""The turn of writers: whose process may write next, kept by a lock of the kernel.

Only for fairness: SQLite itself keeps the promise.  So a turn that does not come, because its
holder is frozen, is done without.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LONGEST_S = 2.0  # to wait for a turn; a write takes milliseconds
_STUCK_S = 1.0  # a holder that has it for so long is not waited for again
_OVERDUE_S = 6.0  # longer than a healthy writer can hold it while another program locks the file
_NOTE_BYTES = 40
_STOPPED = ("T", "t")  # states of a process in /proc


class Turn:
    """For one thread at a time.  A child of a fork needs one of its own: see `Connections`."""

    def __init__(self, path: Path) -> None:
        """`path`: the file that is locked; made when it is missing."""
        self.path = path
        self._fd = -1
        self._stuck = b""  # the note of a holder that was waited for in vain
        self._waiter: _Waiter | None = None

    def take(self, wait_s: float) -> bool:
        """Whether it came within `wait_s`.  Raises `OSError` on a filesystem without such locks."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._take_within(wait_s):
            holder = self._note()
            self._stuck = holder if _age_s(holder) > _STUCK_S else b""
            return False
        self._stuck = b""
        with suppress(OSError):  # a full disk; it is only for others to read
            note = f"{os.getpid()} {time.monotonic():.3f}\n"
            os.pwrite(self._fd, note.ljust(_NOTE_BYTES).encode(), 0)
        return True

    def leave(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()  # and the descriptor with it
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd, self._waiter = -1, None

    def who_holds_up(self) -> str:
        """The process that has kept the turn for too long, for people; "" when there is none.

        One that waits for SQLite's lock itself, as we do, is not meant.
        """
        if self._fd < 0:
            return ""
        note = self._note()
        pid, age_s = _pid(note), _age_s(note)
        state = _state(pid)
        if pid == os.getpid() or not (state in _STOPPED or age_s > _OVERDUE_S) or self._is_free():
            return ""
        what = "it is stopped" if state in _STOPPED else "it does not go on"
        return f"process {pid} has held the turn of writers for {age_s:.0f} s: {what}"

    def _take_within(self, wait_s: float) -> bool:
        if self._waiter is not None and self._waiter.is_busy:
            # An earlier wait, given up since, still stands in line for this process.
            return self._waiter.wait(0 if self._is_known_stuck() else wait_s)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait_s <= 0 or self._is_known_stuck():
                return False
        else:
            return True
        self._waiter = self._waiter or _Waiter(self._fd)
        return self._waiter.wait(wait_s)

    def _is_known_stuck(self) -> bool:
        return bool(self._stuck) and self._note() == self._stuck

    def _is_free(self) -> bool:
        """Asked by an opening of its own, which shares no lock with ours."""
        try:
            probe = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(probe)
        return True

    def _note(self) -> bytes:
        with suppress(OSError):
            return os.pread(self._fd, _NOTE_BYTES, 0)
        return b""


class _Waiter:
    """A thread that waits for the lock without end, so that others may wait for it in their time.

    The kernel serves who waits, in about their order; asking again and again would come too late.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._mutex = threading.Lock()  # of the three below
        self.is_busy = False
        self._is_wanted = False
        self._is_closed = False
        self._go, self._got = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._got.acquire()
        threading.Thread(target=self._run, name="turn", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Whether the lock is ours."""
        with self._mutex:
            begins, self.is_busy, self._is_wanted = not self.is_busy, True, True
        if begins:
            self._go.release()
        if self._got.acquire(timeout=max(0.0, seconds)):
            return True
        with self._mutex:
            self._is_wanted = False
            came_just_now = not self.is_busy
        return came_just_now and self._got.acquire()

    def close(self) -> None:
        with self._mutex:
            self._is_closed = True
            is_busy = self.is_busy
        if not is_busy:
            self._go.release()

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if not self._is_closed:
                with suppress(OSError):  # then it is done without, as with the first try
                    fcntl.flock(self._fd, fcntl.LOCK_EX)
            with self._mutex:
                self.is_busy = False
                if self._is_closed:
                    with suppress(OSError):  # a child of a fork may have it open as well
                        fcntl.flock(self._fd, fcntl.LOCK_UN)
                    os.close(self._fd)
                    return
                if self._is_wanted:
                    self._got.release()
                else:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)


def _pid(note: bytes) -> int:
    try:
        return int(note.split()[0])
    except (ValueError, IndexError):
        return 0


def _age_s(note: bytes) -> float:
    try:
        return time.monotonic() - float(note.split()[1])
    except (ValueError, IndexError):
        return 0.0


def _state(pid: int) -> str:
    """Its letter in /proc; "" where it cannot be seen, as in another container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
