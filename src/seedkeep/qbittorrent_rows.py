"""Rows of qBittorrent's answers, read strictly: a half answer is an error, never a default."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from seedkeep.errors import Unreachable
from seedkeep.torrent_client import Torrent, TorrentFile, TorrentState

# completion_on of a torrent that never completed: -1, 0 or 2^32-1, by version.
NEVER = frozenset({0, 2**32 - 1})
_PAUSED = {"pausedUP": TorrentState.STOPPED_UP, "pausedDL": TorrentState.STOPPED_DL}
_TEXTS = (
    *("hash", "infohash_v1", "infohash_v2", "name", "state", "save_path", "download_path"),
    *("content_path", "category", "tags", "tracker"),
)
_INTEGERS = ("size", "amount_left", "uploaded", "up_limit", "dl_limit", "seeding_time_limit")
_FLAGS = ("auto_tmm", "force_start", "super_seeding")
_USUAL = (
    *((str, itemgetter(*_TEXTS)), (int, itemgetter(*_INTEGERS))),
    (bool, itemgetter(*_FLAGS)),
)
_STATES = {state.value: state for state in TorrentState} | _PAUSED


@dataclass(frozen=True)
class Row:
    """One JSON object of an answer; `where` names it in errors."""

    where: str
    values: Any

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise self._broken(key, "is not text")
        return value

    def integer(self, key: str) -> int:
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._broken(key, "is not a whole number")
        return value

    def number(self, key: str) -> float:
        value = self._value(key)
        if not is_number(value):
            raise self._broken(key, "is not a number")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._broken(key, "is not true or false")
        return value

    def moment(self, key: str) -> datetime | None:
        seconds = self.integer(key)
        if seconds < 0 or seconds in NEVER:
            return None
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError):
            raise self._broken(key, "is no moment in time") from None

    def _value(self, key: str) -> Any:
        if not isinstance(self.values, dict):
            raise Unreachable(f"qBittorrent's answer to {self.where} is not understood")
        if key not in self.values:
            raise self._broken(key, "is missing")
        return self.values[key]

    def _broken(self, key: str, what: str) -> Unreachable:
        return Unreachable(
            f"qBittorrent's answer to {self.where} is not understood",
            detail=f"{key!r} {what}",
            hint="is something between this program and qBittorrent changing its answers?",
        )


def is_number(value: Any) -> bool:
    """Neither true, which would count as 1, nor NaN or infinity, which readers of JSON let in."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def rows_of(where: str, answer: Any) -> Iterator[Row]:
    if not isinstance(answer, list):
        raise Unreachable(
            f"qBittorrent's answer to {where} is not understood",
            detail=f"a list was expected, not {type(answer).__name__}",
        )
    for values in answer:
        yield Row(where, values)


def read_torrent(row: Row) -> Torrent:
    _check_kinds(row)
    values = row.values
    save_path, download_path = _cleaned(values["save_path"]), values["download_path"]
    return Torrent(
        torrent_id=values["hash"].lower(),
        infohash_v1=values["infohash_v1"].lower(),
        infohash_v2=values["infohash_v2"].lower(),
        name=values["name"],
        state=state_of(values["state"]),
        progress=row.number("progress"),
        size=values["size"],
        amount_left=values["amount_left"],
        save_path=save_path,
        download_path="" if _cleaned(download_path) == save_path else download_path,
        content_path=values["content_path"],
        category=values["category"],
        tags=tags_of(values["tags"]),
        auto_tmm=values["auto_tmm"],
        force_start=values["force_start"],
        super_seeding=values["super_seeding"],
        added_on=row.moment("added_on"),
        completion_on=row.moment("completion_on"),
        uploaded=values["uploaded"],
        ratio=row.number("ratio"),
        upload_limit=values["up_limit"],
        download_limit=values["dl_limit"],
        ratio_limit=row.number("ratio_limit"),
        seeding_time_limit=values["seeding_time_limit"],
        tracker=values["tracker"],
    )


def _check_kinds(row: Row) -> None:
    """Raises what the strict readers raise; they are asked only where something is not as usual.

    Reading each field strictly was a third of what a sync of thousands spent on a torrent.
    """
    try:
        if all({*map(type, of(row.values))} == {kind} for kind, of in _USUAL):
            return
    except (KeyError, TypeError):
        pass
    for key in _TEXTS:
        row.text(key)
    for key in _INTEGERS:
        row.integer(key)
    for key in _FLAGS:
        row.flag(key)


def state_of(text: str) -> TorrentState:
    return _STATES.get(text, TorrentState.UNKNOWN)


@lru_cache
def tags_of(text: str) -> tuple[str, ...]:
    return tuple(sorted(tag.strip() for tag in text.split(",") if tag.strip()))


def read_file(row: Row) -> TorrentFile:
    return TorrentFile(
        name=row.text("name"),
        size=row.integer("size"),
        progress=row.number("progress"),
        wanted=row.integer("priority") > 0,
    )


@lru_cache
def _cleaned(path: str) -> str:
    """Without the trailing slash that some versions put on a save path."""
    return posixpath.normpath(path) if path else ""
