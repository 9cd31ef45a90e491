"""huey on SQLite and rq on Redis, doing what `server_queue` measures; runs in a venv of its own.

    python queue_peers.py huey FILE | huey-synced FILE | rq REDIS-URL   JOBS SAMPLES THREADS

Prints {"per_second": [by one thread, by THREADS], "starts": [seconds, …]}.
"""

import json
import logging
import multiprocessing
import signal
import sys
import threading
import time
from typing import Any

PAUSE_S = 0.05  # between two jobs of an idle queue
context = multiprocessing.get_context("fork")
started = context.Value("d", 0.0)  # wall clock of the newest start
count = context.Value("i", 0)
peer: dict[str, Any] = {}


def job() -> dict[str, int]:
    """The no-op; a module-level function, because rq finds it by its name.

    It has a result, as every job of ours has: huey keeps nothing of a job that returns None, and
    nobody could say then whether it was ever run.
    """
    started.value = time.time()
    count.value += 1
    return {"torrents_processed": 0}


def open_huey(path: str, synced: bool) -> None:
    from huey import SqliteHuey

    # Its file is not synced by default: a power cut loses accepted jobs.
    app = SqliteHuey(filename=path, fsync=synced)
    task = app.task()(job)
    peer["enqueue"] = task

    def work() -> None:
        app.create_consumer(workers=1, periodic=False, check_worker_health=False).run()

    peer["work"] = work


def open_rq(url: str) -> None:
    import queue_peers
    from redis import Redis
    from rq import Queue, SimpleWorker

    queue_peers.started, queue_peers.count = started, count
    connection = Redis.from_url(url)
    queue = Queue(connection=connection)
    peer["enqueue"] = lambda: queue.enqueue(queue_peers.job)
    # No process per job: the fastest of its workers, and the one that is like ours.
    peer["work"] = lambda: SimpleWorker([queue], connection=Redis.from_url(url)).work()


def enqueue(times: int) -> None:
    for _ in range(times):
        peer["enqueue"]()


def main(kind: str, place: str, jobs: int, samples: int, threads: int) -> None:
    logging.disable(logging.CRITICAL)
    open_rq(place) if kind == "rq" else open_huey(place, kind == "huey-synced")
    worker = context.Process(target=peer["work"])
    worker.start()
    starts = []
    for n in range(1, samples + 2):
        time.sleep(PAUSE_S)
        asked = time.time()
        peer["enqueue"]()
        while count.value < n:
            time.sleep(0.0005)
        starts.append(started.value - asked)
    rates = []
    for askers in (1, threads):
        before, began = count.value, time.perf_counter()
        each = jobs // askers
        running = [threading.Thread(target=enqueue, args=(each,)) for _ in range(askers)]
        for asker in running:
            asker.start()
        for asker in running:
            asker.join()
        while count.value < before + each * askers:
            time.sleep(0.001)
        rates.append(each * askers / (time.perf_counter() - began))
    worker.kill()
    worker.join()
    print(json.dumps({"per_second": rates, "starts": starts[1:]}))


if __name__ == "__main__":
    signal.alarm(300)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
