"""A client that answers while it is still loading: what it does not show yet is not gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.qbt import VERSIONS, RealClient, wait_for
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent

from seedkeep import qbittorrent_loading as loading
from seedkeep.errors import Unreachable
from seedkeep.qbittorrent import QBittorrentClient, connect

COUNT = 5
REFRESH_S = 0.1


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "STEADY_S", 8 * REFRESH_S)
    monkeypatch.setattr(loading, "POLL_S", REFRESH_S / 2)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SimulatedClient]:
    with SimulatedClient("4.4", refresh_s=REFRESH_S) as running:
        for number in range(COUNT):
            made = make_torrent(tmp_path, f"Film {number}", {"a.mkv": 1000 + number})
            running.add(made.data, tmp_path)
        yield running


def ids(client: SimulatedClient) -> list[str]:
    return sorted(client.session.torrents)


def product(client: SimulatedClient) -> QBittorrentClient:
    return connect(client.url, timeout_s=5)


def test_whoever_waits_for_a_client_that_loads_is_told_once(
    client: SimulatedClient, caplog: pytest.LogCaptureFixture
) -> None:
    connected = product(client)
    connected.torrents()
    assert caplog.messages == []
    client.restart()
    connected.torrents()
    (said,) = caplog.messages
    assert "is still loading its torrents" in said


def test_the_whole_inventory_is_read_when_all_torrents_are_there(client: SimulatedClient) -> None:
    there = ids(client)
    client.restart()
    assert len(client.session.torrents) < COUNT
    assert sorted(torrent.torrent_id for torrent in product(client).torrents()) == there
    client.restart()
    assert sorted(product(client).inventory().prints()) == there


def test_torrents_that_are_asked_for_are_awaited_too_also_after_another_start(
    client: SimulatedClient,
) -> None:
    there = ids(client)
    client.restart()
    connected = product(client)
    assert len(connected.torrents(there)) == COUNT
    client.restart()
    assert len(connected.torrents(there)) == COUNT


def test_one_that_was_removed_costs_one_wait_and_not_one_with_each_question(
    client: SimulatedClient,
) -> None:
    there = ids(client)
    connected = product(client)
    connected.torrents()
    client.api.torrents_delete(delete_files=False, torrent_hashes=there[:1])
    assert len(connected.torrents(there)) == COUNT - 1
    before = client.requests("torrents/info")
    for _ in range(3):
        assert len(connected.torrents(there)) == COUNT - 1
    assert client.requests("torrents/info") - before == 6


def test_a_client_that_never_ends_loading_is_not_believed(
    client: SimulatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LONGEST_S", REFRESH_S)
    client.restart()
    with pytest.raises(Unreachable, match="still loading"):
        product(client).torrents()


def test_newer_ones_are_not_asked_twice(tmp_path: Path) -> None:
    with SimulatedClient("4.5", refresh_s=REFRESH_S) as client:
        connected = product(client)
        before = client.requests()
        connected.torrents()
        connected.torrents(["0" * 40])
        assert client.requests() - before == 2


@pytest.mark.real
@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_client_shows_all_its_torrents_in_its_first_answer_after_a_kill(
    tmp_path: Path, version: str
) -> None:
    """What makes waiting needless from 4.5 on."""
    count = 200
    with RealClient(version) as client:
        made = [make_torrent(tmp_path, f"Film {n}", {"a.mkv": 1000 + n}) for n in range(count)]
        api = client.api
        api.torrents_add(
            torrent_files=[m.data for m in made], save_path=str(tmp_path), is_skip_checking=True
        )
        saved = client.profile / "qBittorrent/data/BT_backup"
        wait_for(lambda: len([*saved.glob("*.fastresume")]) == count, "all to be saved")
        client.kill()
        client.start()
        assert len(connect(client.url).torrents()) == count
