"""What processes of one family tell each other without a word: that they live, and numbers."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Collection

BEAT_S = 0.5
STUCK_S = 60.0  # a part that has not said for so long that it goes on has stopped the heart
_MOMENT = struct.Struct("d")
MOST_NUMBERS = 20
_NUMBERS = struct.Struct(f"{1 + MOST_NUMBERS}q")  # how many, and these


class Pulse:
    """The moment of the last beat, in memory that a fork shares; and what goes with it."""

    def __init__(self) -> None:
        self.open_runs = Notice()  # relocations that were cut short
        self._memory = mmap.mmap(-1, _MOMENT.size)

    def beat(self) -> None:
        _MOMENT.pack_into(self._memory, 0, time.monotonic())  # one clock for all processes

    def stop(self) -> None:
        """Forget: whoever beat is gone."""
        _MOMENT.pack_into(self._memory, 0, 0.0)

    def age_s(self) -> float | None:
        """Seconds since the last beat; None when there was none."""
        (moment,) = _MOMENT.unpack_from(self._memory, 0)
        return time.monotonic() - moment if moment else None


class Notice:
    """Numbers that a process leaves for others, in memory that a fork shares."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBERS.size)

    def tell(self, numbers: Collection[int]) -> None:
        """In place of those before; of many the smallest `MOST_NUMBERS`."""
        some = sorted(numbers)[:MOST_NUMBERS]
        _NUMBERS.pack_into(self._memory, 0, len(some), *some, *[0] * (MOST_NUMBERS - len(some)))

    def read(self) -> tuple[int, ...]:
        count, *numbers = _NUMBERS.unpack_from(self._memory, 0)
        return tuple(numbers[:count])


class Heart:
    """Beats in a thread of its own, as long as each part of the process goes on.

    A frozen process does not beat at all; a thread that waits for ever stops it after `STUCK_S`.
    """

    def __init__(self, pulse: Pulse | None = None, *, stuck_s: float = STUCK_S) -> None:
        self._pulse = pulse or Pulse()
        self._stuck_s = stuck_s
        self._until: dict[str, float] = {}  # by part, on the monotonic clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def goes_on(self, part: str) -> None:
        """To be called by a part at least every `STUCK_S`."""
        self._until[part] = time.monotonic() + self._stuck_s

    def takes_long(self, part: str) -> None:
        """The part does what may take any time; until it says again that it goes on."""
        self._until[part] = float("inf")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def is_beating(self) -> bool:
        return time.monotonic() < min([*self._until.values()], default=float("inf"))

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.is_beating():
                self._pulse.beat()
            self._stop.wait(BEAT_S)
