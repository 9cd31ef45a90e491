"""SIGKILL of the real server's processes while clients ask: what was answered with 202 ends once.

SEEDKEEP_SERVER_KILLS sets how often.  The whole server is only killed then: its worker's lease has
to run out each time, which takes 30 s.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from tests.support.qbt import wait_for
from tests.support.rules_server import RulesServer
from tests.support.simulated import SimulatedClient

from qbt_rules.model import JobStatus
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("SEEDKEEP_SERVER_KILLS", "0"))
TARGETS = ("worker", "web", "web", "worker") if not KILLS else ("worker", "web", "server", "web")
JOBS_BETWEEN = 15
WAIT_S = 240.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RulesServer]:
    (tmp_path / "rules.yml").write_text("rules: []\n")
    with SimulatedClient("5.1") as client:
        made = RulesServer(tmp_path, "--server-workers", "2", QBITTORRENT_HOST=client.url)
        made.start()
        yield made
        if made.process is not None:
            made.stop()


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid: int) -> list[int]:
    return [pid, *(member for child in children(pid) for member in family(child))]


def kill(server: RulesServer, queue: SQLiteQueue, target: str, chance: random.Random) -> None:
    assert server.process is not None
    seat = queue.health().worker
    worker = seat.pid if seat is not None else 0
    if target == "server":
        for pid in family(server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        return
    masters = [pid for pid in children(server.process.pid) if pid != worker]
    web = [pid for master in masters for pid in children(master)]
    victims = web if target == "web" else [worker] if worker else []
    if victims:
        with suppress(ProcessLookupError):  # it may be starting anew from the kill before
            os.kill(chance.choice(victims), signal.SIGKILL)


def test_what_was_accepted_over_http_ends_once(server: RulesServer, tmp_path: Path) -> None:
    accepted: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        number = 0
        while not enough.is_set():
            number += 1
            path = f"/api/execute?context=load-{number}"
            try:
                answer = server.ask("POST", path)
            except requests.RequestException:
                time.sleep(0.02)  # its web process has just been killed
                continue
            if answer.status_code == 202:
                accepted.append(answer.json()["job_id"])

    queue = SQLiteQueue(tmp_path / "qbt-rules.db")
    chance = random.Random(KILLS)
    wait_for(lambda: queue.health().worker is not None, "the worker", timeout_s=WAIT_S)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for n in range(KILLS or len(TARGETS)):
            seen = len(accepted)
            wait_for(lambda m=seen: len(accepted) > m + JOBS_BETWEEN, "answers", timeout_s=WAIT_S)
            time.sleep(chance.uniform(0, 0.2))
            kill(server, queue, TARGETS[n % len(TARGETS)], chance)
        seen = len(accepted)
        wait_for(lambda: len(accepted) > seen + JOBS_BETWEEN, "answers", timeout_s=WAIT_S)
    finally:
        enough.set()
        asking.join()
    wait_for(lambda: queue.stats().depth == 0, "the end of all jobs", timeout_s=WAIT_S)
    assert len(set(accepted)) == len(accepted)
    for job_id in accepted:
        job = queue.get_job(job_id)
        assert job is not None
        assert (job.status, job.error) == (JobStatus.COMPLETED, None)
    print(f"{len(accepted)} accepted, {queue.stats().total} jobs")
    queue.close()
