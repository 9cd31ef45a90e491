"""Categories and trackers: the part of `QBittorrentClient` about what a torrent is filed under."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping
from typing import Any

import qbittorrentapi

from seedkeep.errors import Unreachable
from seedkeep.qbittorrent_arguments import checked_ids
from seedkeep.qbittorrent_errors import no_such
from seedkeep.qbittorrent_rows import Row, rows_of


class LabelledClient:
    """Needs `_api`, `_call` and `_change` of the class that it is a part of."""

    _api: Any
    _call: Callable[..., Any]
    _change: Callable[..., None]

    def categories(self) -> Mapping[str, str]:
        answer = self._call(self._api.torrents_categories)
        if not isinstance(answer, dict):
            raise Unreachable("qBittorrent's answer to torrents/categories is not understood")
        found = {}
        for name, values in answer.items():
            own = Row("torrents/categories", values).text("savePath")
            found[str(name)] = posixpath.normpath(own) if own.startswith("/") else ""
        return found

    def trackers(self, torrent_id: str) -> list[str]:
        (wanted,) = checked_ids([torrent_id])
        try:
            answer = self._call(self._api.torrents_trackers, torrent_hash=wanted)
        except qbittorrentapi.NotFound404Error as why:
            raise no_such([wanted]) from why
        urls = [row.text("url") for row in rows_of("torrents/trackers", answer)]
        return [url for url in urls if "://" in url]

    def set_category(self, ids: Collection[str], category: str) -> None:
        self._change(
            ids,
            f"set the category {category!r} of",
            lambda wanted: self._api.torrents_set_category(
                category=category, torrent_hashes=wanted
            ),
            lambda torrent: torrent.category == category,
        )
