"""What a disk did not give, and how much of that is enough to leave it alone.

A disk at its end takes up to a minute to say that it cannot read, and each try wears it.  This is
imported by the helpers of a scan: it knows neither catalog nor mounts.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Protocol

from seedkeep import clock

# A filesystem is given up after so many failures one after the other, or when so much time was
# spent on waiting for what did not come.
FAILURES_IN_A_ROW = 50
SECONDS_LOST = 600.0
# What only a disk, or what stands in its place, says.
DISK_ERRORS = frozenset(
    {
        *(errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA),
        *(errno.ENODEV, errno.ETIMEDOUT, errno.ENOTCONN),
    }
)


@dataclass
class GivenUp:
    """A filesystem that failed too often; what else was due of it was not tried."""

    device: str  # alias or number
    failed: int  # times that its disk did not answer; 0: it did not even show its top
    seconds: float  # spent on that
    why: str  # the last failure, in the words of the system
    left: int = 0  # files, as far as they are known
    left_bytes: int = 0


@dataclass
class Failures:
    """The failures of one disk, in a task or in a whole run."""

    times: int = 0
    in_a_row: int = 0
    seconds: float = 0.0  # between failures with nothing in between
    why: str = ""  # the last, in the words of the system
    given: int = 0  # what had come when it failed last: more means that the row has ended
    from_the_start: bool = True  # nothing had come before the row
    # On the monotonic clock: when it failed last, was seen alive, or had its turn after others.
    last_at: float = 0.0

    @property
    def enough(self) -> bool:
        return self.in_a_row >= FAILURES_IN_A_ROW or self.seconds >= SECONDS_LOST

    def add(self, why: OSError, given: int) -> None:
        """One more; `given` counts what has come so far, in any unit."""
        now = clock.monotonic()
        if given != self.given:
            self.end_row()
        if self.in_a_row:
            self.seconds += now - self.last_at
        self.times, self.in_a_row, self.given = self.times + 1, self.in_a_row + 1, given
        self.why, self.last_at = why.strerror or str(why), now

    def end_row(self) -> None:
        self.in_a_row, self.from_the_start = 0, False

    def take(self, task: Failures | None, given: int) -> None:
        """What a task met that has just ended, and how much came in all."""
        now, before = clock.monotonic(), 0
        if task is not None:
            goes_on = task.from_the_start and self.in_a_row > 0
            self.seconds += max(task.seconds, now - self.last_at if goes_on else 0.0)
            self.in_a_row = task.in_a_row + (self.in_a_row if goes_on else 0)
            self.times, self.why, self.last_at = self.times + task.times, task.why, now
            before = task.given
        if given > before:
            self.in_a_row = 0


class EnoughFailures(Exception):
    """The disk failed too often: what is left of the work is not tried."""


class _Report(Protocol):
    failures: Failures | None


def count_failure(report: _Report, why: Exception, given: int) -> bool:
    """Whether it has been enough in this task; what says nothing of the disk does not count."""
    if not isinstance(why, OSError) or why.errno not in DISK_ERRORS:
        return False
    if report.failures is None:  # most never have any, and reports cross to other processes
        report.failures = Failures(given=given, from_the_start=not given)
    report.failures.add(why, given)
    return report.failures.enough
