"""Read the contents of files for a scan: a batch at a time, beside the walk in another process."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hashall.disk_failures import EnoughFailures, Failures, count_failure
from hashall.hashing import (
    BLOCK,
    ChangedWhileReading,
    hash_descriptor,
    hash_small,
    open_regular_seen,
    refuse_change,
    sample_descriptor,
)
from hashall.scan_model import WalkPlace
from seedkeep.errors import SeedError
from seedkeep.sqlite import from_db

# The kernel stamps files with a clock that ticks up to 10 ms apart, and some filesystems keep whole
# or every second seconds: a file as young as that can change once more without a new mtime.
CLOCK_TICK_NS = 10_000_000
COARSE_TICK_NS = 2_000_000_000
# A server's clock may run ahead of ours.  An mtime from further ahead was set by somebody, and the
# next write will not repeat it; reading such a file again at each scan would be for nothing.
CLOCK_SKEW_NS = 3_600_000_000_000
TELL_EVERY = 64 << 20  # bytes read of a large file
READ_AHEAD = 4 << 20  # bytes; of a longer file the kernel reads ahead by itself
BATCH_FILES = 64
BATCH_BYTES = 8 << 20
BATCH_LETTERS = 16_000  # of paths: a batch has to fit into a pipe


# (inode, size, mtime_ns, quick hash or None, folder, name, counted as unchanged, ctime_ns), as the
# walk found it.  With the samples of the quick hash unchanged, no more has to be read.
Item = tuple[int, int, int, str | None, str | bytes, str | bytes, int, int]


@dataclass(frozen=True)
class ReadTask:
    abspath: str  # of the place
    relpath_length: int  # letters of a folder's path that lead to the place
    st_dev: int | None  # None: on whatever filesystem; the inode has to be right in any case
    whole: bool  # SHA-256, or samples only
    items: list[Item]
    bytes: int
    letters: int  # of folders and names: a task has to fit into a pipe


def tasks(place: WalkPlace, whole: bool, items: Iterable[Item], files: int) -> Iterator[ReadTask]:
    """Tasks of at most so many files each, in the order of `items`."""
    top = len(place.relpath) + 1 if place.relpath else 0
    batch: list[Item] = []
    size = letters = 0
    for item in items:
        longer = len(item[4]) + len(item[5])
        if batch and (
            len(batch) >= files or size + item[1] > BATCH_BYTES or letters + longer > BATCH_LETTERS
        ):
            yield ReadTask(place.abspath, top, place.st_dev, whole, batch, size, letters)
            batch, size, letters = [], 0, 0
        batch.append(item)
        size += item[1]
        letters += longer
    if batch:
        yield ReadTask(place.abspath, top, place.st_dev, whole, batch, size, letters)


@dataclass
class Outcome:
    """What came of the items of a task: rows as the catalog takes them, and what went wrong."""

    # (sha256, quick hash, racy, ctime_ns, inode, size, mtime_ns); the ctime is the one that was
    # listed together with mode and links: a chmod since then is found by the next scan
    reads: list[tuple[str | None, str, bool, int, int, int, int]] = field(default_factory=list)
    # (ctime_ns, inode, size, mtime_ns) of those whose samples are as they were
    confirmed: list[tuple[int, int, int, int]] = field(default_factory=list)
    files: int = 0  # read whole
    bytes: int = 0  # of those
    sampled: int = 0
    doubted: int = 0  # names that had been counted as unchanged, and are not
    changing: list[str] = field(default_factory=list)  # paths below the place
    problems: dict[str, str] = field(default_factory=dict)  # path below the place → reason
    failures: Failures | None = None  # of the disk; with enough of them, the rest was not tried

    @property
    def given(self) -> int:
        """Files that the disk gave."""
        return len(self.reads) + len(self.confirmed) + len(self.changing)


Opened = tuple[int, os.stat_result]
_byte = bytearray(1)


def read_all(task: ReadTask, tell: Callable[[int], None] = lambda _: None) -> Outcome:
    """Read every item; `tell` hears of bytes read within large files.

    All are opened before the first is read, and the kernel told, so that a disk has many requests
    to order: cold small files come three times as fast.
    """
    reading = _Reading(task, tell, Outcome())
    top = os.open(task.abspath, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened: list[tuple[Item, str, Opened]] = []
    try:
        for item in task.items:
            below = below_place(item, task)
            try:
                opened.append((item, below, open_item(top, below, task.st_dev)))
            except (OSError, SeedError) as why:
                reading.failed(below, why)
        if task.whole:
            read_ahead([(fd, seen.st_size) for _, _, (fd, seen) in opened])
        for item, below, it in opened:
            reading.of(item, below, it)
    except EnoughFailures:
        pass  # the outcome tells
    finally:
        os.close(top)
        for _, _, (fd, _) in opened:
            os.close(fd)
    return reading.outcome


def below_place(item: Item, task: ReadTask) -> str:
    folder, name = item[4], item[5]
    if isinstance(folder, bytes):
        folder = from_db(folder)
    if isinstance(name, bytes):
        name = from_db(name)
    return f"{folder}/{name}"[task.relpath_length :] if folder else name


def open_item(top: int, below: str, st_dev: int | None) -> Opened:
    fd, seen = open_regular_seen(below, dir_fd=top)
    if st_dev not in (None, seen.st_dev):
        os.close(fd)
        raise OSError(errno.EXDEV, "something was mounted here during the scan")
    return fd, seen


def read_ahead(opened: Sequence[tuple[int, int]]) -> None:
    """Tell the kernel what is read next, unless it has that already: then telling is for nothing.

    One file in the middle stands for all.

    Args:
        opened: (descriptor, bytes) of each.
    """
    if len(opened) < 2:
        return
    with suppress(OSError):  # EAGAIN: it would have to wait; EOPNOTSUPP: it cannot tell
        if os.preadv(opened[len(opened) // 2][0], [_byte], 0, os.RWF_NOWAIT):
            return
    with suppress(OSError):  # it is advice
        for fd, size in opened:
            os.posix_fadvise(fd, 0, min(size, READ_AHEAD), os.POSIX_FADV_WILLNEED)


def read_item(
    known: str | None,
    below: str,
    opened: Opened,
    whole: bool,
    tell: Callable[[int], None] = lambda _: None,
) -> tuple[str | None, str]:
    """(SHA-256, quick hash); no SHA-256 where samples were enough.

    Args:
        known: The quick hash that it had; with the same again, no more has to be read.
        whole: SHA-256, or samples only.
    """
    fd, seen = opened
    if known is not None or not whole:
        try:
            quick = sample_descriptor(fd, seen.st_size)
            refuse_change(fd, seen, below)
        except (OSError, SeedError):
            if not whole:
                raise
        else:  # else the full read says what is wrong
            if quick == known or not whole:
                return None, quick
    small = hash_small(fd, seen.st_size) if seen.st_size < BLOCK else None
    if small is not None:
        refuse_change(fd, seen, below)
        return small
    hashed = hash_descriptor(fd, below, want_quick=True, progress=_Teller(tell))
    refuse_change(fd, seen, below)  # since it was opened, too
    return hashed.sha256, hashed.quick_hash


@dataclass(frozen=True)
class _Reading:
    task: ReadTask
    tell: Callable[[int], None]
    outcome: Outcome

    def of(self, item: Item, below: str, opened: Opened) -> None:
        begun, outcome, seen = time.time_ns(), self.outcome, opened[1]
        key = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if key != item[:3]:  # written to, or replaced, between the listing and this
            outcome.changing.append(below)
            return
        try:
            sha256, quick = read_item(item[3], below, opened, self.task.whole, self.tell)
        except (OSError, SeedError) as why:
            self.failed(below, why)
            return
        if sha256 is None:
            outcome.sampled += 1
        else:
            outcome.files += 1
            outcome.bytes += seen.st_size
        if sha256 is None and quick == item[3]:
            outcome.confirmed.append((item[7], *key))
        else:
            racy = is_racy(seen.st_mtime_ns, begun)
            outcome.reads.append((sha256, quick, racy, item[7], *key))
            outcome.doubted += item[3] is not None and item[6]

    def failed(self, below: str, why: OSError | SeedError) -> None:
        if isinstance(why, ChangedWhileReading):
            self.outcome.changing.append(below)
        elif isinstance(why, SeedError):
            self.outcome.problems[below] = why.brief
        elif not isinstance(why, FileNotFoundError):  # which the next scan notes
            self.outcome.problems[below] = why.strerror or str(why)
            if count_failure(self.outcome, why, self.outcome.given):
                raise EnoughFailures


class _Teller:
    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell, self._untold = tell, 0

    def __call__(self, count: int) -> None:
        self._untold += count
        if self._untold >= TELL_EVERY:
            self._tell(self._untold)
            self._untold = 0


def is_racy(mtime_ns: int, now_ns: int) -> bool:
    """Whether a write after `now_ns` could leave the file with this same mtime."""
    tick = CLOCK_TICK_NS if mtime_ns % 1_000_000_000 else COARSE_TICK_NS
    return -tick < mtime_ns - now_ns < CLOCK_SKEW_NS
