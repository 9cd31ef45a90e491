"""The HTTP part of `make bench-server`: many clients ask a really running server for jobs.

The clients are one process without threads that keeps one request under way on each connection, so
that little of the two cores goes into asking.  The worker takes every job from the queue while they
ask, with an engine that does nothing.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.qbt import free_port, wait_for

from qbt_rules.model import Job, JobResult
from seedkeep import logs
from seedkeep.settings_qbt_rules import SERVER_THREADS
from seedkeep.text import table
from seedkeep.units import format_size

SAMPLE_S = 1.0
KEY = "0123456789abcdef0123456789abcdef"
HEAD = (
    "WEB",
    "THREADS",
    "CLIENTS",
    "REQUESTS",
    "ERRORS",
    "PER SECOND",
    "P50",
    "P99",
    "MAX",
    "PSS",
    "RSS",
)
LEGEND = """\
WEB        web processes, and the threads in each
PER SECOND requests answered with 202, each with a job of its own durable in SQLite
P50 ...    milliseconds from the first byte sent to the last byte received
PSS, RSS   highest sum over all processes of the server during the load, sampled every second; PSS
           counts memory that processes share once, RSS in each"""


@dataclass(frozen=True)
class Load:
    errors: int
    seconds: float
    latencies: list[float]  # seconds, sorted

    def at(self, part: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * part))]


@contextmanager
def running_server(folder: Path, workers: int, threads: int) -> Iterator[tuple[int, int]]:
    """(port, pid of the parent process)."""
    port = free_port()
    (folder / "rules.yml").write_text("rules: []\n")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.server_http", "--serve", folder),
            *(str(port), str(workers), str(threads)),
        ],
        stderr=(folder / "stderr").open("w"),
    )
    try:
        wait_for(lambda: answers(port), "the server to answer")
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def serve_without_work(folder: str, port: str, workers: str, threads: str) -> int:
    """The server as `qbt-rules --serve` starts it, but for the engine."""
    from qbt_rules import serve
    from qbt_rules.config import load_settings

    flags = {"config.dir": folder, "server.port": port, "server.workers": workers}
    flags |= {"server.threads": threads}
    more = {"server.host": "127.0.0.1", "server.api_key": KEY, "logging.level": "WARNING"}
    serve.make_engine = lambda _: NoWork()
    settings = load_settings(flags | more)
    logs.set_up("WARNING")
    return serve.serve(settings)


class NoWork:
    def run(self, job: Job, cancelled: Callable[[], bool]) -> JobResult:  # noqa: ARG002
        return JobResult()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def load(port: int, clients: int, requests: int, memory: Memory) -> Load:
    """Send `requests` over `clients` kept-alive connections, one under way on each."""
    poll = selectors.DefaultSelector()
    sent = errors = 0
    latencies: list[float] = []
    begun: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}

    def send(connection: socket.socket) -> None:
        nonlocal sent
        begun[connection] = time.perf_counter()
        received[connection] = b""
        connection.sendall(
            b"POST /api/execute?context=bench&hash=%040x HTTP/1.1\r\nHost: x\r\n"
            b"X-API-Key: %s\r\nContent-Length: 0\r\n\r\n" % (sent, KEY.encode())
        )
        sent += 1

    started = time.perf_counter()
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, selectors.EVENT_READ)
        send(connection)
    while len(latencies) + errors < requests:
        memory.sample()
        for key, _ in poll.select(10):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            received[connection] += connection.recv(65536)
            if not received[connection].endswith(b"}\n"):
                continue
            if received[connection].startswith(b"HTTP/1.1 202 "):
                latencies.append(time.perf_counter() - begun[connection])
            else:
                errors += 1
            if sent < requests:
                send(connection)
    seconds = time.perf_counter() - started
    for key in list(poll.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    return Load(errors, seconds, sorted(latencies))


class Memory:
    """Peaks over all processes below a parent, itself included.

    A look takes milliseconds in which the kernel holds the processes' maps and nobody asks, so it
    is rare: the memory of a server under a steady load does not jump.
    """

    def __init__(self, parent: int) -> None:
        self._parent, self._next = parent, 0.0
        self.pss = self.rss = 0  # bytes

    def sample(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAMPLE_S
        found = [_memory(pid) for pid in _family(self._parent)]
        self.pss = max(self.pss, sum(pss for pss, _ in found))
        self.rss = max(self.rss, sum(rss for _, rss in found))


def _family(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*")
        for child in (task / "children").read_text().split()
    ]
    return [pid, *(member for child in children for member in _family(child))]


def _memory(pid: int) -> tuple[int, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return kib["Pss"] * 1024, kib["Rss"] * 1024


def measure(workers: int, threads: int, clients: int, requests: int) -> tuple[str, ...]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-server-") as folder,
        running_server(Path(folder), workers, threads) as (port, pid),
    ):
        memory = Memory(pid)
        load(port, clients, clients * 2, memory)  # so that everything is imported
        seen = load(port, clients, requests, memory)
    ms = [f"{seen.at(part) * 1000:.1f} ms" for part in (0.5, 0.99, 1.0)]
    return (
        str(workers),
        str(threads),
        str(clients),
        str(requests),
        str(seen.errors),
        f"{len(seen.latencies) / seen.seconds:.0f}",
        *ms,
        format_size(memory.pss),
        format_size(memory.rss),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=SERVER_THREADS.default)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.exit(serve_without_work(*options.serve))
    given = (options.threads, options.clients, options.requests)
    rows = [measure(workers, *given) for workers in options.workers]
    print(table(HEAD, rows, "r" * len(HEAD)))
    print(LEGEND)


if __name__ == "__main__":
    main()
