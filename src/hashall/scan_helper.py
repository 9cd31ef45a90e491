"""The program of a helper: tasks from stdin, answers to stdout, until stdin ends."""

from __future__ import annotations

import gc
import os
import signal
import sys

from hashall.scan_at_once import Share
from hashall.scan_work import Told, Worker, receive, send


def main() -> None:
    # Ctrl-C, and the terminal's end, reach its whole group; the scan itself decides.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # no cycles are made here, and looking for some takes a fifth of the time
    tasks = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout = sys.stderr  # nothing but answers may come out there
    worker = Worker(lambda count: send(answers, Told(count)), Share(int(sys.argv[1])))
    try:
        while True:
            task = receive(tasks)
            try:
                answer = worker.do(task)
            except Exception as why:
                send(answers, why)
            else:
                send(answers, answer)
    except (EOFError, BrokenPipeError):
        pass  # the scan has ended, or was killed
