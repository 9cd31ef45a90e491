"""Have everything read that waits for a hash, and write the hashes as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hashall.catalog.scan_load import CatalogLoad
from hashall.model import RelPath
from hashall.scan_crew import Crew
from hashall.scan_model import HashMode, ScanState, WalkPlace
from hashall.scan_read import TELL_EVERY, Item, Outcome, ReadTask
from seedkeep import clock
from seedkeep.sqlite import transaction

SECONDS_PER_COMMIT = 2.0
BATCH_FILES = 64
BATCH_BYTES = 8 << 20
BATCH_LETTERS = 16_000  # of paths: a batch has to fit into a pipe


@dataclass
class ReadQueue:
    """Inodes that wait in the catalog.  Each is read once, through one of its names."""

    load: CatalogLoad
    place: WalkPlace
    crew: Crew
    state: ScanState
    progress: Callable[[], None]
    batch_files: int = BATCH_FILES
    _outcomes: list[Outcome] = field(default_factory=list)  # not written yet

    def run(self, mode: HashMode) -> None:
        """Inode order is close to the order on the platter, which makes a cold first scan quick.

        Stopped in the middle, it leaves what was hashed in the catalog.
        """
        last_commit = clock.monotonic()
        batches = self._batches(mode)
        batch = next(batches, None)
        try:
            while batch is not None or self.crew.pending:
                while batch is not None and self.crew.has_room(batch):
                    self.crew.submit(batch)
                    batch = next(batches, None)
                task, outcome = self.crew.answer()
                assert isinstance(task, ReadTask)
                assert isinstance(outcome, Outcome)
                self._collect(task, outcome)
                if clock.monotonic() - last_commit > SECONDS_PER_COMMIT:
                    self._write()
                    last_commit = clock.monotonic()
                    self.progress()
        finally:
            self._write()

    def _batches(self, mode: HashMode) -> Iterator[ReadTask]:
        items: list[Item] = []
        size = letters = 0
        for item in self.load.waiting(mode):
            longer = len(item[4]) + len(item[5])
            if items and (
                len(items) >= self.batch_files
                or size + item[1] > BATCH_BYTES
                or letters + longer > BATCH_LETTERS
            ):
                yield self._task(mode, items, size, letters)
                items, size, letters = [], 0, 0
            items.append(item)
            size += item[1]
            letters += longer
        if items:
            yield self._task(mode, items, size, letters)

    def _task(self, mode: HashMode, items: list[Item], size: int, letters: int) -> ReadTask:
        place = self.place
        top = len(place.relpath) + 1 if place.relpath else 0
        whole = mode is HashMode.FULL
        return ReadTask(place.abspath, top, place.st_dev, whole, items, size, letters)

    def _collect(self, task: ReadTask, outcome: Outcome) -> None:
        state, summary, report = self.state, self.state.summary, self.state.summary.hashes
        state.waiting -= len(task.items)
        state.waiting_bytes -= task.bytes
        if len(task.items) == 1:
            state.read_bytes -= min(state.read_bytes, task.bytes // TELL_EVERY * TELL_EVERY)
        report.files += outcome.files
        report.bytes += outcome.bytes
        report.sampled += outcome.sampled
        report.changing += [self._path(below) for below in outcome.changing]
        summary.unchanged -= outcome.doubted
        summary.changed += outcome.doubted
        for below, reason in outcome.problems.items():
            summary.unreadable[self._path(below)] = reason
        self._outcomes.append(outcome)

    def _path(self, below: RelPath) -> str:
        return f"{self.place.abspath.rstrip('/')}/{below}"

    def _write(self) -> None:
        with transaction(self.load.db):
            self.load.put_reads([row for outcome in self._outcomes for row in outcome.reads])
            self.load.put_confirmed([row for it in self._outcomes for row in it.confirmed])
        self._outcomes.clear()
