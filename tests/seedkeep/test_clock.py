"""Time in and out: always UTC, always with its zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep import clock


def test_now_is_this_moment_in_utc() -> None:
    before = datetime.now(UTC)
    now = clock.now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_moment_is_written_with_z_and_without_empty_microseconds() -> None:
    moment = datetime(2026, 11, 21, 7, 35, 6, tzinfo=UTC)
    assert clock.iso(moment) == "2026-11-21T07:35:06Z"
    assert clock.iso(moment.replace(microsecond=500)) == "2026-11-21T07:35:06.000500Z"


def test_another_zone_is_turned_into_utc() -> None:
    moment = datetime(2026, 11, 21, 8, 0, tzinfo=timezone(timedelta(hours=2)))
    assert clock.iso(moment) == "2026-11-21T06:00:00Z"
    assert clock.parse_iso("2026-11-21T08:00:00+02:00") == moment
    assert clock.parse_iso("2026-11-21T08:00:00+02:00").tzinfo is UTC


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        clock.iso(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="no time zone"):
        clock.parse_iso("2026-01-01T00:00:00")


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_back(moment: datetime) -> None:
    assert clock.parse_iso(clock.iso(moment)) == moment


def test_unix_seconds_are_utc() -> None:
    assert clock.iso(clock.from_unix(0)) == "1970-01-01T00:00:00Z"


def test_time_can_be_replaced_inside_a_block() -> None:
    moment = datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    slept: list[float] = []
    with clock.using(now=lambda: moment, monotonic=lambda: 5.0, sleep=slept.append):
        clock.sleep(3)
        with clock.using(monotonic=lambda: 6.0):
            assert (clock.iso(clock.now()), clock.monotonic()) == ("1999-12-31T23:00:00Z", 6.0)
        assert clock.monotonic() == 5.0
    assert slept == [3]
    assert clock.now().year >= 2026


def test_the_monotonic_clock_is_the_systems() -> None:
    assert abs(clock.monotonic() - time.monotonic()) < 60
