"""The next question is asked while the answer to the one before is worked on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

_DEPTH = 3  # answers that wait
_SWITCH_S = 0.0001  # how long an answer may wait for who works on another one


@contextmanager
def asked_ahead(questions: Sequence[Callable[[], Any]]) -> Iterator[Iterator[Any]]:
    """The answers in order, from one other thread: good where most of an answer is found outside
    of Python, as in SQLite, and no answer is a long row of small steps.

    What a question raises is raised in place of its answer.  At the end of the block, however it
    ends, no question is being asked.
    """
    answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    room, left = threading.Semaphore(_DEPTH), threading.Event()

    def ask() -> None:
        for question in questions:
            room.acquire()
            if left.is_set():
                return
            try:
                answers.put((question(), None))
            except BaseException as why:
                answers.put((None, why))
                return

    def given() -> Iterator[Any]:
        for _ in questions:
            answer, why = answers.get()
            room.release()
            if why is not None:
                raise why
            yield answer

    thread = threading.Thread(target=ask, name="ahead", daemon=True)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        thread.start()
        yield given()
    finally:
        left.set()
        room.release()
        if thread.ident is not None:  # Ctrl-C may come before it has started
            thread.join()
        sys.setswitchinterval(usual)
