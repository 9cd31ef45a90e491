"""A simulated client with torrents in it, and the rule engine over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent

from qbt_rules.disk import Disk, NoDisk
from qbt_rules.engine import RuleEngine
from qbt_rules.model import Job, JobStatus
from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_client import Torrent

REFRESH_S = 0.02


@dataclass
class RulesStage:
    client: SimulatedClient
    folder: Path
    disk: Disk = field(default_factory=NoDisk)
    max_deletes: int = 50
    connections: list[QBittorrentClient] = field(default_factory=list)

    @property
    def rules_file(self) -> Path:
        return self.folder / "rules.yml"

    def connect(self) -> QBittorrentClient:
        self.connections.append(connect(self.client.url, timeout_s=5))
        return self.connections[-1]

    def engine(self, patience_s: float = 5.0) -> RuleEngine:
        return RuleEngine(
            self.rules_file,
            self.connect,
            lambda: self.disk,
            max_deletes=self.max_deletes,
            patience_s=patience_s,
        )

    def rules(self, text: str) -> None:
        self.rules_file.write_text(dedent(text))

    def add(self, name: str, **how: Any) -> str:
        """A torrent of one file, complete and seeding.  Returns its id."""
        made = make_torrent(self.folder / "data", name, {"": 20_000})
        return self.client.add(made.data, self.folder / "data", **how)

    def run(self, rules: str = "", *, context: str | None = None, **how: Any) -> dict[str, Any]:
        """The result of one job."""
        if rules:
            self.rules(rules)
        return self.engine().run(job(context, **how), lambda: False).as_json()

    def torrents(self) -> dict[str, Torrent]:
        """By name."""
        return {torrent.name: torrent for torrent in self.connect().torrents()}


def job(context: str | None = None, *, dry_run: bool = False, hash: str | None = None) -> Job:  # noqa: A002
    return Job(
        job_id="1",
        context=context,
        torrent_hash=hash,
        dry_run=dry_run,
        status=JobStatus.PROCESSING,
        created_at=datetime.now(UTC),
    )


@contextmanager
def rules_stage(folder: Path, version: str = "5.1", **how: Any) -> Iterator[RulesStage]:
    with SimulatedClient(version, refresh_s=REFRESH_S) as client:
        stage = RulesStage(client, folder, **how)
        try:
            yield stage
        finally:
            for connection in stage.connections:
                connection.close()


def one(conditions: str, *actions: str) -> str:
    """A rule file with one rule."""
    lines = "\n".join(f"      - {action}" for action in actions)
    return f"rules:\n  - name: one\n    conditions: {conditions}\n    actions:\n{lines}\n"


def outcomes(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["action"], row["name"], row["outcome"]) for row in result["actions"]]
