"""Who does the work of a scan: this process, and helpers beside it once there is enough to do.

The interpreter lock makes threads slower than one process here (measured), so helpers are
processes of their own.  They are started as new programs, not forked: an open database must not
cross a fork.
"""

from __future__ import annotations

import fcntl
import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hashall.scan_at_once import Share
from hashall.scan_model import WalkPlace
from hashall.scan_read import ReadTask
from hashall.scan_work import (
    Answer,
    TakeView,
    Task,
    Told,
    WalkTask,
    Worker,
    receive,
    send,
    weight,
)
from seedkeep.errors import SeedError

_PIPE = 1 << 20  # bytes that a pipe is asked to hold
_MOST_WORK = 64 << 20  # bytes of contents given to one helper at once, beyond its first task
_PROGRAM = "from hashall.scan_helper import main; main()"
_MOST_READS, _MOST_WALKS = 64, 5  # tasks given to one helper at once
_NO_SHARE = -1
_SILENT = 8  # messages without a task that may come one after the other


class HelperEnded(SeedError):
    """A helper of a scan was ended from outside, again and again."""

    code = "helper-ended"


@dataclass
class _Helper:
    process: subprocess.Popen[bytes]
    room: int  # bytes that can be written to it without waiting
    tasks: deque[tuple[Any, int, int]] = field(default_factory=deque)  # with its work and weight
    work: int = 0
    weight: int = 0

    def takes(self, task: Task) -> bool:
        # Answers to other messages are so short that a helper never waits with them.
        if len(self.tasks) <= _SILENT and not any(
            isinstance(given, WalkTask | ReadTask) for given, *_ in self.tasks
        ):
            return True
        most, work = (_MOST_READS, task.bytes) if isinstance(task, ReadTask) else (_MOST_WALKS, 0)
        return (
            len(self.tasks) < most
            and self.work + work <= _MOST_WORK
            and self.weight + weight(task) <= self.room
        )

    def give(self, task: Any) -> None:
        work, heavy = task.bytes if isinstance(task, ReadTask) else 0, weight(task)
        self.work += work
        self.weight += heavy
        self.tasks.append((task, work, heavy))
        assert self.process.stdin is not None
        send(self.process.stdin, task)

    def take(self) -> Any:
        """The task that was just answered."""
        task, work, heavy = self.tasks.popleft()
        self.work -= work
        self.weight -= heavy
        return task

    @property
    def fd(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def end(self) -> int:
        self.process.terminate()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return self.process.wait()


class Crew:
    """Tasks go in while there is room; answers come out in any order, each with its task.

    Tasks wait in the pipe of a helper, so that none is idle between two of them.  No more is
    written than the pipe holds: a helper that waits to be read never makes us wait.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._own = Worker(tell)
        self._own_task: Task | None = None
        self._helpers: list[_Helper] = []
        self._lost: deque[Task] = deque()  # of helpers that ended
        self._deaths = 0
        self._open = 0  # tasks without an answer

    @property
    def helpers(self) -> int:
        return len(self._helpers)

    @property
    def ready(self) -> bool:
        """Whether every view that was asked for is taken."""
        return not any(isinstance(task, TakeView) for h in self._helpers for task, *_ in h.tasks)

    @property
    def pending(self) -> bool:
        return self._open > 0

    def call(self, helpers: int, place: WalkPlace | None = None) -> None:
        """Have so many helpers from now on; new ones take a view of `place`.

        This process works beside them.  In a first scan it reads as they do, with the first share.
        """
        if place is not None and place.first and self._own.share is None:
            self._own.share = Share(0)
        while len(self._helpers) < helpers:
            self._helpers.append(_start(len(self._helpers) + 1))
            if place is not None:
                self._give(self._helpers[-1], TakeView(place))

    def take_views(self, place: WalkPlace) -> None:
        self._own.do(TakeView(place))
        for helper in self._helpers:
            self._give(helper, TakeView(place))

    def leave(self) -> None:
        """Close the view of a place; nothing may be pending."""
        self._own.leave()
        for helper in self._helpers:
            self._give(helper, None)

    def close(self) -> None:
        """End the helpers at once; what they were doing is done again by the next scan."""
        self._own.leave()
        for helper in self._helpers:
            helper.end()
        self._helpers.clear()

    def has_room(self, task: Task) -> bool:
        return self._does_itself(task) or any(helper.takes(task) for helper in self._helpers)

    def submit(self, task: Task) -> None:
        self._open += 1
        if any(helper.takes(task) for helper in self._helpers):
            self._pass_on(task)
        else:
            self._own_task = task

    @property
    def idle(self) -> bool:
        """Whether this process would do nothing but wait for the next answer."""
        busy = [helper.fd for helper in self._helpers if helper.tasks]
        return self._own_task is None and not select.select(busy, [], [], 0)[0]

    def answer(self) -> tuple[Task, Answer]:
        """An answer of a helper that is there, else the own task, else the next answer."""
        while True:
            while self._lost:
                self._pass_on(self._lost.popleft())
            busy = {helper.fd: helper for helper in self._helpers if helper.tasks}
            assert busy or self._own_task is not None, "nothing was asked"
            ready, _, _ = select.select(list(busy), [], [], 0 if self._own_task else None)
            for fd in ready:
                found = self._heard(busy[fd])
                if found is not None:
                    return found
            if not ready and self._own_task is not None:
                return self._do_own()

    def _does_itself(self, task: Task) -> bool:
        """Reads only without helpers, else who waits for them would wait for us."""
        return not (self._helpers and isinstance(task, ReadTask)) and self._own_task is None

    def _do_own(self) -> tuple[Task, Answer]:
        task, self._own_task = self._own_task, None
        assert task is not None
        answer = self._own.do(task)
        assert answer is not None
        self._open -= 1
        return task, answer

    def _pass_on(self, task: Task) -> None:
        """To a helper with room; a lost task does not wait until there is one."""
        free = [helper for helper in self._helpers if helper.takes(task)] or self._helpers
        self._give(min(free, key=lambda helper: (len(helper.tasks), helper.fd)), task)

    def _heard(self, helper: _Helper) -> tuple[Task, Answer] | None:
        assert helper.process.stdout is not None
        try:
            message = receive(helper.process.stdout)
        except EOFError:
            self._replace(helper)
            return None
        if isinstance(message, Told):
            self._tell(message.count)
            return None
        task = helper.take()
        if isinstance(message, Exception):
            raise message
        if message is None:  # to TakeView, or to leave
            return None
        self._open -= 1
        return task, message

    def _give(self, helper: _Helper, task: Any) -> None:
        try:
            helper.give(task)
        except BrokenPipeError:
            self._replace(helper)

    def _replace(self, helper: _Helper) -> None:
        """Its tasks go to others: nothing of an unanswered task was written."""
        code = helper.end()
        self._deaths += 1
        if self._deaths > 2 * len(self._helpers):
            raise HelperEnded(
                "helpers of this scan end as soon as they are started",
                detail=f"the last one ended with {code}",
                hint="look for the reason in the kernel log (memory?), or use --workers 1",
            )
        # It does not know what the one before it has read of its share.
        fresh = self._helpers[self._helpers.index(helper)] = _start(_NO_SHARE)
        for task, *_ in helper.tasks:
            if isinstance(task, TakeView):
                self._give(fresh, task)
            elif task is not None:
                self._lost.append(task)


def _start(number: int) -> _Helper:
    process = subprocess.Popen(
        # -P: nothing is imported from the directory that the scan was started in.
        [sys.executable, "-P", "-c", _PROGRAM, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    _widened(process.stdout.fileno())  # it need not wait while we write to the catalog
    return _Helper(process, _widened(process.stdin.fileno()))


def _widened(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError:  # a user has only so much for all pipes
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
