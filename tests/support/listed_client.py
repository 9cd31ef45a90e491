"""A client in memory that only lists torrents: enough for everything that decides."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.bulk_reading import BulkByOne

from seedkeep.errors import Unreachable
from seedkeep.torrent_client import (
    ClientVersion,
    NoSuchTorrent,
    Torrent,
    TorrentFile,
    TorrentState,
)


def a_torrent(name: str = "Film", save_path: str | Path = "/seeds", **changes: Any) -> Torrent:
    """A complete torrent that seeds; its id follows from name and save path."""
    infohash = hashlib.sha1(f"{save_path}/{name}".encode("utf-8", "backslashreplace")).hexdigest()
    torrent = Torrent(
        torrent_id=infohash,
        infohash_v1=infohash,
        infohash_v2="",
        name=name,
        state=TorrentState.STALLED_UP,
        progress=1.0,
        size=0,
        amount_left=0,
        save_path=str(save_path),
        download_path="",
        content_path="",
        category="",
        tags=(),
        auto_tmm=False,
        force_start=False,
        super_seeding=False,
        added_on=None,
        completion_on=None,
        uploaded=0,
        ratio=0.0,
        upload_limit=0,
        download_limit=0,
        ratio_limit=-2,
        seeding_time_limit=-2,
        tracker="",
    )
    return replace(torrent, **changes)


def a_file(name: str, size: int = 5, *, wanted: bool = True) -> TorrentFile:
    return TorrentFile(name, size, 1.0, wanted)


@dataclass
class ListedClient(BulkByOne):
    """Whoever asks it to change something fails the test: gathering and planning never do."""

    rows: dict[str, Torrent] = field(default_factory=dict)
    lists: dict[str, list[TorrentFile]] = field(default_factory=dict)
    asked_for_files: list[str] = field(default_factory=list)
    filed: dict[str, str] = field(default_factory=dict)  # categories with their save paths
    announces: dict[str, list[str]] = field(default_factory=dict)  # trackers by torrent
    unreachable_for: set[str] = field(default_factory=set)  # ids whose file list gets no answer

    def put(self, number: int, save_path: str, sizes: dict[str, int], **changes: Any) -> str:
        """A torrent that seeds; `sizes` by name below the save path."""
        torrent_id = f"{number:040x}"
        tops = {name.partition("/")[0] for name in sizes}
        nested = all("/" in name for name in sizes)
        top = tops.pop() if len(tops) == 1 and (nested or len(sizes) == 1) else ""
        made = a_torrent(f"Torrent {number}", save_path)
        made = replace(
            made,
            torrent_id=torrent_id,
            infohash_v1=torrent_id,
            size=sum(sizes.values()),
            content_path=f"{save_path}/{top}".rstrip("/"),
        )
        return self.add(replace(made, **changes), sizes)

    def add(self, torrent: Torrent, files: Mapping[str, bytes | int] | list[TorrentFile]) -> str:
        """Let it have a torrent; `files` are names below the save path with bytes or a size."""
        if not isinstance(files, list):
            sizes = {n: len(c) if isinstance(c, bytes) else c for n, c in files.items()}
            files = [a_file(name, size) for name, size in sizes.items()]
        self.rows[torrent.torrent_id] = torrent
        self.lists[torrent.torrent_id] = files
        return torrent.torrent_id

    def change(self, torrent_id: str, **changes: Any) -> None:
        self.rows[torrent_id] = replace(self.rows[torrent_id], **changes)

    def remove(self, torrent_id: str) -> None:
        del self.rows[torrent_id], self.lists[torrent_id]

    def version(self) -> ClientVersion:
        return ClientVersion("v5.1.0", (2, 11, 4))

    def refresh_interval(self) -> float:
        return 1.5

    def torrents(self, ids: Collection[str] | None = None) -> list[Torrent]:
        return [row for key, row in self.rows.items() if ids is None or key in ids]

    def files(self, torrent_id: str) -> list[TorrentFile]:
        self.asked_for_files.append(torrent_id)
        if torrent_id in self.unreachable_for:
            raise Unreachable("the client does not answer")
        if torrent_id not in self.lists:
            raise NoSuchTorrent(f"there is no torrent {torrent_id}")
        return list(self.lists[torrent_id])

    def categories(self) -> dict[str, str]:
        return dict(self.filed)

    def trackers(self, torrent_id: str) -> list[str]:
        return self.announces.get(torrent_id, [])

    def _changes_nothing(self, *_: Any) -> None:
        raise AssertionError("deciding and reading must not change the client")

    stop = start = set_force_start = set_auto_management = set_category = _changes_nothing
    set_download_path = set_download_paths = set_location = set_locations = _changes_nothing
    make_folder = look_again = recheck = _changes_nothing
