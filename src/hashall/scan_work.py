"""Tasks of a scan, who does them, and how they cross to another process."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from hashall.disk_failures import count_failure
from hashall.scan_at_once import Share, read_at_once
from hashall.scan_model import Findings, WalkPlace
from hashall.scan_read import Outcome, ReadTask, below_place, read_all
from hashall.scan_walk import Walker
from seedkeep import pipe

_PAGES = 2 * 4096  # a message may leave so much of a pipe unused


@dataclass(frozen=True)
class WalkTask:
    place: WalkPlace
    todo: tuple[str, ...]  # directories below the place
    budget: int  # entries, about


@dataclass(frozen=True)
class TakeView:
    """Open the catalog now, before anything of this scan is written to it."""

    place: WalkPlace


@dataclass(frozen=True)
class Told:
    """Bytes that were read within a large file."""

    count: int


Task = WalkTask | ReadTask
Answer = Findings | Outcome


@dataclass
class Worker:
    """Does one task after the other; keeps a walker while the place stays the same."""

    tell: Callable[[int], None]
    share: Share | None = None  # of what is read while walking; None: nothing is
    _walker: Walker | None = None

    def do(self, task: Task | TakeView | None) -> Answer | None:
        """None for the tasks that have no answer: to take a view, and (None) to leave the place."""
        if isinstance(task, ReadTask):
            try:
                return read_all(task, self.tell)
            except OSError as why:  # the place itself is gone
                return _none_read(task, why)
        if task is None:
            self.leave()
            return None
        try:
            walker = self._at(task.place)
        except OSError as why:  # unmounted, removed or covered since the scan began
            return _all_unreadable(task, why) if isinstance(task, WalkTask) else None
        if isinstance(task, TakeView):
            return None
        found = walker.walk([*task.todo], task.budget)
        if self.share is not None and task.place.first:
            read_at_once(found, task.place, self.share)
        return found

    def leave(self) -> None:
        if self._walker is not None:
            self._walker.close()
            self._walker = None
        if self.share is not None:
            self.share.leave()

    def _at(self, place: WalkPlace) -> Walker:
        if self._walker is None or self._walker.place != place:
            self.leave()
            self._walker = Walker(place)
        return self._walker


def _all_unreadable(task: WalkTask, why: OSError) -> Findings:
    found = Findings()
    for below in task.todo:
        path = os.path.join(task.place.abspath, below) if below else task.place.abspath
        relpath = "/".join(part for part in (task.place.relpath, below) if part)
        found.gaps[relpath] = found.unreadable[path] = str(why.strerror)
    return found


def _none_read(task: ReadTask, why: OSError) -> Outcome:
    outcome = Outcome()
    for item in task.items:
        outcome.problems[below_place(item, task)] = why.strerror or str(why)
        count_failure(outcome, why, 0)
    return outcome


def weight(task: Any) -> int:
    """Bytes of a pipe that a message may take; rather too many."""
    texts: list[str] = []
    if isinstance(task, ReadTask):
        return _PAGES + 4 * task.letters + 200 * len(task.items)
    if isinstance(task, WalkTask | TakeView):
        texts = [*task.place.mount_points]
        texts += task.todo if isinstance(task, WalkTask) else ()
    return _PAGES + 4 * sum(map(len, texts)) + 120 * len(texts)


def send(out: IO[bytes], message: Any) -> None:
    pipe.send(out, pickle.dumps(message, protocol=5))


def receive(source: IO[bytes]) -> Any:
    """The next message; EOFError when the other side is gone."""
    return pickle.loads(pipe.receive(source))
