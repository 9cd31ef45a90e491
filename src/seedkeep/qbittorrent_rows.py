"""Rows of qBittorrent's answers, read strictly: a half answer is an error, never a default."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from seedkeep.errors import Unreachable
from seedkeep.torrent_client import Torrent, TorrentFile, TorrentState

# completion_on of a torrent that never completed: -1, 0 or 2^32-1, by version.
NEVER = frozenset({0, 2**32 - 1})
_PAUSED = {"pausedUP": TorrentState.STOPPED_UP, "pausedDL": TorrentState.STOPPED_DL}
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
        if isinstance(value, bool) or not isinstance(value, int | float):
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


def rows_of(where: str, answer: Any) -> Iterator[Row]:
    if not isinstance(answer, list):
        raise Unreachable(
            f"qBittorrent's answer to {where} is not understood",
            detail=f"a list was expected, not {type(answer).__name__}",
        )
    for values in answer:
        yield Row(where, values)


def read_torrent(row: Row) -> Torrent:
    save_path = row.text("save_path")
    download_path = row.text("download_path")
    return Torrent(
        torrent_id=row.text("hash").lower(),
        infohash_v1=row.text("infohash_v1").lower(),
        infohash_v2=row.text("infohash_v2").lower(),
        name=row.text("name"),
        state=state_of(row.text("state")),
        progress=row.number("progress"),
        size=row.integer("size"),
        amount_left=row.integer("amount_left"),
        save_path=_cleaned(save_path),
        download_path="" if _cleaned(download_path) == _cleaned(save_path) else download_path,
        content_path=row.text("content_path"),
        category=row.text("category"),
        tags=tags_of(row.text("tags")),
        auto_tmm=row.flag("auto_tmm"),
        force_start=row.flag("force_start"),
        super_seeding=row.flag("super_seeding"),
        added_on=row.moment("added_on"),
        completion_on=row.moment("completion_on"),
        uploaded=row.integer("uploaded"),
        ratio=row.number("ratio"),
        upload_limit=row.integer("up_limit"),
        download_limit=row.integer("dl_limit"),
        ratio_limit=row.number("ratio_limit"),
        seeding_time_limit=row.integer("seeding_time_limit"),
        tracker=row.text("tracker"),
    )


def state_of(text: str) -> TorrentState:
    return _STATES.get(text, TorrentState.UNKNOWN)


def tags_of(text: str) -> tuple[str, ...]:
    return tuple(sorted(tag.strip() for tag in text.split(",") if tag.strip()))


def read_file(row: Row) -> TorrentFile:
    return TorrentFile(
        name=row.text("name"),
        size=row.integer("size"),
        progress=row.number("progress"),
        wanted=row.integer("priority") > 0,
    )


def _cleaned(path: str) -> str:
    """Without the trailing slash that some versions put on a save path."""
    return posixpath.normpath(path) if path else ""
