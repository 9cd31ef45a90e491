"""The parent of the server's processes: starts them, restarts the worker, ends them in time.

It stays small: what the children need is imported after the fork, and it runs no thread.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

STOP_WITHIN_S = 27.0  # from SIGTERM to SIGKILL for what is still there
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
STEADY_S = 60.0  # a child that lived so long starts again without a pause
_STOPPING: frozenset[signal.Signals] = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_WATCHED = _STOPPING | {signal.SIGCHLD, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)


def _nothing(_incarnation: str) -> None:
    """Nothing is to be done."""


def _yes() -> bool:
    return True


class Watcher(Protocol):
    """Somebody who wants to know how the processes are."""

    def look(self) -> float:
        """Returns in how many seconds to look again.  Signals wait until it returns."""
        ...

    def stopping(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process.  `run` gets a name that no other process ever has."""

    name: str
    run: Callable[[str], int]  # in the child; its value is the exit code
    gone: Callable[[str], None] = _nothing  # in the parent, once the process has ended
    essential: bool = False  # when it ends, everything ends, with its exit code
    incarnation: Callable[[], str] = field(default=lambda: os.urandom(16).hex())


@dataclass
class _Running:
    child: Child
    pid: int = 0  # 0: not running
    incarnation: str = ""
    started: float = 0.0  # monotonic
    pause_s: float = 0.0
    start_at: float = 0.0  # monotonic; when not running


def supervise(
    children: Sequence[Child],
    *,
    stop_within_s: float = STOP_WITHIN_S,
    reload: Callable[[], bool] = _yes,
    watcher: Watcher | None = None,
) -> int:
    """Run `children` until SIGTERM, SIGINT or SIGQUIT, or until an essential one ends.

    The children get SIGTERM, and SIGKILL after `stop_within_s`; SIGHUP is passed on if `reload`
    says so.  They get SIGTERM as well when this process is killed.  Returns 0 after a signal, else
    the exit code of the essential child (at least 1).
    """
    before = set(signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED))
    running = [_Running(child) for child in children]
    code = 0
    try:
        code = _watch(running, before, reload, watcher)
    finally:
        if watcher is not None:
            watcher.stopping()
        _end(running, stop_within_s)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return code


def _watch(
    running: list[_Running],
    mask: set[int | signal.Signals],
    reload: Callable[[], bool],
    watcher: Watcher | None,
) -> int:
    look_at = 0.0 if watcher is not None else float("inf")
    while True:
        now = time.monotonic()
        for one in running:
            if not one.pid and now >= one.start_at:
                _start(one, mask)
        if watcher is not None and now >= look_at:
            pause_s = watcher.look()
            look_at = (now := time.monotonic()) + pause_s
        later = [one.start_at - now for one in running if not one.pid]
        seen = signal.sigtimedwait(_WATCHED, max(0.0, min([*later, look_at - now, 60.0])))
        if seen is not None and seen.si_signo in _STOPPING:
            return 0
        if seen is not None and seen.si_signo == signal.SIGHUP and reload():
            _signal_all(running, signal.SIGHUP)
        for one, code in _ended(running):
            if one.child.essential:
                return max(1, code)
            level = logging.WARNING if code else logging.INFO
            log.log(level, "the %s ended with %d; it starts again", one.child.name, code)


def _start(one: _Running, mask: set[int | signal.Signals]) -> None:
    one.incarnation = one.child.incarnation()
    _flush()
    parent = os.getpid()
    one.pid = os.fork()
    if one.pid == 0:
        _be_the_child(one, mask, parent)
    one.started = time.monotonic()


def _be_the_child(one: _Running, mask: set[int | signal.Signals], parent: int) -> None:
    code = 70
    try:
        for number in _WATCHED:
            signal.signal(number, signal.SIG_DFL)
        # SIGHUP waits until the child has its handler and unblocks it: it may come this early.
        signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, signal.SIGHUP})
        _die_with_parent(parent)
        code = one.child.run(one.incarnation)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    """A terminal that is gone, or a log on a full disk, ends no server."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


def _die_with_parent(parent: int) -> None:
    """A killed parent must not leave a server behind that holds the port and the seat."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    except (OSError, AttributeError):  # not Linux: the worker looks at its parent by itself
        return
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(running: list[_Running]) -> list[tuple[_Running, int]]:
    """Collect children that are gone, and plan their next start."""
    found = []
    for one in running:
        if not one.pid:
            continue
        pid, status = os.waitpid(one.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            _is_gone(one, code)
            found.append((one, code))
    return found


def _is_gone(one: _Running, code: int) -> None:
    now = time.monotonic()
    one.pid = 0
    steady = now - one.started >= STEADY_S or not code  # 0: it was asked to, for new settings
    one.pause_s = 0.0 if steady else min(max(FIRST_PAUSE_S, one.pause_s * 2), LONGEST_PAUSE_S)
    one.start_at = now + one.pause_s
    try:
        one.child.gone(one.incarnation)
    except Exception:
        log.exception("cleaning up after the %s failed", one.child.name)


def _end(running: list[_Running], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    _signal_all(running, signal.SIGTERM)
    while any(one.pid for one in running):
        left = deadline - time.monotonic()
        if left <= 0:
            _signal_all(running, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, max(0.05, min(left, 1.0)))
        _ended(running)


def _signal_all(running: list[_Running], number: signal.Signals) -> None:
    for one in running:
        if one.pid:
            os.kill(one.pid, number)
