"""A catalog lab with a client in memory that seeds from it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.support.catalog_lab import CatalogLab
from tests.support.lab import hardlink_tree
from tests.support.listed_client import ListedClient, a_torrent

from hashall.model import Payload
from hashall.payload_sync import SyncOptions, SyncResult, sync
from hashall.qbittorrent import PathMap


class Library(CatalogLab):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.client = ListedClient()

    def seed(self, name: str, files: dict[str, bytes], below: str = "seeds", **changes: Any) -> str:
        """Write a torrent's files below `below` and let the client have it."""
        for relpath, content in files.items():
            self.write(f"{below}/{relpath}", content)
        torrent = a_torrent(name, self.root / below, **changes)
        return self.client.add(torrent, {key: len(value) for key, value in files.items()})

    def cross_seed(self, name: str, top: str, files: dict[str, bytes], below: str) -> str:
        """The same content hardlinked into another folder, as another torrent."""
        hardlink_tree(self.root / "seeds" / top, self.root / below / top)
        sizes = {key: len(value) for key, value in files.items()}
        return self.client.add(a_torrent(name, self.root / below), sizes)

    def sync(self, path_map: PathMap | None = None, **options: Any) -> SyncResult:
        chosen = SyncOptions(**options)
        return sync(self.client, self.places(), path_map or PathMap(), chosen)

    def look(self) -> SyncResult:
        self.scan()
        return self.sync()

    def age_folders(self) -> None:
        """Give folders mtimes of the past, as nearly all have them."""
        old = time.time_ns() - 3600 * 10**9
        for folder, _, _ in os.walk(self.root):
            os.utime(folder, ns=(old, old))

    def payload_of(self, torrent_id: str) -> Payload:
        instance = self.catalog.payloads.instance(torrent_id)
        assert instance is not None
        assert instance.payload_id is not None, instance.problem
        return self.catalog.payloads.get(instance.payload_id)

    def group_of(self, torrent_id: str) -> set[str]:
        return set(self.catalog.payloads.group_of(torrent_id))

    def problem_of(self, torrent_id: str) -> str | None:
        instance = self.catalog.payloads.instance(torrent_id)
        assert instance is not None
        return instance.problem

    def relpath(self, path: Path) -> str:
        return self.spot(path).place.relpath
