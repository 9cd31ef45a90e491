"""Bytes and durations, as people write them and as we print them.

Sizes are integers of bytes: `10GB` is 10**9, `10GiB` is 10 * 2**30.  A bare `M` or `G` is refused,
because people mean either.  Rates are bytes a second: `5 MB/s`.  Durations are `timedelta`: `7d`,
`30 days`, `1h30m`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

_PREFIXES = "KMGTPE"
_SIZE_UNITS: dict[str, int] = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(_PREFIXES, 1)},
    **{f"{prefix}IB": 1024**power for power, prefix in enumerate(_PREFIXES, 1)},
}
_HALVES = [0, *(1 << (10 * power - 1) for power in range(1, len(_PREFIXES) + 1))]  # of each unit
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)

SLOWEST = 1024  # bytes a second; nobody means less, and it would never end

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WORDS = {
    **dict.fromkeys(("w", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]+)\s*", re.ASCII)
_MICROSECOND = timedelta(microseconds=1)


def parse_size(text: str) -> int:
    """Bytes.  A fraction of a byte is dropped.  Raises `ValueError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size (write 10GB, 1.5 GiB or bytes)")
    number, unit = match[1], match[2].upper()
    if unit and unit not in _SIZE_UNITS:
        if unit.rstrip("I") in _PREFIXES:
            letter = unit[0]
            raise ValueError(f"{text!r}: write {letter}B (1000s) or {letter}iB (1024s)")
        raise ValueError(f"{text!r}: {match[2]} is no unit of size (write 50GB, 1.5TiB or 700MB)")
    if "." in number and unit in ("", "B"):
        raise ValueError(f"{text!r} is a fraction of a byte")
    if "." not in number:
        return int(number) * _SIZE_UNITS.get(unit, 1)
    from fractions import Fraction  # slow to import, and rarely needed

    return int(Fraction(number) * _SIZE_UNITS[unit])


def format_size(size: int) -> str:
    """IEC with one decimal: "1.5 GiB"; below 1 KiB exact: "512 B"."""
    if size < 1024:
        return f"{size} B" if size > -1024 else f"-{format_size(-size)}"
    power = (size.bit_length() - 1) // 10
    power = min(power, len(_PREFIXES))
    tenths = (size * 10 + _HALVES[power]) >> (10 * power)
    if tenths >= 10_240 and power < len(_PREFIXES):  # 1023.96 MiB is shown as 1.0 GiB
        power += 1
        tenths = (size * 10 + _HALVES[power]) >> (10 * power)
    return _with_unit(tenths, power)


@lru_cache(10_240)  # lists have many sizes, and few that look different
def _with_unit(tenths: int, power: int) -> str:
    return f"{tenths // 10}.{tenths % 10} {_PREFIXES[power - 1]}iB"


def parse_rate(text: str) -> int:
    """Bytes a second; so few that a unit was forgotten are none.  Raises `ValueError`."""
    rate = parse_size(text.strip().removesuffix("/s"))
    if 0 < rate < SLOWEST:
        raise ValueError(
            f"{rate} B/s is less than {format_size(SLOWEST)}/s;"
            f" a unit is missing, as in {rate} MB/s"
        )
    return rate


def parse_duration(text: str) -> timedelta:
    """Largest unit first, each unit once; `0` needs no unit.  Raises `ValueError`."""
    from fractions import Fraction

    stripped = text.strip()
    if stripped == "0":
        return timedelta(0)
    total, smallest, position = Fraction(0), float("inf"), 0
    while position < len(stripped):
        match = _PART.match(stripped, position)
        if match is None:
            break
        seconds = _unit_seconds(text, match[2])
        if seconds >= smallest:
            raise ValueError(f"{text!r}: write larger units first and each unit once")
        total += Fraction(match[1]) * seconds
        smallest, position = seconds, match.end()
    if position == 0 or position < len(stripped):
        hint = f"; did you mean {stripped}d or {stripped}s?" if stripped.isdecimal() else ""
        raise ValueError(f"{text!r} is not a duration (write 7d, 12h, 1h30m or 90s){hint}")
    try:
        return timedelta(microseconds=int(total * 1_000_000))
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def _unit_seconds(text: str, word: str) -> int:
    # "M" could be minutes or months, so a single letter must be as we print it.
    unit = _WORDS.get(word if len(word) == 1 else word.lower())
    if unit is None:
        raise ValueError(f"{text!r}: {word} is no unit of time (w, d, h, m, s)")
    return _SECONDS[unit]


def format_duration(duration: timedelta) -> str:
    """Exact and without spaces: "1d2h", "1m30s", "0.25s", "0s"; `parse_duration` reads it."""
    sign, rest = ("-", -duration) if duration < timedelta(0) else ("", duration)
    parts = []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, timedelta(seconds=_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    seconds, micros = divmod(rest // _MICROSECOND, 1_000_000)
    if seconds or micros or not parts:
        fraction = f".{micros:06d}".rstrip("0") if micros else ""
        parts.append(f"{seconds}{fraction}s")
    return sign + "".join(parts)
