"""A real download between two clients, qBittorrent's own hooks, and what rules make of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab
from tests.support.qbt import RealClient, row_of, versions_here, wait_for
from tests.support.rules_server import KEY, RulesServer
from tests.support.torrents import make_torrent

RULES = """
rules:
  - name: sort what comes
    conditions: {context: on_added}
    actions: [{type: add_tag, params: {tag: new}}]
  - name: what has come goes to the pool when nobody else uses it
    conditions:
      context: on_completed
      all: [{field: info.progress, operator: "==", value: 1}]
    actions:
      - {type: hashall_scan, params: {paths: [STASH, POOL]}}
      - {type: rehome_demote, params: {retain: 0s}}
      - {type: add_tag, params: {tag: on-pool}}
  - name: cross-seeds
    conditions: {context: cross_seed}
    actions: [{type: add_tag, params: {tag: cross-seed}}]
"""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(version, marks=pytest.mark.xdist_group(f"client-{version}"))
        for version in versions_here()
    ],
)
def version(request: pytest.FixtureRequest) -> str:
    """Debian testing's client, too, where the set-up got one."""
    return str(request.param)


@contextmanager
def two_sides() -> Iterator[Path]:
    memory = Path(tempfile.mkdtemp(prefix="hooks-", dir="/dev/shm"))
    try:
        yield memory
    finally:
        shutil.rmtree(memory)


def hook(server: RulesServer, context: str) -> str:
    address = f"{server.url}/api/execute?context={context}&hash=%K"
    return f'curl -fsS -m 10 -X POST -H "X-API-Key: {KEY}" "{address}"'


def let_hooks_run(client: RealClient, server: RulesServer) -> None:
    client.api.app_set_preferences(
        {
            "autorun_on_torrent_added_enabled": True,
            "autorun_on_torrent_added_program": hook(server, "on_added"),
            "autorun_enabled": True,
            "autorun_program": hook(server, "on_completed"),
        }
    )


def jobs(server: RulesServer, context: str) -> list[dict[str, Any]]:
    found = server.ask("GET", f"/api/jobs?context={context}").json()["jobs"]
    whole = (server.ask("GET", f"/api/jobs/{job['job_id']}").json() for job in found)
    return [job for job in whole if job["status"] in ("completed", "failed")]


def one_job(server: RulesServer, context: str) -> dict[str, Any]:
    wait_for(lambda: jobs(server, context) != [], f"the job of {context}: {server.log}", 90)
    (job,) = jobs(server, context)
    assert job["status"] == "completed", job
    result: dict[str, Any] = job["result"]
    return result


@pytest.mark.real
def test_from_a_webhook_to_bytes_on_the_pool(version: str, tmp_path: Path) -> None:
    with (
        two_sides() as memory,
        RealClient(version) as seeder,
        RealClient(version, profile=tmp_path / "client") as client,
    ):
        lab = Lab(tmp_path / "home", memory / "stash", tmp_path / "pool", client)
        lab.look()
        (tmp_path / "server").mkdir()
        rules = RULES.replace("STASH", str(lab.stash)).replace("POOL", str(lab.pool))
        (tmp_path / "server/rules.yml").write_text(rules)
        server = RulesServer(tmp_path / "server", QBITTORRENT_HOST=client.url)
        server._environ["HASHALL_CONFIG"] = str(lab.config)
        server.start()
        try:
            _download_and_follow(lab, seeder, client, server, tmp_path)
        finally:
            server.stop()


def _download_and_follow(
    lab: Lab, seeder: RealClient, client: RealClient, server: RulesServer, folder: Path
) -> None:
    let_hooks_run(client, server)
    made = make_torrent(folder / "origin", "Film", {"film.mkv": 400_000, "film.nfo": 90})
    torrent_id = seeder.add(made.data, folder / "origin")
    client.api.torrents_add(torrent_files=made.data, save_path=str(lab.seeding))
    wait_for(lambda: bool(client.api.torrents_info()), "the torrent")
    _introduce(client, seeder, torrent_id)

    added = one_job(server, "on_added")
    assert [row["action"] for row in added["actions"]] == ["add_tag"]

    completed = one_job(server, "on_completed")
    assert [(row["action"], row["outcome"]) for row in completed["actions"]] == [
        ("hashall_scan", "done"),
        ("rehome_demote", "done"),
        ("add_tag", "done"),
    ], completed
    row = row_of(client.api, torrent_id)
    assert row["save_path"].rstrip("/") == str(lab.pool_seeding)
    assert row["progress"] == 1
    assert set(row["tags"].split(", ")) == {"new", "on-pool"}
    origin = (folder / "origin/Film/film.mkv").read_bytes()
    assert (lab.pool_seeding / "Film/film.mkv").read_bytes() == origin
    assert not (lab.seeding / "Film").exists()

    webhook = f"/api/execute?context=cross_seed&hash={torrent_id}"
    assert server.ask("POST", webhook).status_code == 202
    assert one_job(server, "cross_seed")["actions_executed"] == 1


def _introduce(client: RealClient, seeder: RealClient, torrent_id: str) -> None:
    """Tell the client of the seeder until it downloads: no tracker does it here."""
    port = seeder.api.app_preferences()["listen_port"]

    def is_there() -> bool:
        client.api.torrents_add_peers(torrent_hashes=torrent_id, peers=f"127.0.0.1:{port}")
        return bool(row_of(client.api, torrent_id)["progress"] == 1)

    _patiently(is_there)


def _patiently(condition: Callable[[], bool]) -> None:
    wait_for(condition, "the download", 90)
