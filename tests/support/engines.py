"""Engines for tests of the worker: they do what a test says; and a process to run one in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qbt_rules.engine import Cancelled, JobStopped
from qbt_rules.model import Job, JobResult

RESULT = JobResult(torrents_processed=2, rules_matched=1, actions_executed=1)


class NothingOpen:
    """The part of an engine that knows of no interrupted relocation."""

    def interrupted(self) -> tuple[int, ...]:
        return ()

    def settle(self, cancelled: Cancelled) -> None:
        raise AssertionError("there is nothing to settle")


@dataclass
class ScriptedEngine(NothingOpen):
    """Does `script` for each job; remembers the jobs."""

    script: Callable[[Job], JobResult] = lambda _: RESULT
    seen: list[Job] = field(default_factory=list)

    def run(self, job: Job, cancelled: Cancelled) -> JobResult:
        self.seen.append(job)
        return self.script(job)


class LongJob(NothingOpen):
    """Runs until the test says so, or until it is asked to stop."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.begun, self.finish, self.stopped = (threading.Event() for _ in range(3))
        self._stubborn = stubborn

    def run(self, job: Job, cancelled: Cancelled) -> JobResult:
        self.begun.set()
        while not self.finish.wait(0.01):
            if cancelled() and not self._stubborn:
                self.stopped.set()
                raise JobStopped
        return RESULT


def forked(body: Callable[[], int]) -> int:
    """The process id of a child that ends with what `body` returns, or with 70."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = body()
        finally:
            os._exit(code)
    return child
