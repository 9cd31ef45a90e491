"""Read files again and compare them with their hashes: is the disk still telling the truth?

Bit rot is content that changed while size and mtime did not.  Files that somebody changed since
the scan are none of that: they are counted and left to the next scan.
"""

from __future__ import annotations

import enum
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from hashall.catalog.lookups import Lookups
from hashall.catalog.trees import TreeTable
from hashall.catalog.verifications import Due, Reading, VerificationTable
from hashall.disk_failures import GivenUp
from hashall.failing_disks import FailingDisks, is_of_the_disk
from hashall.hashing import (
    ChangedWhileReading,
    NotRegular,
    forget_cached,
    hash_descriptor,
    inode_of,
    open_regular,
)
from hashall.model import RelPath
from hashall.places import Places
from hashall.shown import ShownPaths
from seedkeep import clock
from seedkeep.errors import Misused, SeedError
from seedkeep.open_databases import is_in_use

SECONDS_PER_COMMIT = 2.0


class Outcome(enum.Enum):
    SAME = "same"
    DAMAGED = "damaged"  # other content, twice the same
    UNSTABLE = "unstable"  # two readings differ: disk, cable or memory
    CHANGED = "changed"  # by somebody, since the scan
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Damage:
    """A file whose content is not what it was, and size and mtime are."""

    path: str
    outcome: Outcome  # DAMAGED or UNSTABLE
    expected: str  # SHA-256
    found: str  # SHA-256
    ctime_moved: bool  # a program may have written it and put its mtime back
    # Other files that had this content when they were read last, here or by an earlier run, and
    # that no disk failed to give since.
    good_copies: tuple[str, ...]


@dataclass
class Verified:
    """What a verification found.  Counts are of inodes."""

    read: int = 0
    bytes: int = 0
    same: int = 0
    damaged: list[Damage] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # paths: the next scan looks at them
    gone: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # path → reason
    not_mounted: int = 0
    given_up: list[GivenUp] = field(default_factory=list)
    left: int = 0  # due, and not read for want of budget or time
    left_bytes: int = 0


@dataclass(frozen=True)
class Options:
    older_than: timedelta | None = None  # only what nobody has read for so long
    # Bytes; at least one file is read.  What a disk does not give counts with its size.
    budget: int | None = None
    # From the start of the command.  What is being read then is read to its end.
    time_budget: timedelta | None = None
    workers: int = 2  # threads


@dataclass(frozen=True)
class _Answer:
    due: Due
    path: str
    outcome: Outcome
    found: str = ""  # SHA-256
    ctime_moved: bool = False
    reason: str = ""
    taken: int = 0  # bytes that were read
    seconds: float = 0.0  # since the last byte came
    failed: bool = False  # the disk did


@dataclass
class _Taken:
    """What one file gave, and when it gave something last."""

    bytes: int = 0
    last_at: float = field(default_factory=clock.monotonic)

    def add(self, count: int) -> None:
        self.bytes += count
        self.last_at = clock.monotonic()


Progress = Callable[[Verified], None]


def verify(
    places: Places, paths: Sequence[Path], options: Options, progress: Progress = lambda _: None
) -> Verified:
    """Read what is due below `paths` (everything without any), the longest unread first.

    What was read is recorded as it goes: stopped at any moment, the next call goes on from there.

    A path that cannot be looked at is told as unreadable, and keeps no other from being read.

    Raises:
        Misused: No scan has seen a path, or none of them is there.
    """
    limit = math.inf if options.time_budget is None else options.time_budget.total_seconds()
    ends_at = clock.monotonic() + limit
    shown, result = ShownPaths(places), Verified()
    disks = FailingDisks(places, result.given_up)
    work = _Work(places, options, disks, result, progress, ends_at=ends_at)
    due = _reachable(_due(places, _tops(places, paths, result), options), shown, disks, result)
    work.run(due)
    result.damaged = work.damages()  # not before: what is read last may have been a copy
    work.count_left(one for one, _ in due)
    return result


def _due(places: Places, tops: Sequence[tuple[int, RelPath]], options: Options) -> list[Due]:
    table = VerificationTable(places.catalog.db)
    before = None
    if options.older_than is not None:
        before = clock.iso(clock.now() - options.older_than)
    found = {
        (due.device_id, due.inode): due
        for device_id, top in tops
        for due in table.due(device_id, top, read_before=before)
    }
    return sorted(found.values(), key=lambda due: due.turn)


