"""Changes of torrents that move no data: a part of `QBittorrentClient`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import qbittorrentapi

from seedkeep.errors import Misused
from seedkeep.qbittorrent_arguments import checked_ids, in_chunks
from seedkeep.qbittorrent_errors import listed, words
from seedkeep.torrent_client import ClientRefused, ClientTooOld, ClientVersion, Torrent
from seedkeep.torrent_details import GLOBAL_LIMIT, MOVED_AT_ONCE, Details, QueueMove

INACTIVE_LIMIT = (2, 9, 2)  # share limit for inactive seeding
SHARE_ACTION = (2, 12)  # newer than 5.1: a torrent may have its own action at its limits
MOST_RATIO, MOST_SEEDING_MIN = 9999, 525_600  # before SHARE_ACTION (measured on 4.5.2 and 5.1.0)
_OTHER_LIMITS = ("share_limit_action", "share_limits_mode")
GONE_S = 30.0  # a torrent with many files takes its time to go
_IDS_PER_CALL = 500


class ManagedTorrents:
    """Needs the members declared here of the class that it is a part of."""

    _api: Any
    _call: Callable[..., Any]
    _read: Callable[..., Any]
    _change: Callable[..., None]
    _existing: Callable[[Collection[str]], list[Torrent]]
    version: Callable[[], ClientVersion]
    torrents: Callable[[Collection[str]], list[Torrent]]
    listed: Callable[[Collection[str]], list[Details]]

    def delete(self, ids: Collection[str], *, with_files: bool) -> None:
        wanted = sorted(checked_ids(ids))
        if not wanted:
            return
        self._existing(wanted)
        for some in in_chunks(wanted, _IDS_PER_CALL):
            self._ask(
                f"delete {listed(some)}",
                lambda now: self._api.torrents_delete(delete_files=with_files, torrent_hashes=now),
                some,
            )
        deadline = time.monotonic() + GONE_S
        while left := self.torrents(wanted):
            if time.monotonic() > deadline:
                raise ClientRefused(f"qBittorrent did not delete {left[0].name}")
            time.sleep(0.1)

    def reannounce(self, ids: Collection[str]) -> None:
        self._change(
            ids,
            "reannounce",
            lambda wanted: self._api.torrents_reannounce(torrent_hashes=wanted),
            lambda _: True,
        )

    def add_tags(self, ids: Collection[str], tags: Sequence[str]) -> None:
        wanted_tags = checked_tags(tags)
        self._change(
            ids,
            "tag",
            lambda wanted: self._api.torrents_add_tags(tags=wanted_tags, torrent_hashes=wanted),
            lambda torrent: set(wanted_tags) <= set(torrent.tags),
        )

    def remove_tags(self, ids: Collection[str], tags: Sequence[str]) -> None:
        # Without a tag qBittorrent would remove all of them.
        unwanted = checked_tags(tags)
        self._change(
            ids,
            "remove tags of",
            lambda wanted: self._api.torrents_remove_tags(tags=unwanted, torrent_hashes=wanted),
            lambda torrent: not set(unwanted) & set(torrent.tags),
        )

    def create_category(self, name: str) -> None:
        if not name:
            raise Misused("a category needs a name")
        try:
            self._call(self._api.torrents_create_category, name=name)
        except (qbittorrentapi.HTTP4XXError, NotImplementedError) as why:
            if name not in self._read(self._api.torrents_categories):
                raise ClientRefused(
                    f"qBittorrent refused the category {name!r}", detail=words(why)
                ) from why

    def set_upload_limit(self, ids: Collection[str], limit: int) -> None:
        self._change(
            ids,
            "limit the upload of",
            lambda wanted: self._api.torrents_set_upload_limit(limit=limit, torrent_hashes=wanted),
            lambda torrent: max(torrent.upload_limit, 0) == limit,
        )

    def set_download_limit(self, ids: Collection[str], limit: int) -> None:
        self._change(
            ids,
            "limit the download of",
            lambda wanted: self._api.torrents_set_download_limit(
                limit=limit, torrent_hashes=wanted
            ),
            lambda torrent: max(torrent.download_limit, 0) == limit,
        )

    def set_share_limits(
        self, ids: Collection[str], ratio: float, seeding_min: int, inactive_min: int | None
    ) -> None:
        if inactive_min is not None and self.version().api < INACTIVE_LIMIT:
            raise ClientTooOld(
                f"qBittorrent {self.version().app} has no limit for inactive seeding",
                hint="leave inactive_seeding_time out, or update qBittorrent to 4.6",
            )
        if self.version().api < SHARE_ACTION and (
            ratio > MOST_RATIO or max(seeding_min, inactive_min or 0) > MOST_SEEDING_MIN
        ):
            raise ClientRefused(
                f"qBittorrent {self.version().app} cannot keep such a share limit",
                detail=f"it would make it {MOST_RATIO}, or {MOST_SEEDING_MIN} minutes (365 days)",
                hint='say less, or "none"',
            )
        for more, some in self._by_other_limits(ids, inactive_min):
            self._set_share_limits(some, ratio, seeding_min, more)

    def _by_other_limits(
        self, ids: Collection[str], inactive_min: int | None
    ) -> list[tuple[dict[str, Any], list[str]]]:
        """The ids by what else has to be said of them, which is what they have now.

        5.1.0 refuses a request without the limit for inactive seeding, and 5.3.0 one without the
        action and the mode (measured).
        """
        wanted = sorted(checked_ids(ids))
        api = self.version().api
        if api < INACTIVE_LIMIT:
            return [({}, wanted)]
        if inactive_min is not None and api < SHARE_ACTION:
            return [({"inactive_seeding_time_limit": inactive_min}, wanted)]
        now = {row["hash"]: row for row in self.listed(wanted)}
        found: dict[tuple[tuple[str, Any], ...], list[str]] = {}
        for torrent_id in wanted:
            row = now.get(torrent_id, {})
            inactive = inactive_min
            if inactive is None:
                inactive = int(row.get("inactive_seeding_time_limit", GLOBAL_LIMIT))
            limits = {"inactive_seeding_time_limit": inactive}
            limits |= {name: row[name] for name in _OTHER_LIMITS if name in row}
            found.setdefault(tuple(limits.items()), []).append(torrent_id)
        return [(dict(limits), some) for limits, some in found.items()]

    def _set_share_limits(
        self, ids: Collection[str], ratio: float, seeding_min: int, more: dict[str, Any]
    ) -> None:
        # All values always: newer versions refuse a request that lacks one.
        limits = {"ratio_limit": ratio, "seeding_time_limit": seeding_min, **more}
        self._change(
            ids,
            "set the share limits of",
            lambda wanted: self._api.torrents_set_share_limits(torrent_hashes=wanted, **limits),
            lambda torrent: (
                abs(torrent.ratio_limit - ratio) < 0.01
                and torrent.seeding_time_limit == seeding_min
            ),
        )

    def move_in_queue(self, ids: Collection[str], move: QueueMove) -> None:
        ask = {
            QueueMove.TOP: self._api.torrents_top_priority,
            QueueMove.UP: self._api.torrents_increase_priority,
            QueueMove.DOWN: self._api.torrents_decrease_priority,
            QueueMove.BOTTOM: self._api.torrents_bottom_priority,
        }[move]
        wanted = sorted(checked_ids(ids))
        if not wanted:
            return
        self._existing(wanted)
        with self._api.once():  # a second "one up" would be two
            for some in in_chunks(wanted, MOVED_AT_ONCE):
                self._ask(
                    f"move {move.value} in the queue {listed(some)}",
                    lambda now: ask(torrent_hashes=now),
                    some,
                )

    def set_name(self, torrent_id: str, name: str) -> None:
        self._change(
            [torrent_id],
            f"rename to {name!r}",
            lambda wanted: self._api.torrents_rename(torrent_hash=wanted[0], new_torrent_name=name),
            lambda torrent: torrent.name == name,
        )

    def _ask(self, what: str, call: Callable[[list[str]], Any], ids: list[str]) -> None:
        try:
            self._call(call, ids)
        except (qbittorrentapi.HTTP4XXError, NotImplementedError) as why:
            raise ClientRefused(f"qBittorrent refused to {what}", detail=words(why)) from why


def checked_tags(tags: Sequence[str]) -> list[str]:
    """A comma separates tags on the way to the client, and spaces around one are lost."""
    found = [tag.strip() for tag in tags]
    if not found or not all(found) or any("," in tag for tag in found):
        raise Misused("a tag is a text without a comma", detail=repr(list(tags)))
    return found
