"""What a client in memory needs for the bulk half of `TorrentClient`: one by one is enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from seedkeep.errors import SeedError
from seedkeep.torrent_client import FileList, Prints, Torrent, TorrentFile


@dataclass(frozen=True)
class ListInventory:
    """An `Inventory` over torrents that are read already."""

    rows: Mapping[str, Torrent]
    unread: tuple[str, ...] = ()

    def prints(self) -> Mapping[str, Prints]:
        return self._prints

    @cached_property
    def _prints(self) -> Mapping[str, Prints]:
        return {torrent_id: prints_of(torrent) for torrent_id, torrent in self.rows.items()}

    def by_place(self, ids: Iterable[str]) -> list[str]:
        return sorted(ids, key=lambda torrent_id: (self.rows[torrent_id].content_path, torrent_id))

    def torrent(self, torrent_id: str) -> Torrent:
        return self.rows[torrent_id]


def prints_of(torrent: Torrent) -> Prints:
    state = torrent.state.value if torrent.state.is_busy else ""
    place = (
        *(torrent.save_path, torrent.download_path, torrent.content_path, torrent.size),
        *(torrent.progress, torrent.amount_left, state),
    )
    return Prints(repr(place), repr((torrent.name, torrent.category, torrent.tags)))


class BulkByOne:
    """Mix into a client that has `torrents` and `files`."""

    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]:
        raise NotImplementedError

    def files(self, torrent_id: str) -> list[TorrentFile]:
        raise NotImplementedError

    def inventory(self) -> ListInventory:
        return ListInventory({torrent.torrent_id: torrent for torrent in self.torrents()})

    def file_lists(self, ids: Collection[str]) -> Iterator[FileList]:
        for torrent_id in ids:
            try:
                yield FileList(torrent_id, tuple(self.files(torrent_id)))
            except SeedError as why:
                yield FileList(torrent_id, error=why)

    def export(self, torrent_id: str) -> bytes:
        raise NotImplementedError
