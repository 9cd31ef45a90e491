"""Stop an operation at each call that changes a disk: by a real SIGKILL, or by an error."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hashall import dirfd

CHANGES = (
    *("mkdir", "rename", "link", "unlink", "rmdir", "write", "ftruncate", "utime"),
    *("chmod", "fchmod", "chown", "fchown", "setxattr", "fsync"),
)


@contextmanager
def each_change(before: Callable[[str], None]) -> Iterator[None]:
    """Call `before(name of the call)` ahead of every call that changes the disk."""

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:
                before(name)
            return real(*args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in (*CHANGES, "open"):
            patch.setattr(os, name, watched(name, getattr(os, name)))
        patch.setattr(fcntl, "ioctl", watched("ioctl", fcntl.ioctl))
        patch.setattr(dirfd, "renameat2", watched("renameat2", dirfd.renameat2))
        yield


def changes_of(action: Callable[[], object]) -> list[str]:
    """Perform `action`; the names of its calls that changed the disk, in order."""
    calls: list[str] = []
    with each_change(calls.append):
        action()
    return calls


def killed_at(number: int, action: Callable[[], object]) -> bool:
    """Perform `action` in a child that gets SIGKILL before its change `number` (from 0).

    False: the child came to its end before that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the runner has threads; we exec none
        child = os.fork()
    if child == 0:
        _perform_and_die(number, action)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, "the operation failed in the child; its traceback is on stderr"
    return False


def _perform_and_die(number: int, action: Callable[[], object]) -> None:
    left = iter(range(number))

    def before(_name: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.settrace(None)  # no coverage of a process that never reports
        with each_change(before):
            action()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


@contextmanager
def failing(name: str, code: int, *, at: int = 0, times: int = 1) -> Iterator[None]:
    """Make the change `name` fail with this errno, from its occurrence `at` on, `times` times."""
    seen = 0

    def before(call: str) -> None:
        nonlocal seen
        if call == name:
            seen += 1
            if at < seen <= at + times:
                raise OSError(code, os.strerror(code))

    with each_change(before):
        yield


@contextmanager
def without_noreplace() -> Iterator[None]:
    """As on a filesystem that does not know RENAME_NOREPLACE (NFS, some FUSE)."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dirfd, "renameat2", refuse)
        yield
