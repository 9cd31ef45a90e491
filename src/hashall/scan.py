"""Fill the catalog from the disk: walk, compare, hash what is new, write.

A scan may be stopped at any moment.  Names are written as directories are read and hashes as they
come, so the next scan goes on where this one ended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hashall.catalog.scan_load import CatalogLoad, large_writes
from hashall.catalog.scan_twins import want_twins
from hashall.catalog.scans import is_at_or_below
from hashall.devices import link_counts_are_true
from hashall.disk_failures import EnoughFailures, Failures, GivenUp
from hashall.hashing import inode_of
from hashall.model import RelPath
from hashall.places import Places, Spot
from hashall.scan_crew import Crew
from hashall.scan_hash import ReadQueue
from hashall.scan_model import (
    DriftPolicy,
    Findings,
    HashMode,
    Progress,
    ScannedRoot,
    ScanOptions,
    ScanState,
    ScanSummary,
    WalkPlace,
)
from hashall.scan_mounts import ScanPlaces, check_roots, tell_missed_mounts
from hashall.scan_read import BATCH_FILES
from hashall.scan_work import WalkTask
from seedkeep import clock
from seedkeep.collector import without_collector
from seedkeep.open_databases import files_in_use
from seedkeep.sqlite import transaction

__all__ = [
    "DriftPolicy",
    "HashMode",
    "Progress",
    "ScanOptions",
    "ScanState",
    "ScanSummary",
    "ScannedRoot",
    "check_roots",
    "scan",
]

SECONDS_PER_COMMIT = 1.0
CHANGES_PER_COMMIT = 5000  # rows, about: helpers have work for the time that so many take
ENTRIES_PER_TASK = 2000
READ_PER_TASK = 500  # where they are also read: on a slow disk so many take seconds
FOLDERS_PER_TASK = 64
LETTERS_PER_TASK = 16_000  # of paths: a task has to fit into a pipe
# From so much on, starting helpers (a tenth of a second) pays.
HELPERS_FROM_ENTRIES = 4000
HELPERS_FROM_FILES = 1000  # that have to be read
HELPERS_FROM_BYTES = 64 << 20
# Large files keep disk and cores busy in turn: one more reader makes use of both (measured).
LARGE_ON_AVERAGE = 16 << 20  # bytes


def scan(
    places: Places, roots: Sequence[Path], options: ScanOptions, progress: Progress = lambda _: None
) -> ScanSummary:
    """Scan `roots` and, unless told otherwise, the filesystems mounted below them.

    A root that cannot be looked at is told, and keeps none of the others from being scanned.

    Raises:
        Misused: No root can be scanned, or one is no directory; nothing was written by then.
    """
    lost = check_roots(roots)
    with without_collector(), large_writes(places.catalog.db):
        scanning = _Scan(places, options, progress)
        scanning.summary.unreadable.update(
            {str(path.absolute()): why for path, why in lost.items()}
        )
        summary = scanning.run([path for path in roots if path not in lost])
    tell_missed_mounts(places, summary, lost)
    return summary


class _Scan:
    def __init__(self, places: Places, options: ScanOptions, progress: Progress) -> None:
        self.places, self.options = places, options
        self.state = ScanState()
        self.summary = self.state.summary
        self._progress = progress
        self.crew = Crew(self._told)
        self._failing: dict[int, Failures] = {}  # by device
        self._left_alone: set[int] = set()  # devices
        self.interrupted: dict[int, bool] = {}  # device → whether its last scan was, until mended

    def run(self, roots: Sequence[Path]) -> ScanSummary:
        try:
            done = self._walk_all(roots)
            if self.options.mode is HashMode.UPGRADE:
                for place in done:
                    self._try(place, place.upgrade)
            for place in done:
                if place.walked and not place.completed:
                    place.complete()
        finally:
            self.crew.close()
        return self.summary

    def _walk_all(self, roots: Sequence[Path]) -> list[_PlaceScan]:
        where = ScanPlaces(self.places, self.summary, self.options.one_file_system)
        queue = deque(where.of_roots(roots))
        done: list[_PlaceScan] = []
        while queue:
            spot = queue.popleft()
            if any(_covers(other.spot, spot) for other in done):
                continue  # another name of a place that was just scanned
            if self._is_left_alone(spot):
                continue
            try:
                place = _PlaceScan(self, spot)
            except OSError as why:  # unmounted, or dead, since it was located
                self.summary.unreadable[spot.located.abspath] = why.strerror or str(why)
                continue
            self._try(place, place.run)
            if place.walked and self.options.mode is not HashMode.UPGRADE:
                place.complete()
            done.append(place)
            queue.extend(where.beyond(place.borders))
        return done

    def _try(self, place: _PlaceScan, work: Callable[[], None]) -> None:
        """Work on a place, unless its disk was given up, or until it is."""
        if place.place.device_id in self._left_alone:
            return
        self.failing(place.place.device_id).last_at = clock.monotonic()
        try:
            work()
        except EnoughFailures:
            self.crew.close()  # what helpers still have to do is not done
            self.crew = Crew(self._told)
            self._left_alone.add(place.place.device_id)
            self.summary.given_up.append(place.give_up())
            self.show()

    def _is_left_alone(self, spot: Spot) -> bool:
        if spot.device.device_id not in self._left_alone:
            return False
        self.summary.unreadable[spot.located.abspath] = "its disk was given up"
        return True

    def failing(self, device_id: int) -> Failures:
        return self._failing.setdefault(device_id, Failures())

    def show(self) -> None:
        self._progress(self.state)

    def _told(self, count: int) -> None:
        self.state.read_bytes += count
        for failing in self._failing.values():  # to read a large file is no time lost
            failing.last_at = clock.monotonic()
        self.show()


def _covers(done: Spot, spot: Spot) -> bool:
    return done.device.device_id == spot.device.device_id and is_at_or_below(
        spot.place.relpath, done.place.relpath
    )


class _PlaceScan:
    """One place on one filesystem."""

    def __init__(self, scan: _Scan, spot: Spot) -> None:
        self._scan, self.spot = scan, spot
        self._summary, self._state = scan.summary, scan.state
        catalog, device_id = scan.places.catalog, spot.device.device_id
        self._catalog, self._db = catalog, catalog.db
        self._load = CatalogLoad(catalog.db, device_id, scan.options.drift)
        scan.interrupted.setdefault(device_id, catalog.scans.was_interrupted(device_id))
        self._unwritten: list[Findings] = []
        self._rows = 0  # in `_unwritten`, about
        self._gaps: dict[RelPath, str] = {}
        self._lost = False  # some name went, or leads to another inode
        self._failing = scan.failing(device_id)
        self.borders: list[str] = []  # directories below this place where something is mounted
        self.walked = self.completed = False
        self.place = self._walk_place()

    def _walk_place(self) -> WalkPlace:
        located, options = self.spot.located, self._scan.options
        inode = os.stat(located.abspath).st_ino
        known = self._load.knows(located.relpath)
        return WalkPlace(
            device_id=self.spot.device.device_id,
            abspath=located.abspath,
            relpath=located.relpath,
            st_dev=located.st_dev,
            inode=inode,
            catalog=str(self._db.path) if known else None,
            first=self._load.is_empty(),
            readers=options.workers,
            true_links=link_counts_are_true(self.spot.device.fs_type),
            mount_points=frozenset(m.mount_point for m in self._scan.places.mounts.mounts),
            databases=frozenset((it.st_dev, inode_of(it)) for it in files_in_use()),
            exclude=options.exclude,
            drift=options.drift,
            mode=options.mode,
        )

    def run(self) -> None:
        device, state = self.spot.device, self._state
        state.root, state.device = self.place.abspath, device.alias or str(device.device_id)
        state.indexing = self._load.names_to_index()
        if state.indexing:
            self._scan.show()
        with transaction(self._db):
            self._catalog.scans.begin(self.place.device_id, self.place.relpath)
            self._load.begin()
        state.indexing = 0
        self._walk()
        self.walked = True
        self._hash(self._scan.options.mode)
        with transaction(self._db):
            self._load.make_names_index()  # which `upgrade` asks

    def upgrade(self) -> None:
        """Read whole what may have a twin, now that every place has its quick hashes."""
        devices = [device.device_id for device in self._catalog.devices.all()]
        with transaction(self._db):
            want_twins(self._db, self.place, devices, self._gaps, self.borders)
        self._hash(HashMode.FULL)

    def complete(self) -> None:
        device_id, interrupted = self.place.device_id, self._scan.interrupted
        with transaction(self._db):
            self._load.make_indexes()
            if self._lost or interrupted[device_id]:
                self._load.forget_nameless(all_of_them=interrupted[device_id])
            self._catalog.scans.complete(device_id, self.place.relpath, self._gaps)
        interrupted[device_id] = False
        self._summary.roots.append(ScannedRoot(self.place.abspath, self.place.device_id))
        self.completed = True

    def give_up(self) -> GivenUp:
        """Keep what was found; of the rest, the catalog goes on knowing what it knew."""
        failing, state, device = self._failing, self._state, self.spot.device
        self._end_walk()
        with transaction(self._db):
            self._load.make_indexes()
        left, left_bytes = (state.waiting, state.waiting_bytes) if state.hashing else (0, 0)
        state.hashing = False
        return GivenUp(
            device.alias or str(device.device_id),
            failing.times,
            failing.seconds,
            failing.why,
            left,
            left_bytes,
        )

    # -- names

    def _walk(self) -> None:
        scan, walked = self._scan, 0
        scan.crew.take_views(self.place)
        todo: list[RelPath] = [""]
        last_commit = clock.monotonic()
        enough = HELPERS_FROM_FILES if self.place.first else HELPERS_FROM_ENTRIES
        while todo or scan.crew.pending:
            while todo and scan.crew.has_room(task := self._task(todo)):
                del todo[len(todo) - len(task.todo) :]
                scan.crew.submit(task)
            _, found = scan.crew.answer()
            assert isinstance(found, Findings)
            todo += found.rest
            walked += found.added + found.changed + found.unchanged
            self._take(found)
            if self._failing.enough:
                raise EnoughFailures
            if walked >= enough and todo:
                self._call_helpers()
            overdue = clock.monotonic() - last_commit > SECONDS_PER_COMMIT
            # All views of the catalog are to be taken before something is written.
            if scan.crew.ready and (overdue or self._rows > CHANGES_PER_COMMIT):
                self._write()
                last_commit = clock.monotonic()
                scan.show()
        self._write()
        scan.crew.leave()
        self._end_walk()
        scan.show()

    def _end_walk(self) -> None:
        """Write what is left, and tell moves; a second time changes nothing."""
        self._write()
        moved = self._load.settle_moves()
        self._summary.moved += moved
        self._summary.added -= moved
        self._summary.deleted -= moved

    def _call_helpers(self) -> None:
        if self._scan.options.workers > 1:
            self._scan.crew.call(self._scan.options.workers - 1, self.place)

    def _task(self, todo: list[RelPath]) -> WalkTask:
        """The end of `todo`, not more than a fair share of it."""
        share = max(1, min(FOLDERS_PER_TASK, len(todo) // (2 * self._scan.options.workers)))
        part = todo[-share:]
        while len(part) > 1 and sum(map(len, part)) > LETTERS_PER_TASK:
            part = part[len(part) // 2 :]
        entries = READ_PER_TASK if self.place.first else ENTRIES_PER_TASK
        return WalkTask(self.place, tuple(part), entries)

    def _take(self, found: Findings) -> None:
        summary = self._summary
        summary.added += found.added
        summary.changed += found.changed
        summary.unchanged += found.unchanged
        summary.hashes.files += found.hashed.files
        summary.hashes.bytes += found.hashed.bytes
        summary.hashes.sampled += found.hashed.sampled
        summary.skipped.update(found.skipped)
        summary.unreadable.update(found.unreadable)
        self._gaps.update(found.gaps)
        self._failing.take(found.failures, found.added + found.changed + found.unchanged)
        self._failing.take(found.unread_failures, found.hashed.files + found.hashed.sampled)
        self.borders += found.borders
        if found.changes or found.unread or found.vanished:
            self._unwritten.append(found)
            self._rows += sum(1 + len(c.files) + len(c.hashed) for c in found.changes)
            gone = sum(len(change.gone) for change in found.changes)
            summary.deleted += gone
            self._lost = self._lost or gone > 0 or any(c.replaced for c in found.changes)

    def _write(self) -> None:
        if not self._unwritten:
            return
        deleted = self._summary.deleted
        with transaction(self._db):
            for found in self._unwritten:
                for relpath in found.vanished:
                    self._summary.deleted += self._load.vanished(relpath)
                self._summary.deleted += self._load.write(found.changes)
                self._load.note_unread(found.unread)
        self._lost = self._lost or self._summary.deleted > deleted
        self._unwritten.clear()
        self._rows = 0

    # -- contents

    def _readers(self, average: int) -> int:
        """How many helpers; `average` is the size of what waits, bytes."""
        workers = self._scan.options.workers
        if workers == 1:
            return 0
        return workers + (average >= LARGE_ON_AVERAGE)

    def _hash(self, mode: HashMode) -> None:
        scan, state = self._scan, self._state
        with transaction(self._db):
            state.waiting, state.waiting_bytes = self._load.waiting_totals(mode)
        if not state.waiting:
            return
        if state.waiting >= HELPERS_FROM_FILES or state.waiting_bytes >= HELPERS_FROM_BYTES:
            scan.crew.call(self._readers(state.waiting_bytes // state.waiting))
        state.hashing, state.read_bytes = True, 0
        one_by_one = not scan.crew.helpers
        place = replace(self.place, mount_points=frozenset())
        queue = ReadQueue(
            self._load,
            place,
            scan.crew,
            state,
            scan.show,
            self._failing,
            1 if one_by_one else BATCH_FILES,
        )
        queue.run(mode, self._indexes(state.waiting))
        state.hashing = False
        scan.show()

    def _indexes(self, waiting: int) -> Iterator[Callable[[], None]]:
        """What is left to do at the end of a large load, in steps that do not wait for hashes."""
        load = self._load
        for step in (load.make_names_index, partial(load.make_bytes_index_before, waiting)):
            yield partial(self._committed, step)

    def _committed(self, step: Callable[[], None]) -> None:
        with transaction(self._db):
            step()
