"""Sizes and durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedkeep.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234567", 1_234_567),
        ("512 B", 512),
        ("10GB", 10**10),
        ("10GiB", 10 * 2**30),
        ("1.5 TiB", 3 * 2**39),
        (" 10 gib ", 10 * 2**30),
        ("0.1KB", 100),
        ("0.0001KiB", 0),
        ("2EiB", 2**61),
    ],
)
def test_a_size_is_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1GB", "GB", "1,5GB", "1e9", "1.5", "1.5B", "10 XB", "١GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|byte|unit"):
        parse_size(text)


@pytest.mark.parametrize("text", ["10M", "10 g", "1Ti"])
def test_a_bare_prefix_is_refused_with_both_readings(text: str) -> None:
    with pytest.raises(ValueError, match=r"write [MGT]B \(1000s\) or [MGT]iB \(1024s\)"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**30 - 2**10, "1.0 GiB"),
        (-3 * 2**29, "-1.5 GiB"),
        (5000 * 2**60, "5000.0 EiB"),
    ],
)
def test_a_size_is_shown_in_iec_units(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=2**69))
def test_a_shown_size_is_read_back_within_its_precision(size: int) -> None:
    read = parse_size(format_size(size))
    assert abs(read - size) <= max(size, 1) * 0.05


@given(st.integers(min_value=0, max_value=10**15), st.sampled_from(["", "B", "KB", "MiB", "GB"]))
def test_a_written_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = {"": 1, "B": 1, "KB": 1000, "MiB": 2**20, "GB": 10**9}[unit]
    assert parse_size(f"{number}{unit}") == parse_size(f" {number} {unit.lower()}")
    assert parse_size(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("7d", timedelta(days=7)),
        ("30 days", timedelta(days=30)),
        ("12h", timedelta(hours=12)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("90s", timedelta(seconds=90)),
        ("2w", timedelta(days=14)),
        ("1.5h", timedelta(minutes=90)),
        ("1 Day 2 Hours", timedelta(hours=26)),
        ("0.25s", timedelta(milliseconds=250)),
    ],
)
def test_a_duration_is_understood(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", " ", "d", "-1d", "1h-30m", "1,5h", "h30m", "1h30", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_number_without_a_unit_is_refused_with_guesses_days_first() -> None:
    with pytest.raises(ValueError, match=r"did you mean 30d or 30s\?$"):
        parse_duration("30")


@pytest.mark.parametrize(
    ("text", "rate"),
    [("0", 0), ("1024", 1024), ("1 KiB/s", 1024), (" 5 MB/s ", 5_000_000), ("200MB", 200_000_000)],
)
def test_a_rate_is_understood(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["1", "5", "200/s", "1023", "0.5 KiB/s"])
def test_a_rate_of_a_few_bytes_is_refused_because_its_unit_was_forgotten(text: str) -> None:
    with pytest.raises(ValueError, match=r"is less than 1\.0 KiB/s; a unit is missing, as in"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["5M", "5y", "1H", "3 months"])
def test_an_unclear_unit_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no unit of time"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["30m1h", "1h1h", "1m60s30s"])
def test_units_go_from_large_to_small_once(text: str) -> None:
    with pytest.raises(ValueError, match="larger units first"):
        parse_duration(text)


def test_a_duration_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration("999999999999w")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(days=1, hours=2), "1d2h"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(milliseconds=250), "0.25s"),
        (timedelta(days=30), "30d"),
        (-timedelta(minutes=5), "-5m"),
    ],
)
def test_a_duration_is_shown_exactly(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_shown_duration_is_read_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
