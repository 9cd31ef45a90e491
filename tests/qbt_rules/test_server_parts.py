"""Small parts of the server: what a check remembers, settings, logs."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.rules_app import Answering

from qbt_rules import checks, serve
from qbt_rules.checks import ClientCheck
from qbt_rules.config import ENV_VARS, load_settings, open_queue, schedule
from qbt_rules.live_settings import LiveSettings
from qbt_rules.web_log import WebLog
from qbt_rules.web_worker import Kind, Threads, kind_of, time_limit
from seedkeep.errors import Misused
from seedkeep.settings import Settings


def test_who_comes_while_qbittorrent_is_asked_does_not_wait() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Answering):
        def torrents(self, ids: Any = None) -> list[object]:
            self.asked += 1
            if self.asked == 2:
                begun.set()
                assert go_on.wait(20)
            return []

    now = [0.0]
    from seedkeep import clock

    check = ClientCheck(Slow().connect)
    with clock.using(monotonic=lambda: now[0]):
        assert check.look().version == "v5.1.0"
        now[0] += 60
        asking = threading.Thread(target=check.look)
        asking.start()
        assert begun.wait(20)
        assert check.look().version == "v5.1.0", "the answer before, at once"
        go_on.set()
        asking.join()


def test_qbittorrent_is_not_waited_for_longer_than_a_health_check_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("seedkeep.qbittorrent.connect", lambda *_, **more: seen.update(more))
    checks.qbittorrent("http://x", "", "", timedelta(seconds=30))
    assert seen["timeout_s"] == checks.TIMEOUT_S


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("schedule: [{cron: nonsense}]", "schedule: entry 1: 'nonsense' is no cron"),
        ("schedule: [{every: 6h, cron: 0 4 * * *}]", "schedule: entry 1 needs either"),
        ("schedule: {cron: x}", "schedule: must be a list"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "config.yml").write_text(text + "\n")
    with pytest.raises(Misused) as caught:
        schedule(load_settings({"config.dir": str(tmp_path)}))
    assert caught.value.brief.startswith(problem)
    assert f"{tmp_path}/config.yml:1:" in caught.value.detail


def test_a_schedule_is_read_from_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("schedule:\n  - {cron: 0 4 * * *, context: nightly}\n")
    (entry,) = schedule(load_settings({"config.dir": str(tmp_path)}))
    assert (entry.cron, entry.context) == ("0 4 * * *", "nightly")


def test_redis_needs_an_address() -> None:
    with pytest.raises(Misused, match=r"queue\.redis_url is not set"):
        open_queue(load_settings({"queue.backend": "redis"}))


def test_every_setting_is_known_by_its_variable() -> None:
    assert ENV_VARS["server.port"] == "QBT_RULES_SERVER_PORT"
    assert all(name.startswith("QBT_RULES_") for name in ENV_VARS.values())


def test_a_log_that_cannot_be_written_is_no_reason_not_to_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings({"config.dir": str(tmp_path), "logging.file": "/proc/no/log"})
    serve._log(settings)
    assert "no log file: " in caplog.text


def test_a_client_that_went_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    log = WebLog.__new__(WebLog)
    log.setup(None)
    caplog.set_level(logging.DEBUG, logger="qbt_rules")
    for problem, level in ((BlockingIOError(), "DEBUG"), (RuntimeError("bad"), "ERROR")):
        caplog.clear()
        try:
            raise problem
        except Exception:
            log.exception("Socket error processing request.")
        assert [record.levelname for record in caplog.records] == [level]
    log.reopen_files()
    log.close_on_exec()


@pytest.mark.parametrize("option", [socket.SO_SNDTIMEO, 67, socket.SO_RCVTIMEO, 66])
def test_the_kernel_takes_the_time_limit_in_either_form_that_a_python_may_name(option: int) -> None:
    """67 and 66 are what a Python of 32 bits with 64-bit times calls these options."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, option, time_limit(option, 10.0))
        assert client.getsockopt(socket.SOL_SOCKET, option, 16) == time_limit(option, 10.0)
    assert len(time_limit(67, 10.0)) == 16


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"POST /api/execute?context=x HTTP/1.1", Kind.CHANGE),
        (b"DELETE /api/jobs/1 HTTP/1.1", Kind.CHANGE),
        (b"POST /ping HTTP/1.1", Kind.CHANGE),
        (b"nonsense", Kind.CHANGE),
        (b"GET /api/jobs?context=/ping HTTP/1.1", Kind.READ),
        (b"HEAD /api/health HTTP/1.1", Kind.READ),
        (b"GET /ping?x=1 HTTP/1.1", Kind.ALIVE),
        (b"GET /behind/a/proxy/ping HTTP/1.1", Kind.ALIVE),
    ],
)
def test_requests_are_told_apart_by_what_they_wait_for(line: bytes, kind: Kind) -> None:
    assert kind_of(line + b"\r\n\r\n") is kind


def test_no_kind_of_request_waits_for_another_one() -> None:
    threads, go_on = Threads(1), threading.Event()
    waiting = [
        threads.submit(lambda _: go_on.wait(60), SimpleNamespace(kind=kind, asked_at=0.0))
        for kind in (Kind.CHANGE, Kind.CHANGE, Kind.READ)
    ]
    assert (
        threads.submit(lambda _: "pong", SimpleNamespace(kind=Kind.ALIVE, asked_at=0.0)).result(30)
        == "pong"
    )
    assert not any(one.done() for one in waiting)
    go_on.set()
    assert all(one.result(30) for one in waiting)
    threads.shutdown()


def test_one_client_that_takes_no_answer_does_not_keep_ping_from_the_others() -> None:
    """It sends request after request and reads nothing, until its thread waits to send."""
    threads, go_on = Threads(2), threading.Event()
    ping = SimpleNamespace(kind=Kind.ALIVE, asked_at=0.0)
    stuck = threads.submit(lambda _: go_on.wait(60), ping)
    try:
        assert threads.submit(lambda _: "pong", ping).result(5) == "pong"
    finally:
        go_on.set()
        threads.shutdown()
    assert stuck.result(30)


def test_a_folder_that_is_closed_to_the_server_leaves_its_settings_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody but root may enter it any more, and somebody sends a SIGHUP."""

    def closed() -> Settings:
        raise PermissionError(errno.EACCES, "Permission denied", "/config/config.yml")

    settings = load_settings({"config.dir": str(tmp_path)})
    live = LiveSettings(settings, closed)
    assert not live.reload()
    assert live.now is settings
    assert "the settings stay as they are" in caplog.text
