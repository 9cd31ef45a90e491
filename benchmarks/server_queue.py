"""The queue part of `make bench-server`: jobs through the queue, beside huey and rq.

One process asks for jobs, with one thread and then with as many as a web process has; another
works on them; the job does nothing.  The peers are installed into a venv of their own in the cache
folder.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from scripts.client_tree import cache_folder
from tests.support.queues import Hands, worker
from tests.support.redis_server import RedisServer

from qbt_rules.engine import Cancelled
from qbt_rules.model import Job, JobResult
from qbt_rules.queue_manager import QueueManager, create_queue, wait_until_final
from qbt_rules.worker import Worker
from seedkeep.text import table
from seedkeep.units import format_size

PEERS = ("huey==3.*", "rq==2.*")
BACKENDS = ("sqlite", "redis")
PAUSE_S = 0.05
THREADS = 16
HEAD = ("QUEUE", "KEPT", "JOBS", "BY 1", f"BY {THREADS}", "START P50", "START P99", "START MAX")
LEGEND = f"""\
KEPT       what an accepted job survives: "power cut": synced to the disk before the answer
BY 1       jobs a second, from the first request until the last is over: accepted, run, result kept;
           one thread asks, and each of its requests waits for the one before
BY {THREADS}      the same, with {THREADS} threads that ask at the same time, as the server does
START      milliseconds from the request to the start of the job, on an idle server"""
context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Measured:
    queue: str
    kept: str
    jobs: int
    by_one: float  # jobs a second
    by_many: float
    starts: list[float]  # seconds

    def row(self) -> tuple[str, ...]:
        ordered = sorted(self.starts)
        at = (len(ordered) // 2, int(len(ordered) * 0.99), -1)
        ms = [f"{ordered[n] * 1000:.1f} ms" for n in at]
        rates = (f"{self.by_one:.0f}", f"{self.by_many:.0f}")
        return (self.queue, self.kept, str(self.jobs), *rates, *ms)


class NoOp:
    def run(self, job: Job, cancelled: Cancelled) -> JobResult:  # noqa: ARG002
        return JobResult()


def ours(
    name: str, kept: str, opened: Callable[[], QueueManager], jobs: int, samples: int
) -> Measured:
    process = context.Process(target=lambda: Worker(opened(), NoOp()).run())
    process.start()
    queue = opened()
    starts = []
    for n in range(samples + 1):
        time.sleep(PAUSE_S)
        asked = time.time()
        job = queue.enqueue("idle", f"{n:040x}")
        done = wait_until_final(queue, job.job_id, 30)
        assert done.started_at is not None
        starts.append(done.started_at.timestamp() - asked)
    rates = []
    for threads in (1, THREADS):
        began = time.perf_counter()
        ask(lambda n: queue.enqueue("load", f"{n:040x}"), jobs, threads)
        # In their order: the last one to be asked for is the last to be over.
        wait_until_final(queue, queue.enqueue("end", "e" * 40).job_id, 600)
        rates.append(jobs / (time.perf_counter() - began))
    assert queue.stats().depth == 0
    process.kill()
    process.join()
    queue.close()
    return Measured(name, kept, jobs, rates[0], rates[1], starts[1:])


def ask(once: Callable[[int], object], jobs: int, threads: int) -> None:
    """`once(n)` for each job, by so many threads."""
    if threads == 1:
        for n in range(jobs):
            once(n)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(each, once, range(k, jobs, threads)) for k in range(threads)]:
            done.result()


def each(once: Callable[[int], object], numbers: range) -> None:
    for n in numbers:
        once(n)


def peer(name: str, kept: str, what: tuple[str, str], jobs: int, samples: int) -> Measured:
    """`what`: the first two arguments of `queue_peers`."""
    program = Path(__file__).with_name("queue_peers.py")
    done = subprocess.run(
        [peers_python(), program, *what, str(jobs), str(samples), str(THREADS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Measured(name, kept, jobs, *answer["per_second"], answer["starts"])


def peers_python() -> Path:
    """Python of the venv that holds huey and rq, made on first use."""
    folder = cache_folder() / "bench-queues"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (folder / "complete").touch()
    return python


def throughput(folder: Path, jobs: int, samples: int) -> list[Measured]:
    found = [
        ours(
            *("seedkeep, SQLite", "power cut"),
            lambda: create_queue("sqlite", path=folder / "ours.db"),
            *(jobs, samples),
        ),
        peer("huey, SQLite", "kill", ("huey", str(folder / "huey.db")), jobs, samples),
        peer(
            *("huey, SQLite, fsync", "power cut", ("huey-synced", str(folder / "synced.db"))),
            *(jobs, samples),
        ),
    ]
    for kept, fsync in (("kill", "everysec"), ("power cut", "always")):
        with RedisServer(appendfsync=fsync) as server:
            url = server.url
            found.append(
                ours(
                    *("seedkeep, Redis", kept),
                    lambda url=url: create_queue("redis", url=url),
                    *(jobs, samples),
                )
            )
            found.append(peer("rq, Redis", kept, ("rq", url), jobs, samples))
    return found


def day(folder: Path, backend: str, jobs: int) -> None:
    """24 h in fast motion: a job every few seconds, an hour's retention; what grows?"""
    hands = Hands(tick=timedelta(0))
    with RedisServer(appendfsync="everysec") as server, hands.in_force():
        options = {"url": server.url, "lease_clock_ms": hands.ms}
        queue = create_queue(backend, **options if backend == "redis" else {"path": folder / "day"})
        rows, began = [], time.perf_counter()
        for hour in range(24):
            for n in range(jobs // 24):
                hands.move(3600 * 24 / jobs)
                queue.enqueue("load", f"{n:040x}")
                job = queue.dequeue(worker())
                assert job is not None
                queue.complete(job, {"torrents_processed": 1, "rules_matched": 1})
                if n % 100 == 0:
                    queue.cleanup_old_jobs(timedelta(hours=1))
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            kept = sum(f.stat().st_size for f in folder.glob("day*"))
            if backend == "redis":
                kept = redis_memory(server)
            if hour in (0, 1, 2, 5, 11, 17, 23):
                rows.append(
                    (str(hour + 1), str(queue.stats().total), format_size(rss), format_size(kept))
                )
        seconds = time.perf_counter() - began
        queue.close()
    print(f"{backend}: {jobs} jobs in {seconds:.0f} s")
    print(table(("HOUR", "JOBS KEPT", "PEAK MEMORY", "DATABASE"), rows, "rrrr"))


def redis_memory(server: RedisServer) -> int:
    import redis

    client = redis.Redis.from_url(server.url, protocol=2)
    used: SimpleNamespace = SimpleNamespace(**client.info("memory"))  # type: ignore[arg-type]
    client.close()
    return int(used.used_memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--day", type=int, metavar="JOBS", help="24 h in fast motion instead")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="of --day")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-queue-") as name:
        folder = Path(name)
        if options.day:
            for backend in options.backend or BACKENDS:
                day(folder, backend, options.day)
            return
        rows = [one.row() for one in throughput(folder, options.jobs, options.samples)]
    print(datetime.now().astimezone().isoformat(timespec="minutes"))
    print(table(HEAD, rows, "llrrrrrr"))
    print(LEGEND)


if __name__ == "__main__":
    main()
