"""A job goes from the queue through the worker to a real client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.qbt import VERSIONS, LabClient, RealClient, wait_for
from tests.support.torrents import make_torrent

from qbt_rules.engine import RuleEngine
from qbt_rules.model import JobStatus
from qbt_rules.queue_backends.sqlite_queue import SQLiteQueue
from qbt_rules.queue_manager import wait_until_final
from qbt_rules.worker import Worker
from seedkeep.qbittorrent import connect

RULES = """
rules:
  - name: films rest
    conditions:
      context: [on_added, scheduled]
      all:
        - {field: info.category, operator: ==, value: films}
        - {field: info.state, operator: ==, value: pausedUP}
    actions:
      - {type: start}
      - {type: add_tag, params: {tag: seen}}
"""


def add_films(client: LabClient, folder: Path) -> list[str]:
    """Two complete and stopped torrents, the first in the category."""
    ids = []
    for name, category in (("Film", "films"), ("Song", "music")):
        made = make_torrent(folder, name, {"a.bin": 1000}, source=name)
        ids.append(client.add(made.data, folder, category=category, stopped=True))
    return ids


def rows(client: LabClient) -> dict[str, tuple[str, str]]:
    """By id: state and tags."""
    found = client.api.torrents_info()
    return {str(row["hash"]): (str(row["state"]), str(row["tags"])) for row in found}


def engine(folder: Path, client: LabClient, rules: str = RULES) -> RuleEngine:
    (folder / "rules.yml").write_text(rules)
    return RuleEngine(folder / "rules.yml", lambda: connect(client.url, timeout_s=20))


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_of_the_queue_changes_a_real_client(tmp_path: Path, version: str) -> None:
    queue = SQLiteQueue(tmp_path / "queue.db")
    with RealClient(version) as client:
        film, _ = add_films(client, tmp_path)
        worker = Worker(queue, engine(tmp_path, client))
        with running(worker.run, worker.stop):
            dry = wait_until_final(
                queue, queue.enqueue("scheduled", film, dry_run=True).job_id, 120
            )
            assert "seen" not in rows(client)[film][1]
            done = wait_until_final(queue, queue.enqueue("scheduled", film).job_id, 120)
        wait_for(lambda: rows(client)[film][1] == "seen", "the tag")
        assert rows(client)[film][0] in ("uploading", "stalledUP")
    for ended in (dry, done):
        assert (ended.status, ended.error) == (JobStatus.COMPLETED, None)
        assert ended.result is not None
        assert ended.result["actions_executed"] == 2
    queue.close()


@contextmanager
def running(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
