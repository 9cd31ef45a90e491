"""A server without HTTP, as processes of its own: a worker, and somebody who asks for jobs.

    python -m tests.support.queue_stage FOLDER BACKEND [REDIS-URL]

What happens is written to files in FOLDER, so that a kill loses nothing: `quota` (how many jobs may
be asked for; the test raises it), `accepted` (ids of jobs, each written once it was accepted),
`runs` (what the engine did), `web.pid`, `worker.pid`.
"""

from __future__ import annotations

import fcntl
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qbt_rules.engine import Cancelled, JobStopped
from qbt_rules.model import Job, JobResult
from qbt_rules.queue_manager import QueueManager, create_queue
from qbt_rules.supervisor import Child, supervise
from qbt_rules.worker import WorkerOptions, worker_child
from seedkeep.errors import SeedError

LEASE_S = 2.5
LONGEST_JOB_S = 0.01


@dataclass(frozen=True)
class Stage:
    folder: Path
    open_queue: Callable[[], QueueManager]

    def note(self, file: str, line: str) -> None:
        """One write, so that lines of several processes do not mix."""
        descriptor = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def run(self, job: Job, cancelled: Cancelled) -> JobResult:
        """The engine.  A kernel lock, which a killed process loses, shows two that run at once."""
        with (self.folder / "running").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.note("runs", f"together {job.job_id} {job.attempts}")
            self.note("runs", f"start {job.job_id} {job.attempts}")
            time.sleep(random.uniform(0, LONGEST_JOB_S))
            if cancelled():
                self.note("runs", f"stopped {job.job_id} {job.attempts}")
                raise JobStopped
            self.note("runs", f"end {job.job_id} {job.attempts}")
            return JobResult(torrents_processed=1)

    def interrupted(self) -> tuple[int, ...]:
        return ()

    def settle(self, cancelled: Cancelled) -> None:
        return

    def ask(self, _incarnation: str) -> int:
        """The web process."""
        self._write_pid("web")
        queue = self.open_queue()
        asked = len(_lines(self.folder / "accepted"))
        while True:
            if asked >= int((self.folder / "quota").read_text() or 0):
                time.sleep(0.005)
                continue
            try:
                job = queue.enqueue("load", f"{asked:040x}", coalesce=False)
            except SeedError:
                time.sleep(0.05)  # a client would try again
                continue
            self.note("accepted", job.job_id)
            asked += 1

    def worker(self) -> Child:
        child = worker_child(self.open_queue, lambda: self, lambda: WorkerOptions(lease_s=LEASE_S))

        def run(worker_id: str) -> int:
            self._write_pid("worker")
            return child.run(worker_id)

        return Child(name="worker", run=run, gone=child.gone, incarnation=child.incarnation)

    def _write_pid(self, name: str) -> None:
        fresh = self.folder / f"{name}.{os.getpid()}"
        fresh.write_text(str(os.getpid()))
        fresh.replace(self.folder / f"{name}.pid")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def main(folder: str, backend: str, url: str = "") -> int:
    options = {"url": url} if backend == "redis" else {"path": Path(folder) / "queue.db"}
    stage = Stage(Path(folder), lambda: create_queue(backend, **options))
    # The asker is not essential here: a gunicorn restarts its killed web processes as well.
    return supervise([Child(name="web", run=stage.ask), stage.worker()])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
