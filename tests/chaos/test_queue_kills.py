"""SIGKILL at random moments: every accepted job ends once, and never do two workers run at a time.

SEEDKEEP_QUEUE_KILLS and SEEDKEEP_QUEUE_JOBS set how much of it there is (100 and 5000 are the bar),
SEEDKEEP_QUEUE_SEED which moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.qbt import wait_for
from tests.support.redis_server import RedisServer

from qbt_rules.model import MOST_ATTEMPTS, JobStatus
from qbt_rules.queue_manager import QueueManager, create_queue

pytestmark = pytest.mark.chaos

KILLS = int(os.environ.get("SEEDKEEP_QUEUE_KILLS", "6"))
JOBS = int(os.environ.get("SEEDKEEP_QUEUE_JOBS", "240"))
SEED = int(os.environ.get("SEEDKEEP_QUEUE_SEED", "20261121"))
WAIT_S = 240.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Victim:
    """The server on stage, and Redis where there is one."""

    folder: Path
    redis: RedisServer | None
    process: subprocess.Popen[bytes] | None = None
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def backend(self) -> str:
        return "redis" if self.redis else "sqlite"

    @property
    def targets(self) -> tuple[str, ...]:
        return ("worker", "web", "server", "supervisor", *(["redis"] if self.redis else []))

    def open_queue(self) -> QueueManager:
        if self.redis:
            return create_queue("redis", url=self.redis.url)
        return create_queue("sqlite", path=self.folder / "queue.db")

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.queue_stage", str(self.folder)]
        command += ["redis", self.redis.url] if self.redis else ["sqlite"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, target: str) -> None:
        self.killed[target] += 1
        if target == "redis":
            assert self.redis is not None
            self.redis.kill()
            time.sleep(random.uniform(0, 0.2))
            self.redis.start()
        elif target in ("server", "supervisor"):
            self.end(signal.SIGKILL, group=target == "server")
            self.start()
        else:
            pid = (self.folder / f"{target}.pid").read_text()
            with suppress(ProcessLookupError):  # a kill before this one may have ended it
                os.kill(int(pid), signal.SIGKILL)

    def end(self, number: signal.Signals, *, group: bool) -> None:
        assert self.process is not None
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(timeout=WAIT_S)

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(params=["sqlite", "redis"])
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Victim]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer()) if request.param == "redis" else None
        (tmp_path / "quota").write_text("0")
        server = Victim(tmp_path, redis)
        server.start()
        yield server
        with suppress(ProcessLookupError):
            assert server.process is not None
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


def test_every_accepted_job_ends_once_whatever_is_killed(victim: Victim) -> None:
    chance = random.Random(SEED)
    targets = [victim.targets[n % len(victim.targets)] for n in range(KILLS)]
    chance.shuffle(targets)
    wait_for((victim.folder / "worker.pid").exists, "the server", timeout_s=WAIT_S)
    for number, target in enumerate(targets, 1):
        quota = JOBS * number // KILLS
        (victim.folder / "quota.new").write_text(str(quota))
        (victim.folder / "quota.new").replace(victim.folder / "quota")
        ran = len(victim.lines("runs"))
        wait_for(lambda n=ran: len(victim.lines("runs")) > n, "jobs to run", timeout_s=WAIT_S)
        time.sleep(chance.uniform(0, 0.2))
        victim.kill(target)
    wait_for(lambda: len(victim.lines("accepted")) >= JOBS, "the last job", timeout_s=WAIT_S)
    queue = victim.open_queue()
    wait_for(lambda: queue.stats().depth == 0, "the end of all jobs", timeout_s=WAIT_S)
    victim.end(signal.SIGTERM, group=False)
    check(victim, queue)
    queue.close()


def check(victim: Victim, queue: QueueManager) -> None:
    runs = [line.split() for line in victim.lines("runs")]
    assert [run for run in runs if run[0] == "together"] == []
    assert len(set(victim.lines("accepted"))) >= JOBS
    ended = {job_id for what, job_id, _ in runs if what == "end"}
    for job_id in set(victim.lines("accepted")):
        job = queue.get_job(job_id)
        assert job is not None, f"{job_id} was accepted and is gone"
        if job.status is JobStatus.FAILED:
            assert job.attempts == MOST_ATTEMPTS
        else:
            assert job.status is JobStatus.COMPLETED
            assert job_id in ended
    counts = queue.stats().counts
    assert counts[JobStatus.COMPLETED] + counts[JobStatus.FAILED] == queue.stats().total
    # A job that a worker was killed under is given up after three times; few meet that fate.
    assert counts[JobStatus.FAILED] <= 1 + KILLS // 20
    print(f"{victim.backend}: {dict(victim.killed)}, {counts}, {len(runs)} lines")