def _tops(places: Places, paths: Sequence[Path], result: Verified) -> list[tuple[int, RelPath]]:
    """What to read: places below which all is due."""
    if not paths:
        return [(device.device_id, "") for device in places.catalog.devices.all()]
    found, absent = [], 0
    for path in paths:
        try:
            found.append(_scanned(places, path))
        except OSError as why:
            absent += isinstance(why, FileNotFoundError | NotADirectoryError)
            result.unreadable[str(path)] = why.strerror or str(why)
    if absent == len(paths):
        places.named(paths[0])
    return found


def _scanned(places: Places, path: Path) -> tuple[int, RelPath]:
    """Raises `Misused`: of what no scan has seen nothing is due, which is no good news."""
    spot = places.known(path)
    device_id, relpath = spot.place.device_id, spot.place.relpath
    folders, files = TreeTable(places.catalog.db, device_id), places.catalog.files(device_id)
    if folders.directory(relpath) is None and files.file(relpath) is None:
        folder = spot.abspath if spot.abspath.is_dir() else spot.abspath.parent
        raise Misused(f"the catalog does not know {path}", hint=f"hashall scan {folder}")
    return device_id, relpath


def _reachable(
    due: Sequence[Due], shown: ShownPaths, disks: FailingDisks, result: Verified
) -> Iterator[tuple[Due, str]]:
    for one in due:
        if disks.leaves_out(one.device_id, one.size):
            continue
        path = shown.abspath(one.device_id, one.path)
        if path is not None:
            yield one, path
            continue
        disks.ask(one.device_id)
        if not disks.leaves_out(one.device_id, one.size):
            result.not_mounted += 1


class _Work:
    def __init__(
        self,
        places: Places,
        options: Options,
        disks: FailingDisks,
        result: Verified,
        progress: Progress,
        *,
        ends_at: float,  # on the monotonic clock
    ) -> None:
        self._places, self._options, self._disks = places, options, disks
        self._result, self._progress = result, progress
        self._table, self._shown = VerificationTable(places.catalog.db), ShownPaths(places)
        self._unsaved: list[Reading] = []
        self._not_given: list[Due] = []  # not saved either
        self._damaged: list[_Answer] = []
        self._saved_at = clock.monotonic()
        self._ends_at = ends_at
        self._tried, self._bytes_tried = 0, 0

    def run(self, due: Iterator[tuple[Due, str]]) -> None:
        stop = threading.Event()
        waiting: set[Future[_Answer | Due]] = set()
        pool = ThreadPoolExecutor(self._options.workers, thread_name_prefix="verify")
        try:
            while True:
                while len(waiting) < self._options.workers * 2 and self._may_begin():
                    one, path = next(due, (None, ""))
                    if one is None:
                        break
                    read = partial(read_again, one, path, stop.is_set)
                    waiting.add(pool.submit(self._in_time(one, read)))
                    self._tried += 1
                    self._bytes_tried += one.size
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    answer = future.result()
                    if isinstance(answer, Due):
                        self.count_left([answer])
                        continue
                    if not answer.failed:  # what is gone or changed was not read
                        self._bytes_tried += min(answer.taken - answer.due.size, 0)
                    self._take(answer)
                self._save_now_and_then()
                self._progress(self._result)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            self._save()

    def count_left(self, due: Iterable[Due]) -> None:
        """What the budgets left."""
        for one in due:
            self._result.left += 1
            self._result.left_bytes += one.size

    def _may_begin(self) -> bool:
        """The first is read in any case, or no run would get anywhere."""
        if self._tried and clock.monotonic() >= self._ends_at:
            return False
        return self._options.budget is None or self._bytes_tried < self._options.budget

    def _in_time(self, due: Due, read: Callable[[], _Answer]) -> Callable[[], _Answer | Due]:
        """What a thread is to do: read the file, or leave it when the time is over by then."""
        if not self._tried:
            return read
        return lambda: read() if clock.monotonic() < self._ends_at else due

    def _take(self, answer: _Answer) -> None:
        due, result, path = answer.due, self._result, answer.path
        if answer.outcome is Outcome.GONE and not self._is_on_its_disk(answer):
            result.not_mounted += 1  # by now
        elif answer.outcome is Outcome.GONE:
            result.gone.append(path)
        elif answer.outcome is Outcome.CHANGED:
            result.changed.append(path)
        elif answer.outcome is Outcome.UNREADABLE:
            result.unreadable[path] = answer.reason
            if answer.failed:
                self._not_given.append(due)
                self._disks.failed(due.device_id, answer.seconds, answer.reason)
        else:
            same = answer.outcome is Outcome.SAME
            self._disks.gave(due.device_id)
            result.read += 1
            result.bytes += due.size
            result.same += same
            found = None if same else answer.found
            self._unsaved.append(Reading(due.device_id, due.inode, due.sha256, found))
            if not same:
                self._damaged.append(answer)

    def _is_on_its_disk(self, answer: _Answer) -> bool:
        """Whether the filesystem is still mounted where the file was looked for."""
        device = self._places.catalog.devices.get(answer.due.device_id)
        for folder in Path(answer.path).parents:
            try:
                there = self._places.mounts.locate(folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, SeedError):
                return False
            return there.identity.fs_key == device.fs_key
        return False

    def damages(self) -> list[Damage]:
        """What was found damaged, each with the copies of which nobody knows that they are too."""
        if not self._damaged:
            return []
        bad, lost = self._table.damaged(), self._table.not_given()
        return [self._damage(answer, bad, lost) for answer in self._damaged]

    def _damage(
        self,
        answer: _Answer,
        bad: Mapping[tuple[int, int, str], str],
        lost: Mapping[tuple[int, int], str],
    ) -> Damage:
        due = answer.due
        copies = sorted(
            self._shown.folder(device.device_id, row.folder) + row.name
            for device in self._places.catalog.devices.all()
            for row in Lookups(self._places.catalog.db, device.device_id).by_hash(due.sha256)
            if (device.device_id, row.inode) != (due.device_id, due.inode)
            and bad.get((device.device_id, row.inode, due.sha256), "") < (row.hashed_at or "")
            and lost.get((device.device_id, row.inode), "") < (row.hashed_at or "")
        )
        return Damage(
            path=answer.path,
            outcome=answer.outcome,
            expected=due.sha256,
            found=answer.found,
            ctime_moved=answer.ctime_moved,
            good_copies=tuple(copies),
        )

    def _save_now_and_then(self) -> None:
        if clock.monotonic() - self._saved_at >= SECONDS_PER_COMMIT:
            self._save()
            self._saved_at = clock.monotonic()

    def _save(self) -> None:
        self._table.put(self._unsaved)
        self._table.put_not_given(self._not_given)
        self._unsaved.clear()
        self._not_given.clear()


