"""Log lines: who, when, for which run, and never a secret."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from seedkeep import clock, logs

NOON = datetime(2026, 11, 21, 12, 0, 0, 999, tzinfo=UTC)
LOG = logging.getLogger("hashall.scan")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    with clock.using(now=lambda: NOON):
        yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    for name in ("seedkeep", "hashall", "rehome", "qbt_rules"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_record_is_one_line_with_time_level_and_name() -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream)
    LOG.info("scanned %s", "two\nlines")
    assert lines(stream) == ["2026-11-21T12:00:00Z INFO hashall.scan: scanned two\\nlines"]


def test_a_record_carries_the_run_and_the_job_it_belongs_to() -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream)
    with logs.bound(run=12):
        with logs.bound(job="j-1"):
            LOG.info("inner")
        LOG.info("outer")
    LOG.info("after")
    assert [line.split(" ", 2)[2] for line in lines(stream)] == [
        "hashall.scan run=12 job=j-1: inner",
        "hashall.scan run=12: outer",
        "hashall.scan: after",
    ]


def test_another_thread_does_not_get_the_id_of_this_one() -> None:
    stream = io.StringIO()
    logs.set_up(stream=stream)
    with logs.bound(run=12):
        thread = threading.Thread(target=LOG.info, args=("elsewhere",))
        thread.start()
        thread.join()
    assert "run=12" not in stream.getvalue()


def test_secrets_are_hidden_in_messages_and_tracebacks() -> None:
    stream = io.StringIO()
    logs.set_up(secrets=["hunter22", "hunter22-long", "abc"], stream=stream)
    try:
        raise ValueError("login with hunter22 failed")
    except ValueError:
        LOG.exception("password hunter22-long, abc")
    assert "hunter22" not in stream.getvalue()
    assert lines(stream)[0].endswith("password ********, abc")
    assert lines(stream)[-1] == "ValueError: login with ******** failed"


def test_a_name_that_is_not_utf8_can_be_logged() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    logs.set_up(stream=stream)
    try:
        raise ValueError("\udcff")
    except ValueError:
        # Straight to our handler: pytest cannot send such a record from a worker process.
        record = LOG.makeRecord(LOG.name, 40, "", 0, "bad %s", ("\udcff",), sys.exc_info())
    logging.getLogger().handlers[-1].handle(record)
    stream.flush()
    assert b"bad \\xff" in raw.getvalue()
    assert b"\\udcff" in raw.getvalue()


def test_the_level_is_ours_and_others_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    logs.set_up("DEBUG", stream=stream)
    LOG.debug("ours")
    logging.getLogger("urllib3").info("theirs")
    logging.getLogger("urllib3").warning("their warning")
    assert [line.rsplit(": ", 1)[1] for line in lines(stream)] == ["ours", "their warning"]


def test_retries_of_the_http_library_are_heard_only_at_debug() -> None:
    stream = io.StringIO()
    logs.set_up("INFO", stream=stream)
    logging.getLogger("urllib3").warning("retrying")
    logging.getLogger("other").warning("heard")
    assert [line.rsplit(": ", 1)[1] for line in lines(stream)] == ["heard"]


def test_setting_up_twice_writes_each_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.set_up(stream=first)
    logs.set_up("WARNING", stream=second)
    LOG.info("quiet")
    LOG.warning("heard")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_logging_follows_stderr_when_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.set_up()
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    LOG.info("here")
    assert lines(stream) == ["2026-11-21T12:00:00Z INFO hashall.scan: here"]


def test_a_copy_goes_into_a_file_which_may_be_moved_away(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    logs.set_up("INFO", secrets=["hunter22"], stream=io.StringIO(), file=file)
    try:
        logging.getLogger("qbt_rules.x").info("first hunter22")
        file.rename(tmp_path / "x.log.1")
        logging.getLogger("qbt_rules.x").info("second")
        assert "first ********" in (tmp_path / "x.log.1").read_text()
        assert "second" in file.read_text()
    finally:
        logs.set_up()


def test_the_query_of_an_address_is_not_shown() -> None:
    stream = io.StringIO()
    logs.set_up("INFO", stream=stream)
    try:
        logging.getLogger("qbt_rules.x").info("GET 'http://a/b?key=secret&x=1' failed; why? a=b")
    finally:
        logs.set_up()
    assert "GET 'http://a/b?********' failed; why? a=b" in stream.getvalue()
