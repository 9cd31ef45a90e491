"""Filesystems that fail again and again while their files are read, and when to leave one alone."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from hashall.disk_failures import FAILURES_IN_A_ROW, SECONDS_LOST, GivenUp
from hashall.places import Places

__all__ = ["FAILURES_IN_A_ROW", "SECONDS_LOST", "FailingDisks", "is_of_the_disk"]

# What this user may not do, what this process has no room for, and what another program holds.
_OURS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.ENOKEY),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
        *(errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ETXTBSY),
    }
)


def is_of_the_disk(why: OSError) -> bool:
    """False for what says nothing about the disk."""
    return why.errno not in _OURS


@dataclass
class _Failures:
    """What one filesystem did not give."""

    files: int = 0
    in_a_row: int = 0
    seconds: float = 0.0


@dataclass
class FailingDisks:
    places: Places
    given_up: list[GivenUp]  # appended to
    _failures: dict[int, _Failures] = field(default_factory=dict)  # by device
    _left_alone: dict[int, GivenUp] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)

    def failed(self, device_id: int, seconds: float, why: str) -> None:
        """A file could not be read, which took so long to tell."""
        found = self._failures.setdefault(device_id, _Failures())
        found.files += 1
        found.in_a_row += 1
        found.seconds += seconds
        known = self._left_alone.get(device_id)
        if known is not None:  # this one had been begun before
            known.failed, known.seconds = found.files, found.seconds
        elif found.in_a_row >= FAILURES_IN_A_ROW or found.seconds >= SECONDS_LOST:
            self._leave_alone(device_id, GivenUp("", found.files, found.seconds, why))

    def gave(self, device_id: int) -> None:
        """A file could be read."""
        if device_id in self._failures:
            self._failures[device_id].in_a_row = 0

    def leaves_out(self, device_id: int, size: int) -> bool:
        """Whether a file of so many bytes is not to be tried; it is counted then."""
        known = self._left_alone.get(device_id)
        if known is None:
            return False
        known.left += 1
        known.left_bytes += size
        return True

    def ask(self, device_id: int) -> None:
        """Leave a filesystem alone that is mounted, and so broken that nothing can tell its id."""
        if device_id in self._asked:
            return
        self._asked.add(device_id)
        why = self.places.silence_of(self.places.catalog.devices.get(device_id))
        if why:
            self._leave_alone(device_id, GivenUp("", 0, 0.0, why))

    def _leave_alone(self, device_id: int, lost: GivenUp) -> None:
        device = self.places.catalog.devices.get(device_id)
        lost.device = device.alias or str(device_id)
        self._left_alone[device_id] = lost
        self.given_up.append(lost)
