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
    """Needs `_api`, `_read` and `_change` of the class that it is a part of."""

    _api: Any
    _read: Callable[..., Any]
    _change: Callable[..., None]

    def categories(self) -> Mapping[str, str]:
        return {
            name: posixpath.normpath(own) if own.startswith("/") else ""
            for name, own in self._own_folders().items()
        }

    def managed_folders(self, category: str) -> tuple[str, ...]:
        own = self._own_folders()
        default = Row("app/preferences", self._read(self._api.app_preferences)).text("save_path")
        # A subcategory without a folder lies below its parent's only in newer versions, and only
        # with use_subcategories.
        found = [folder_of(category, own, default, nested=nested) for nested in (False, True)]
        return tuple(dict.fromkeys(found))

    def _own_folders(self) -> dict[str, str]:
        """The folder of each category as it was given: absolute, relative, or ""."""
        answer = self._read(self._api.torrents_categories)
        if not isinstance(answer, dict):
            raise Unreachable("qBittorrent's answer to torrents/categories is not understood")
        return {
            str(name): Row("torrents/categories", values).text("savePath")
            for name, values in answer.items()
        }

    def trackers(self, torrent_id: str) -> list[str]:
        (wanted,) = checked_ids([torrent_id])
        try:
            answer = self._read(self._api.torrents_trackers, torrent_hash=wanted)
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


def folder_of(category: str, own: Mapping[str, str], default: str, *, nested: bool) -> str:
    """The folder that a category stands for; `own` is what each category was given, if anything."""
    given = own.get(category, "")
    if given or not category:
        return posixpath.normpath(posixpath.join(default, given))
    parent, slash, name = category.rpartition("/")
    if nested and slash:
        return posixpath.join(folder_of(parent, own, default, nested=True), name)
    return posixpath.normpath(posixpath.join(default, category))
