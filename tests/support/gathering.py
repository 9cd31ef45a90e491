"""Two real trees, a catalog that a real scan fills, and a client that only lists torrents."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.filesystems import lab_folder
from tests.support.lab import hardlink_tree
from tests.support.listed_client import ListedClient

from hashall.catalog import Catalog, open_catalog
from hashall.pathing import MountTable
from hashall.payload_sync import sync
from hashall.places import Places
from hashall.qbittorrent import PathMap
from hashall.scan import ScanOptions, ScanSummary, scan
from rehome.batch import Batch, Scope
from rehome.config import Layout
from rehome.facts import Facts
from rehome.gather import Gatherer
from rehome.model import Direction, Plan
from rehome.planner import plan_group
from rehome.planning import plan_batch
from seedkeep.setting_types import SaveRule


@dataclass
class Stage:
    """`stash/seeding` and `stash/media` on one filesystem, `pool/seeding` on another one."""

    stash: Path
    pool: Path
    catalog: Catalog
    client: ListedClient = field(default_factory=ListedClient)
    path_map: PathMap = field(default_factory=PathMap)
    libraries: tuple[Path, ...] | None = None  # None: stash/media
    max_scan_age: timedelta = timedelta(hours=24)
    save_paths: tuple[SaveRule, ...] = ()
    keep_managed: bool = False
    min_age: timedelta = timedelta(0)
    other_clients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for folder in (self.seeding, self.media, self.pool_seeding):
            folder.mkdir(parents=True)

    @property
    def seeding(self) -> Path:
        return self.stash / "seeding"

    @property
    def media(self) -> Path:
        return self.stash / "media"

    @property
    def pool_seeding(self) -> Path:
        return self.pool / "seeding"

    @property
    def layout(self) -> Layout:
        return Layout(
            stash_seeding_root=self.seeding,
            pool_seeding_root=self.pool_seeding,
            library_roots=(self.media,) if self.libraries is None else self.libraries,
            path_map=self.path_map,
            max_scan_age=self.max_scan_age,
            space_margin=1000,
            save_paths=self.save_paths,
            keep_managed=self.keep_managed,
            min_age=self.min_age,
            other_clients=self.other_clients,
        )

    def write(self, path: Path, content: bytes | str) -> Path:
        """A file that is old enough for its hash to be trusted."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        moment = time.time_ns() - 3600 * 10**9
        os.utime(path, ns=(moment, moment))
        return path

    def seed(
        self, number: int, files: dict[str, str], *, save_path: Path | None = None, **changes: Any
    ) -> str:
        """Torrent `number`; files that are there already, for instance as hardlinks, are left."""
        root = self.seeding if save_path is None else save_path
        root.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if not (root / name).exists():
                self.write(root / name, content)
        sizes = {name: len(content.encode()) for name, content in files.items()}
        client_path = self.path_map.to_client(root)
        return self.client.put(number, client_path, sizes, **changes)

    def sibling(self, number: int, of: str, below: str, **changes: Any) -> str:
        """Another torrent on hardlinks of the files of `of`, below a folder of its own."""
        original, root = self.client.rows[of], self.seeding / below
        sizes = {}
        for item in self.client.lists[of]:
            source = self.path_map.to_ours(original.save_path) / item.name
            if not (root / item.name).exists():
                hardlink_tree(source, root / item.name)
            sizes[item.name] = item.size
        return self.client.put(number, self.path_map.to_client(root), sizes, **changes)

    def look(self) -> None:
        self.scan(self.stash, self.pool)
        self.sync()

    def scan(self, *roots: Path) -> ScanSummary:
        return scan(self.places(), roots, ScanOptions())

    def sync(self) -> None:
        sync(self.client, self.places(), self.path_map)

    def places(self) -> Places:
        return Places(self.catalog, MountTable.read())

    def gatherer(self) -> Gatherer:
        return Gatherer(self.client, self.places(), self.layout)

    def facts(self, torrent_id: str, direction: Direction = Direction.DEMOTE) -> Facts:
        return self.gatherer().facts(torrent_id, direction)

    def plan(self, torrent_id: str, direction: Direction = Direction.DEMOTE) -> Plan:
        return plan_group(self.facts(torrent_id, direction), self.layout)

    def batch(self, direction: Direction = Direction.DEMOTE, **scope: Any) -> Batch:
        return plan_batch(self.gatherer(), Scope(**scope), direction)


@contextmanager
def stage(stash: Path | None = None, pool: Path | None = None) -> Iterator[Stage]:
    """Without folders: the disk and /dev/shm, which needs no root."""
    with lab_folder() as disk, lab_folder(Path("/dev/shm")) as memory:
        catalog = open_catalog(disk / "catalog.db", create=True)
        try:
            yield Stage(stash or disk / "stash", pool or memory / "pool", catalog)
        finally:
            catalog.db.close()
