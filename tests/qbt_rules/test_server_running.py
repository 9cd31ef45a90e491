"""A really running server: processes, signals, slow and hostile clients, logs."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.support.qbt import wait_for
from tests.support.rules_server import KEY, RulesServer, running
from tests.support.simulated import SimulatedClient

from seedkeep.sqlite import open_database, transaction

RULES = "rules:\n  - name: nothing\n    conditions: {context: never}\n    actions: [{type: stop}]\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RulesServer]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "rules.yml").write_text(RULES)
    with running(folder, SERVER_THREADS="2") as started:
        yield started


def wait_for_worker(server: RulesServer) -> None:
    """The server answers before its worker has the seat."""
    wait_for(
        lambda: (
            server.ask("GET", "/api/health", key=None).json()["errors"]
            == ["Cannot connect to qBittorrent"]
        ),
        "the worker to be at work",
    )


def test_a_key_and_an_address_are_enough(server: RulesServer) -> None:
    assert (server.folder / "qbt-rules.db").exists()
    assert "listening on" in server.log
    assert "listening on" in (server.folder / "qbt-rules.log").read_text()
    wait_for_worker(server)


def test_the_log_says_who_asked_for_what_without_the_query(server: RulesServer) -> None:
    server.ask("GET", f"/api/jobs?limit=7&key={KEY}", key=None)
    server.ask("GET", "/api/jobs?key=nearly-the-key", key=None)
    server.raw(b"GET /api/jobs?key=in-a-broken-line\r\nHost: x\r\n\r\n")
    wait_for(lambda: "no request from 127.0.0.1: 400" in server.log, "the broken request")
    assert re.search(r"INFO qbt_rules.access: 127.0.0.1 GET /api/jobs 200 [\d.]+ ms", server.log)
    for log in (server.log, (server.folder / "qbt-rules.log").read_text()):
        assert "limit=7" not in log
        assert KEY not in log
        assert "nearly-the-key" not in log
        assert "in-a-broken-line" not in log


def test_a_connection_is_used_again(server: RulesServer) -> None:
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{server.url}/ping", timeout=10).status_code == 200
    request = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert server.raw(request + request + last).count(b"HTTP/1.1 200") == 3


def test_a_body_ends_the_connection_and_is_never_taken_for_a_request(server: RulesServer) -> None:
    smuggled = b"DELETE /api/jobs/x HTTP/1.1\r\nHost: x\r\n\r\n"
    for head in (b"Content-Length: %d" % len(smuggled), b"Transfer-Encoding: chunked"):
        answer = server.raw(
            b"POST /api/reload HTTP/1.1\r\nHost: x\r\nX-API-Key: "
            + KEY.encode()
            + b"\r\n"
            + head
            + b"\r\n\r\n"
            + smuggled
        )
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Big: %s\r\n\r\n" % (b"x" * 20_000), b"431"),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n", b"431"),
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 20_000), b"414"),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 40_000, b"431"),
        (b"BREW /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"POST /api/execute HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    ],
    ids=["long", "many", "path", "endless", "method", "nonsense", "tls", "huge"],
)
def test_hostile_requests_are_refused(server: RulesServer, sent: bytes, status: bytes) -> None:
    answer = server.raw(sent)
    # For an unknown path or method nothing is told without a key.
    assert answer.split(b" ")[1] in (status, b"401")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert {"error", "message", "trace_id"} == set(json.loads(body))
    assert b"X-Content-Type-Options: nosniff" in head
    assert server.ask("GET", "/ping").status_code == 200


def test_slow_clients_do_not_stop_others(server: RulesServer) -> None:
    """More of them than threads: silent, in the middle of a head, and never reading or closing."""
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    try:
        for number, connection in enumerate(waiting):
            if number % 3 == 1:
                connection.sendall(b"GET /api/stats HTTP/1.1\r\nHost:")
            elif number % 3 == 2:  # answered with "close", and then does not close
                connection.sendall(b"POST /api/execute HTTP/1.1\r\nContent-Length: 9\r\n\r\n1")
        begun = time.monotonic()
        for _ in range(10):
            assert server.ask("GET", "/ping").status_code == 200
        assert time.monotonic() - begun < 18, "each farewell would have cost two seconds"
        wait_for(lambda: all(ended(c) for c in waiting), "the slow ones to be sent away", 30)
    finally:
        for connection in waiting:
            connection.close()


def ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.fixture
def client() -> Iterator[SimulatedClient]:
    """Without a qBittorrent, a job waits for it for a minute."""
    with SimulatedClient("5.1", refresh_s=0.1) as simulated:
        yield simulated


def test_sigterm_ends_everything_and_what_waits_is_there_afterwards(
    tmp_path: Path, client: SimulatedClient
) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    with running(tmp_path, "--server-workers", "2", QBITTORRENT_HOST=client.url) as server:
        done = server.client("--context", "manual", "--wait", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["job"]["status"] == "completed"
        job_id = server.ask("POST", "/api/execute?context=x").json()["job_id"]
        family = processes(server)
        assert len(family) >= 4
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 30
        wait_for(lambda: not any(alive(pid) for pid in family), "all processes to be gone")
        server.start()
        assert server.ask("GET", f"/api/jobs/{job_id}").status_code == 200


def processes(server: RulesServer) -> list[int]:
    assert server.process is not None
    todo, found = [server.process.pid], []
    while todo:
        pid = todo.pop()
        found.append(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            todo += map(int, children.read_text().split())
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_server_ends_in_time_and_works_again_although_somebody_locked_its_queue(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    with running(tmp_path) as server:
        wait_for_worker(server)
        with open_database(tmp_path / "qbt-rules.db") as db, transaction(db):
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < 15
        assert "the seat stays taken until the lease ends" in server.log
        server.start()
        assert server.ask("POST", "/api/execute").status_code == 202


def test_who_only_reads_is_answered_while_somebody_keeps_the_queue_locked(
    tmp_path: Path, client: SimulatedClient
) -> None:
    (tmp_path / "rules.yml").write_text(RULES)

    def execute(server: RulesServer) -> tuple[Any, float]:
        begun = time.monotonic()
        return server.ask("POST", "/api/execute"), time.monotonic() - begun

    given = {"SERVER_THREADS": "1", "QBITTORRENT_HOST": client.url}
    with running(tmp_path, **given) as server, ThreadPoolExecutor(1) as pool:
        with open_database(tmp_path / "qbt-rules.db") as db, transaction(db):
            asked = pool.submit(execute, server)
            time.sleep(0.5)
            for path in ("/ping", "/api/jobs", "/api/stats"):
                assert server.ask("GET", path).status_code == 200
            assert "queue" in server.ask("GET", "/api/health").json()
            assert not asked.done(), "the request for a job still waits"
            answer, took_s = asked.result()
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert took_s < 9
        assert server.ask("POST", "/api/execute").status_code == 202


def test_a_burst_against_a_locked_queue_is_refused_together_and_not_one_after_the_other(
    tmp_path: Path,
) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    many = 12

    def execute(server: RulesServer) -> tuple[int, float]:
        begun = time.monotonic()
        return server.ask("POST", "/api/execute").status_code, time.monotonic() - begun

    with running(tmp_path, SERVER_THREADS="2") as server, ThreadPoolExecutor(many) as pool:
        with open_database(tmp_path / "qbt-rules.db") as db, transaction(db):
            found = [one.result() for one in [pool.submit(execute, server) for _ in range(many)]]
        assert {status for status, _ in found} == {503}
        assert max(took_s for _, took_s in found) < 9, "five seconds for each, counted together"
        assert server.ask("GET", "/api/stats").json()["jobs"]["total"] == 0


def test_two_servers_with_four_web_processes_have_one_worker_at_work(
    tmp_path: Path, client: SimulatedClient
) -> None:
    given = {
        "SERVER_WORKERS": "4",
        "QUEUE_SQLITE_PATH": str(tmp_path / "shared.db"),
        "QBITTORRENT_HOST": client.url,
    }
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.yml").write_text(RULES)
    with running(tmp_path / "a", **given) as one, running(tmp_path / "b", **given) as two:
        for number in range(20):
            server = (one, two)[number % 2]
            assert server.ask("POST", f"/api/execute?context=c{number}").status_code == 202
        wait_for(
            lambda: one.ask("GET", "/api/stats").json()["queue"]["depth"] == 0,
            "all jobs to end",
            60,
        )
        worked = [len(re.findall("job starts", server.log)) for server in (one, two)]
        assert sorted(worked) == [0, 20]
        assert two.ask("GET", "/api/stats").json()["jobs"]["total"] == 20


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"SERVER_API_KEY": ""}, "error: the server needs an API key"),
        ({"SERVER_PORT": "x"}, "error: server.port: 'x' is not a whole number"),
        ({"QUEUE_BACKEND": "redis"}, "error: queue.backend is redis, and queue.redis_url is not"),
        ({"CONFIG_DIR": "/dev/null/x"}, "error: cannot make the folder /dev/null/x"),
    ],
)
def test_a_server_that_cannot_work_does_not_start(
    tmp_path: Path, names: dict[str, str], said: str
) -> None:
    server = RulesServer(tmp_path)
    done = server.client("--serve", **({"SERVER_API_KEY": KEY} | names))
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_ends_the_server_with_a_word(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = RulesServer(tmp_path)
        done = server.client(
            "--serve",
            SERVER_API_KEY=KEY,
            SERVER_HOST="127.0.0.1",
            SERVER_PORT=str(taken.getsockname()[1]),
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot listen on 127.0.0.1, port ")
    assert "Address already in use" in done.stderr
