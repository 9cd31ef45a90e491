"""When the request that a thread works on was made: whoever waits counts from there.

A burst waits for a thread before it can wait for the queue.  Counted from the thread's beginning,
each would be patient anew, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_asked_at: ContextVar[float | None] = ContextVar("asked_at", default=None)


@contextmanager
def asked_at(moment: float) -> Iterator[None]:
    """What this thread does in the block was asked for at `moment`, on the monotonic clock."""
    before = _asked_at.set(moment)
    try:
        yield
    finally:
        _asked_at.reset(before)


def waited_s() -> float:
    """Seconds since what this thread does was asked for; 0.0 when nobody has said so."""
    moment = _asked_at.get()
    return 0.0 if moment is None else max(0.0, time.monotonic() - moment)
