"""Hash a list of files that the catalog has already, without a walk around them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hashall.catalog.files import FileTable
from hashall.catalog.scan_load import CatalogLoad
from hashall.hashing import FileStamp
from hashall.scan_crew import Crew
from hashall.scan_model import DriftPolicy, HashReport
from hashall.scan_read import Item, Outcome, ReadTask
from seedkeep import clock
from seedkeep.sqlite import to_db, transaction

SECONDS_PER_COMMIT = 2.0
BATCH_FILES = 64
HELPERS_FROM_BYTES = 64 << 20


@dataclass
class HashQueue:
    """Inodes of one filesystem that need a hash.  Each is read once, through one of its names."""

    files: FileTable
    workers: int
    report: HashReport
    _todo: dict[int, tuple[str, FileStamp]] = field(default_factory=dict)  # by inode

    def add(self, path: str, stamp: FileStamp) -> None:
        """`path` is absolute."""
        self._todo.setdefault(stamp.inode, (path, stamp))

    def run(self, progress: Callable[[], None]) -> Iterator[tuple[str, str]]:
        """Hash everything; yields (path, reason) for what could not be read.

        Stopped in the middle, it leaves what was hashed in the catalog.
        """
        crew = Crew(lambda _: None)
        if sum(stamp.size for _, stamp in self._todo.values()) >= HELPERS_FROM_BYTES:
            crew.call(self.workers if self.workers > 1 else 0)
        load = CatalogLoad(self.files.db, self.files.device_id, DriftPolicy.QUICK)
        tasks, task = self._tasks(), None
        last_commit, unwritten = clock.monotonic(), list[Outcome]()
        try:
            task = next(tasks, None)
            while task is not None or crew.pending:
                while task is not None and crew.has_room(task):
                    crew.submit(task)
                    task = next(tasks, None)
                _, outcome = crew.answer()
                assert isinstance(outcome, Outcome)
                unwritten.append(outcome)
                yield from self._collect(outcome)
                if clock.monotonic() - last_commit > SECONDS_PER_COMMIT:
                    _write(load, unwritten)
                    last_commit = clock.monotonic()
                    progress()
        finally:
            crew.close()
            _write(load, unwritten)
            self._todo.clear()

    def _tasks(self) -> Iterator[ReadTask]:
        """In the order of the inodes; paths count from the root directory."""
        items: list[Item] = []
        for inode, (path, stamp) in sorted(self._todo.items()):
            folder, name = os.path.split(path.lstrip("/"))
            items.append((inode, stamp.size, stamp.mtime_ns, None, to_db(folder), to_db(name), 0))
        for first in range(0, len(items), BATCH_FILES):
            batch = items[first : first + BATCH_FILES]
            size = sum(item[1] for item in batch)
            letters = sum(len(item[4]) + len(item[5]) for item in batch)
            yield ReadTask("/", 0, None, True, batch, size, letters)

    def _collect(self, outcome: Outcome) -> Iterator[tuple[str, str]]:
        self.report.files += outcome.files
        self.report.bytes += outcome.bytes
        self.report.changing += [f"/{below}" for below in outcome.changing]
        yield from ((f"/{below}", reason) for below, reason in outcome.problems.items())


def _write(load: CatalogLoad, outcomes: list[Outcome]) -> None:
    with transaction(load.db):
        for outcome in outcomes:
            load.put_reads(outcome.reads)
    outcomes.clear()