def read_again(due: Due, path: str, stop: Callable[[], bool]) -> _Answer:
    """Compare one file with its hash.  A difference is read a second time before it is believed."""
    if is_in_use(path):  # a row of a scan that did not leave the catalog out yet
        return _Answer(due, path, Outcome.CHANGED)
    taken, failed = _Taken(), False
    try:
        fd = open_regular(path)
        try:
            answer = _compared(due, path, fd, stop, taken)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        answer = _Answer(due, path, Outcome.GONE)
    except (NotRegular, ChangedWhileReading):
        answer = _Answer(due, path, Outcome.CHANGED)
    except OSError as why:
        failed = is_of_the_disk(why)
        answer = _Answer(due, path, Outcome.UNREADABLE, reason=str(why.strerror))
    seconds = clock.monotonic() - taken.last_at
    return replace(answer, taken=taken.bytes, seconds=seconds, failed=failed)


def _compared(due: Due, path: str, fd: int, stop: Callable[[], bool], taken: _Taken) -> _Answer:
    seen = os.fstat(fd)
    if (inode_of(seen), seen.st_size, seen.st_mtime_ns) != (due.inode, due.size, due.mtime_ns):
        return _Answer(due, path, Outcome.CHANGED)
    found = _read(fd, path, stop, taken)
    if found == due.sha256:
        return _Answer(due, path, Outcome.SAME)
    again = _read(fd, path, stop, taken)
    outcome = Outcome.DAMAGED if again == found else Outcome.UNSTABLE
    moved = os.fstat(fd).st_ctime_ns != due.ctime_ns
    return _Answer(due, path, outcome, found, ctime_moved=moved)


def _read(fd: int, path: str, stop: Callable[[], bool], taken: _Taken) -> str:
    """`taken` gets the bytes of each block."""
    os.lseek(fd, 0, os.SEEK_SET)
    forget_cached(fd)
    return hash_descriptor(fd, path, stop=stop, progress=taken.add).sha256
