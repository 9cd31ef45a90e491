"""A library on two filesystems, its catalog, and the rule engine over both."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from tests.qbt_rules.rules_stage import job
from tests.support.lab import Lab
from tests.support.qbt import LabClient

from qbt_rules.engine import RuleEngine
from qbt_rules.seed_data import SeedData, open_seed_data
from seedkeep.qbittorrent import QBittorrentClient, connect


@dataclass
class DiskStage:
    lab: Lab
    connections: list[QBittorrentClient] = field(default_factory=list)

    def connect(self) -> QBittorrentClient:
        self.connections.append(connect(self.lab.client.url, timeout_s=20))
        return self.connections[-1]

    def disk(self) -> SeedData:
        disk = open_seed_data(self.connect)
        assert isinstance(disk, SeedData)
        return disk

    def run(
        self, rules: str, *, context: str | None = None, max_deletes: int = 50, **how: Any
    ) -> dict[str, Any]:
        path = self.lab.home / "rules.yml"
        path.write_text(rules)
        engine = RuleEngine(
            path, self.connect, lambda: open_seed_data(self.connect), max_deletes=max_deletes
        )
        return engine.run(job(context, **how), lambda: False).as_json()

    def value(self, torrent_id: str, name: str) -> Any:
        disk = self.disk()
        try:
            return disk.value(torrent_id, name, str(self.lab.rows()[torrent_id]["save_path"]))
        finally:
            disk.close()


@contextmanager
def disk_stage(client: LabClient, folder: Path) -> Iterator[DiskStage]:
    """Stash in memory, pool below `folder`; HASHALL_CONFIG names the stage's configuration."""
    memory = Path(tempfile.mkdtemp(prefix="rules-", dir="/dev/shm"))
    try:
        stage = DiskStage(Lab(folder / "home", memory / "stash", folder / "pool", client))
        with mock.patch.dict(os.environ, HASHALL_CONFIG=str(stage.lab.config)):
            yield stage
        for connection in stage.connections:
            connection.close()
    finally:
        shutil.rmtree(memory)
