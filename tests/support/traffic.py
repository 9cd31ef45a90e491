"""Bytes that really went to a disk, whoever wrote them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

SECTOR = 512  # bytes; the unit of the block layer's counters, whatever the disk's own is


def written_to(folder: Path) -> int:
    """Bytes written to the block device of `folder` since it exists; writes what is waiting first.

    Only for a filesystem on one block device of its own, such as a loop device: others would count
    what everybody writes.  btrfs and ZFS hide their devices behind numbers of their own.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.sync()
    number = folder.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text()
    return int(counters.split()[6]) * SECTOR


class ReadMeter:
    """Bytes that a process asked to read, until it ended; from /proc, sampled every 20 ms."""

    def __init__(self, pid: int) -> None:
        self.bytes_read = 0
        self._io = Path(f"/proc/{pid}/io")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            try:
                lines = self._io.read_text().splitlines()
            except OSError:
                return  # it has ended
            self.bytes_read = int(dict(line.split(": ") for line in lines)["rchar"])
