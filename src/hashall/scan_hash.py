"""Have everything read that waits for a hash, and write the hashes as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hashall.catalog.scan_load import CatalogLoad
from hashall.disk_failures import EnoughFailures, Failures
from hashall.model import RelPath
from hashall.scan_crew import Crew
from hashall.scan_model import HashMode, ScanState, WalkPlace
from hashall.scan_read import BATCH_FILES, TELL_EVERY, Outcome, ReadTask, tasks
from seedkeep import clock
from seedkeep.sqlite import transaction

SECONDS_PER_COMMIT = 2.0


@dataclass
class ReadQueue:
    """Inodes that wait in the catalog.  Each is read once, through one of its names."""

    load: CatalogLoad
    place: WalkPlace
    crew: Crew
    state: ScanState
    progress: Callable[[], None]
    failing: Failures = field(default_factory=Failures)  # of the disk, since the scan began
    batch_files: int = BATCH_FILES
    _outcomes: list[Outcome] = field(default_factory=list)  # not written yet

    def run(self, mode: HashMode, meanwhile: Iterable[Callable[[], None]] = ()) -> None:
        """Stopped in the middle, it leaves what was hashed in the catalog.

        Args:
            meanwhile: What can be done where there would be nothing to do but wait; only then.

        Raises:
            EnoughFailures: The disk failed too often; the crew may still have tasks.
        """
        last_commit, steps = clock.monotonic(), iter(meanwhile)
        step = next(steps, None)
        whole = mode is HashMode.FULL
        batches = tasks(self.place, whole, self.load.waiting(mode), self.batch_files)
        batch = next(batches, None)
        try:
            while batch is not None or self.crew.pending:
                while batch is not None and self.crew.has_room(batch):
                    self.crew.submit(batch)
                    batch = next(batches, None)
                while step is not None and self.crew.idle:
                    step()
                    step = next(steps, None)
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
        self.failing.take(outcome.failures, outcome.given)
        if self.failing.enough:
            raise EnoughFailures

    def _path(self, below: RelPath) -> str:
        return f"{self.place.abspath.rstrip('/')}/{below}"

    def _write(self) -> None:
        with transaction(self.load.db):
            self.load.put_reads([row for outcome in self._outcomes for row in outcome.reads])
            self.load.put_confirmed([row for it in self._outcomes for row in it.confirmed])
        self._outcomes.clear()
