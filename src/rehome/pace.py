"""When groups may begin, and how fast their bytes may flow."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from seedkeep import clock

_WINDOW = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
SHORTEST_SLEEP_S = 0.01


@dataclass(frozen=True)
class Window:
    """A part of each day, in local time; it may reach over midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """`01:00-07:00`.  Raises ValueError."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no window; write it as 01:00-07:00")
        first, first_minute, last, last_minute = (int(number) for number in found.groups())
        start = time(first, first_minute)
        end = time(0 if (last, last_minute) == (24, 0) else last, last_minute)
        if (first, first_minute) == (last, last_minute):
            raise ValueError(f"{text!r} begins when it ends")
        return cls(start, end)

    def is_open(self, moment: datetime) -> bool:
        now = moment.astimezone().time()
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def opens_in(self, moment: datetime) -> timedelta:
        """How long until it is open; zero while it is."""
        if self.is_open(moment):
            return timedelta(0)
        local = moment.astimezone()
        opening = local.replace(
            hour=self.start.hour, minute=self.start.minute, second=0, microsecond=0
        )
        if opening <= local:
            opening += timedelta(days=1)
        return opening - local

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass
class Throttle:
    """Keeps a flow of bytes under a rate; idle time is not saved up."""

    bytes_per_s: int
    _began_s: float = -1.0
    _passed: int = 0

    def passed(self, count: int) -> None:
        """`count` bytes went by; sleeps when that was too fast."""
        now = clock.monotonic()
        due_s = self._began_s + self._passed / self.bytes_per_s
        if self._began_s < 0 or now - due_s > 1:  # first, or after a pause
            self._began_s, self._passed = now, 0
        self._passed += count
        early_s = self._began_s + self._passed / self.bytes_per_s - clock.monotonic()
        if early_s > SHORTEST_SLEEP_S:
            clock.sleep(early_s)


def throttled(copying: Callable[[int], None], bytes_per_s: int | None) -> Callable[[int], None]:
    """Tell `copying` of bytes, and hold them back when there is a limit."""
    if bytes_per_s is None:
        return copying
    throttle = Throttle(bytes_per_s)

    def told(count: int) -> None:
        copying(count)
        throttle.passed(count)

    return told


def be_humble() -> None:
    """Let every other process go first, for the processor; from now to this process's end.

    Linux derives the priority on the disk from it where the scheduler of the disk knows any.
    """
    os.nice(19)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
