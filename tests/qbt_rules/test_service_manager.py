"""systemd hears from a really running server: ready, alive, stopping; and SIGHUP's new settings."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.qbt import wait_for
from tests.support.rules_server import NOBODY, RulesServer, running
from tests.support.simulated import SimulatedClient

from qbt_rules import pulse as pulses
from qbt_rules.pulse import Heart, Pulse
from qbt_rules.service_manager import ServiceManager, notify, service_manager, watchdog_s

WAIT_S = 60.0
WATCHDOG_S = 2.0
RULES = "rules:\n  - name: nothing\n    conditions: {context: never}\n    actions: [{type: stop}]\n"


class Ears:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def hear(self, timeout_s: float) -> list[str]:
        """The lines of the next message; none after `timeout_s`."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            return self._socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return []

    def until(self, line: str) -> list[str]:
        """Everything that is said up to `line`."""
        heard, deadline = [], time.monotonic() + WAIT_S
        while line not in heard:
            assert time.monotonic() < deadline, f"{line} was not said, but {heard}"
            heard += self.hear(deadline - time.monotonic())
        return heard

    def during(self, seconds: float) -> list[str]:
        heard, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            heard += self.hear(end - time.monotonic())
        return heard

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(address: str) -> Iterator[Ears]:
    ears = Ears(address)
    try:
        yield ears
    finally:
        ears.close()


def children(pid: int) -> list[int]:
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for group in found for child in group]


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_systemd_hears_that_the_server_is_ready_alive_stuck_and_stopping(tmp_path: Path) -> None:
    server = RulesServer(tmp_path)
    with listening(f"@seedkeep-test-{os.getpid()}-{server.port}") as ears:
        server.variables = {
            "NOTIFY_SOCKET": ears.address,
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000)),
        }
        try:
            server.start()
            heard = ears.until("READY=1")
            assert "WATCHDOG=1" not in heard[: heard.index("READY=1")]
            assert server.ask("GET", "/ping").status_code == 200
            ears.until("WATCHDOG=1")
            assert "STATUS=Gunicorn arbiter booted" not in heard, "that would be too early"
            assert server.process is not None
            (web,) = [pid for pid in children(server.process.pid) if children(pid)]
            (worker,) = [pid for pid in children(server.process.pid) if pid != web]
            for pids, said in (
                ([worker], "STATUS=the worker gives no sign of life"),
                (children(web), f"STATUS=no answer from 127.0.0.1, port {server.port}: timed out"),
            ):
                with frozen(pids):
                    ears.until(said)
                    assert "WATCHDOG=1" not in ears.during(WATCHDOG_S / 2)
                assert "READY=1" not in ears.until("WATCHDOG=1"), "it is said once"
            assert server.stop() == 0
            assert "STOPPING=1" in ears.during(1)
        finally:
            if server.process is not None:
                server.stop()


def test_sighup_takes_new_settings_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    key, config = tmp_path / "key", tmp_path / "config.yml"
    first, second = "the-first-key-of-the-server", "the-second-key-of-the-server"
    key.write_text(f"{first}\n")
    config.write_text(f"qbittorrent: {{host: {NOBODY}}}\nserver: {{api_key_file: key}}\n")
    with (
        SimulatedClient("5.1", refresh_s=0.1) as client,
        running(tmp_path, SERVER_API_KEY="", QBITTORRENT_HOST="") as server,
    ):
        assert server.ask("GET", "/api/stats", key=first).status_code == 200
        key.write_text(f"{second}\n")
        config.write_text(f"qbittorrent: {{host: {client.url}}}\nserver: {{api_key_file: key}}\n")
        hang_up(server)
        wait_for(lambda: accepts(server, second), "the new key", WAIT_S)
        wait_for(lambda: not accepts(server, first), "the end of the old key", WAIT_S)
        job = server.ask("POST", "/api/execute?context=x", key=second).json()["job_id"]
        wait_for(
            lambda: (
                server.ask("GET", f"/api/jobs/{job}", key=second).json()["status"] == "completed"
            ),
            "the worker to use the new address",
            WAIT_S,
        )
        assert first not in server.log
        assert second not in server.log
        for wrong, said in (
            ("server: {api_key_file: key, prot: 1}\n", "server.prot is not a setting"),
            ("server: {api_key_file: gone}\n", "cannot read"),
            ("server: {api_key_file: key, threads: 3}\n", "server.threads needs a restart"),
        ):
            config.write_text(wrong)
            hang_up(server)
            wait_for(lambda text=said: text in server.log, said, WAIT_S)  # type: ignore[misc]
        assert server.log.count("the settings stay as they are") == 3
        assert accepts(server, second)


def hang_up(server: RulesServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def accepts(server: RulesServer, key: str) -> bool:
    return bool(server.ask("GET", "/api/stats", key=key).status_code == 200)


# -- the parts


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_reaches_a_socket_with_and_without_a_file(tmp_path: Path, abstract: bool) -> None:
    address = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with listening(address) as ears:
        notify(address, "READY=1", "STATUS=fine")
        assert ears.hear(5) == ["READY=1", "STATUS=fine"]


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all"])
def test_who_cannot_be_told_disturbs_nobody(address: str) -> None:
    notify(address, "READY=1")


def test_without_systemd_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert service_manager("127.0.0.1", 1, Pulse()) is None
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    assert service_manager("127.0.0.1", 1, Pulse()) is not None
    assert "NOTIFY_SOCKET" not in os.environ, "children must not answer as well"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_only_the_process_that_is_watched_answers(
    environ: dict[str, str], expected: float | None
) -> None:
    assert watchdog_s(environ) == expected


def test_a_watchdog_is_fed_several_times_in_its_time(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as ears:
        wrong = ["not yet", "", "", "stuck", ""]
        manager = ServiceManager(ears.address, 8.0, [lambda: wrong.pop(0)])
        pauses = [manager.look() for _ in range(5)]
        manager.stopping()
        heard = ears.during(0.2)
    assert [line for line in heard if line[:6] != "STATUS"] == [
        *("READY=1", "WATCHDOG=1"),  # and nothing before
        "WATCHDOG=1",
        "WATCHDOG=1",  # again, after it was stuck
        "STOPPING=1",
    ]
    assert max(pauses) <= 2.0


def test_a_heart_stops_with_any_part_that_waits_for_ever() -> None:
    heart = Heart(stuck_s=0.2)
    assert heart.is_beating()
    heart.goes_on("jobs")
    heart.takes_long("upkeep")
    assert heart.is_beating()
    wait_for(lambda: not heart.is_beating(), "a part to be missed")
    heart.takes_long("jobs")
    assert heart.is_beating()


def test_a_pulse_is_felt_by_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulses, "BEAT_S", 0.01)
    pulse = Pulse()
    assert pulse.age_s() is None
    pid = os.fork()
    if pid == 0:
        Heart(pulse).start()
        time.sleep(60)
        os._exit(0)
    try:
        wait_for(lambda: pulse.age_s() is not None, "a beat")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    wait_for(lambda: (pulse.age_s() or 0) > 0.2, "the last beat to grow old")
    pulse.stop()
    assert pulse.age_s() is None
