"""The only source of time.  Wall-clock times are aware UTC; text ends with Z.

Tests replace both clocks with `using`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Source:
    """Where time comes from."""

    now: Callable[[], datetime]  # aware
    monotonic: Callable[[], float]  # seconds from an arbitrary start
    sleep: Callable[[float], None]


_SYSTEM = Source(lambda: datetime.now(UTC), time.monotonic, time.sleep)
_current: list[Source] = [_SYSTEM]


def now() -> datetime:
    """This moment, aware, in UTC."""
    return _current[-1].now().astimezone(UTC)


def monotonic() -> float:
    """Seconds from an arbitrary start; for durations and deadlines, unmoved by clock changes."""
    return _current[-1].monotonic()


def sleep(seconds: float) -> None:
    _current[-1].sleep(seconds)


@contextmanager
def using(
    *,
    now: Callable[[], datetime] | None = None,
    monotonic: Callable[[], float] | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Iterator[None]:
    """Take time from somewhere else inside the block."""
    before = _current[-1]
    _current.append(Source(now or before.now, monotonic or before.monotonic, sleep or before.sleep))
    try:
        yield
    finally:
        _current.pop()


def iso(moment: datetime) -> str:
    """ "2026-11-21T07:35:06Z"; microseconds only when there are some.

    Raises `ValueError` for a datetime without a time zone, whose moment nobody knows.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def to_second(moment: datetime | str) -> str:
    """`iso` for people, who read no microseconds; of a moment, or of its text."""
    found = parse_iso(moment) if isinstance(moment, str) else moment
    return iso(found.replace(microsecond=0))


def parse_iso(text: str) -> datetime:
    """Inverse of `iso`; any offset is accepted and turned into UTC.  Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.astimezone(UTC)


def from_unix(seconds: float) -> datetime:
    """Seconds since 1970 as an aware UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)
