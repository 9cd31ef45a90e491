"""Everything that qBittorrent tells of torrents: a part of `QBittorrentClient`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import qbittorrentapi

from seedkeep.errors import Unreachable
from seedkeep.qbittorrent_arguments import checked_ids
from seedkeep.qbittorrent_errors import no_such
from seedkeep.qbittorrent_rows import NEVER, Row, rows_of, state_of, tags_of
from seedkeep.torrent_details import Details

_DATES = ("added_on", "completion_on", "last_activity", "seen_complete")
_PROPERTY_DATES = ("addition_date", "completion_date", "creation_date", "last_seen")
_FOREVER_S = 8_640_000  # what qBittorrent says for an eta that it does not know
_UNKNOWN_BELOW_0 = (
    *("total_size", "availability", "piece_size", "pieces_num", "dl_speed_avg", "up_speed_avg"),
    *("num_peers", "num_seeds", "num_leeches", "num_downloaded"),
)
_OF_CONTENT = (
    "size",
    "amount_left",
    "completed",
    "progress",
    "availability",
    "pieces_have",
    "is_private",
    "private",
)
_WHOLE_LIST = 300  # ids; beyond, the whole list is less to send than the question


class DetailsOfTorrents:
    """Needs `_api` and `_read` of the class that it is a part of."""

    _api: Any
    _read: Callable[..., Any]

    def listed(self, ids: Collection[str] | None = None) -> list[Details]:
        if ids is None:
            return self._listed()
        wanted = checked_ids(ids)
        if not wanted:
            return []
        if len(wanted) > _WHOLE_LIST:
            return [row for row in self._listed() if row["hash"] in wanted]
        return self._listed(torrent_hashes=sorted(wanted))

    def properties(self, torrent_id: str) -> Details:
        found = dict(self._of_one(self._api.torrents_properties, torrent_id, dict))
        if "is_private" not in found and "private" in found:
            found["is_private"] = found["private"]
        for name in _PROPERTY_DATES:
            if name in found:
                found[name] = _moment(found[name])
        return _without_endless(found)

    def tracker_details(self, torrent_id: str) -> list[Details]:
        answer = self._of_one(self._api.torrents_trackers, torrent_id, list)
        rows = [row for row in rows_of("torrents/trackers", answer) if "://" in row.text("url")]
        return [_without_unknown(dict(row.values)) for row in rows]

    def file_details(self, torrent_id: str) -> list[Details]:
        answer = self._of_one(self._api.torrents_files, torrent_id, list)
        rows = rows_of("torrents/files", answer)
        return [_without_unknown(dict(_object(row.where, row.values))) for row in rows]

    def peer_details(self, torrent_id: str) -> list[Details]:
        answer = self._of_one(self._api.sync_torrent_peers, torrent_id, dict)
        peers = answer.get("peers", {})
        return list(peers.values()) if isinstance(peers, dict) else []

    def webseeds(self, torrent_id: str) -> list[str]:
        answer = self._of_one(self._api.torrents_webseeds, torrent_id, list)
        return [row.text("url") for row in rows_of("torrents/webseeds", answer)]

    def transfer(self) -> Details:
        state = _object("sync/maindata", self._read(self._api.sync_maindata)).get("server_state")
        found = dict(_object("sync/maindata", state))
        if found.get("free_space_on_disk", 0) < 0:  # it has not looked yet
            del found["free_space_on_disk"]
        return found

    def preferences(self) -> Details:
        answer = _object("app/preferences", self._read(self._api.app_preferences))
        # What is read here is shown to people and written to logs.
        return {
            name: value
            for name, value in answer.items()
            if "password" not in name and "api_key" not in name
        }

    def _listed(self, **which: Any) -> list[Details]:
        answer = self._read(self._api.torrents_info, **which)
        return [_listed_row(row) for row in rows_of("torrents/info", answer)]

    def _of_one(self, ask: Callable[..., Any], torrent_id: str, kind: type) -> Any:
        (wanted,) = checked_ids([torrent_id])
        try:
            answer = self._read(ask, torrent_hash=wanted)
        except qbittorrentapi.NotFound404Error as why:
            raise no_such([wanted]) from why
        if not isinstance(answer, kind):
            raise Unreachable(
                f"qBittorrent's answer about {wanted} is not understood",
                detail=f"{kind.__name__} was expected, not {type(answer).__name__}",
            )
        return answer


def _listed_row(row: Row) -> Details:
    found = dict(_object(row.where, row.values))
    found["hash"] = row.text("hash").lower()
    found["state"] = state_of(row.text("state")).value
    found["tags"] = tags_of(row.text("tags"))
    for name in _DATES:
        if name in found:
            found[name] = _moment(found[name])
    if "isPrivate" in found:  # 5.0 has this spelling, later ones the other
        found.setdefault("private", found["isPrivate"])
    return _without_endless(found)


def _without_endless(found: dict[str, Any]) -> dict[str, Any]:
    if found.get("eta") == _FOREVER_S:
        del found["eta"]
    _without_unknown(found)
    if "total_size" not in found:  # a magnet link without metadata: nothing of its content is known
        for name in _OF_CONTENT:
            found.pop(name, None)
    return found


def _without_unknown(found: dict[str, Any]) -> dict[str, Any]:
    for name in _UNKNOWN_BELOW_0:
        if isinstance(found.get(name), int | float) and found[name] < 0:
            del found[name]
    return found


def _moment(seconds: Any) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0:
        return None
    try:
        return None if seconds in NEVER else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # the maker of a torrent writes creation_date
        return None


def _object(where: str, answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Unreachable(f"qBittorrent's answer to {where} is not understood")
    return answer
