"""More than relocation needs: everything a client tells of a torrent, and every change it offers.

A protocol beside `torrent_client.TorrentClient`, for programs that work on whatever a person
named.  Values are plain; what the client does not say is absent, never a default.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from seedkeep.torrent_client import TorrentClient

# Plain values under the client's own names: text, numbers, flags, dates, tuples of text.
Details = Mapping[str, Any]
# Share limits: the client's own numbers for "as set for all" and "none".
GLOBAL_LIMIT, NO_LIMIT = -2, -1
MOVED_AT_ONCE = 500  # torrents that are moved in the queue by one request


class QueueMove(enum.Enum):
    TOP = "top"
    UP = "up"
    DOWN = "down"
    BOTTOM = "bottom"


class DetailedClient(TorrentClient, Protocol):
    """Changes are confirmed as those of `TorrentClient` are, where the client shows them."""

    def listed(self, ids: Collection[str] | None = None) -> list[Details]:
        """All torrents, or those of `ids` that exist, as the client lists them.

        `hash` is the torrent's id, `state` a `TorrentState` value, `tags` a sorted tuple; dates are
        aware, and one that means "never" is None.
        """
        ...

    def properties(self, torrent_id: str) -> Details:
        """Raises `NoSuchTorrent`, as the other questions about one torrent do."""
        ...

    def tracker_details(self, torrent_id: str) -> list[Details]:
        """Trackers in the order of their tiers, without DHT, PeX and LSD."""
        ...

    def file_details(self, torrent_id: str) -> list[Details]: ...
    def peer_details(self, torrent_id: str) -> list[Details]: ...
    def webseeds(self, torrent_id: str) -> list[str]: ...

    def transfer(self) -> Details:
        """The client's own speeds and totals, and `free_space_on_disk` in bytes once it knows."""
        ...

    def preferences(self) -> Details:
        """Without passwords and keys."""
        ...

    def delete(self, ids: Collection[str], *, with_files: bool) -> None:
        """Remove torrents; returns when the client lists them no more."""
        ...

    def reannounce(self, ids: Collection[str]) -> None: ...
    def add_tags(self, ids: Collection[str], tags: Sequence[str]) -> None: ...
    def remove_tags(self, ids: Collection[str], tags: Sequence[str]) -> None: ...
    def create_category(self, name: str) -> None: ...

    def managed_folders(self, category: str) -> tuple[str, ...]:
        """Where automatic management puts torrents of a category, which need not exist yet.

        One folder; two where it depends on the client's version.
        """
        ...

    def set_upload_limit(self, ids: Collection[str], limit: int) -> None:
        """Bytes a second; 0 is none."""
        ...

    def set_download_limit(self, ids: Collection[str], limit: int) -> None: ...

    def set_share_limits(
        self, ids: Collection[str], ratio: float, seeding_min: int, inactive_min: int | None
    ) -> None:
        """All of them at once, times in minutes, `GLOBAL_LIMIT` or `NO_LIMIT`.

        `inactive_min` None leaves that one as it is.  Raises `ClientTooOld` when one is given and
        the client does not know it.
        """
        ...

    def move_in_queue(self, ids: Collection[str], move: QueueMove) -> None:
        """Asked once, also when no answer comes: nobody knows then whether they were moved.

        Of more than `MOVED_AT_ONCE` some may have been.

        Raises `ClientRefused` when the client does not queue torrents.
        """
        ...

    def set_name(self, torrent_id: str, name: str) -> None:
        """The name for display; no file is renamed."""
        ...
