"""Files of unfinished torrents: as the client says right now, and as the last sync found them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.linking import LinkLab, an_instance, same_file, skipped_because
from tests.support.listed_client import a_torrent

from hashall.linking.execute import ExecuteOptions
from hashall.linking.model import Execution
from hashall.linking.running import Runner, RunOptions
from hashall.qbittorrent import PathMap
from seedkeep.torrent_client import (
    NoSuchTorrent,
    Torrent,
    TorrentClient,
    TorrentFile,
    TorrentState,
)


class FewTorrents:
    """Answers the two questions that are asked of a client."""

    def __init__(self) -> None:
        self.rows: dict[str, Torrent] = {}
        self.names: dict[str, list[str]] = {}

    def add(self, torrent: Torrent, *names: str) -> str:
        self.rows[torrent.torrent_id] = torrent
        self.names[torrent.torrent_id] = list(names)
        return torrent.torrent_id

    def change(self, torrent_id: str, **changes: Any) -> None:
        self.rows[torrent_id] = replace(self.rows[torrent_id], **changes)

    def torrents(self) -> list[Torrent]:
        return list(self.rows.values())

    def files(self, torrent_id: str) -> list[TorrentFile]:
        if not self.names[torrent_id]:
            raise NoSuchTorrent("removed since the list was read")
        return [TorrentFile(name, 5, 0.5, wanted=True) for name in self.names[torrent_id]]


def execute(linked: LinkLab, client: FewTorrents, path_map: PathMap) -> Execution:
    links = linked.links(clients=lambda: [(cast(TorrentClient, client), path_map)])
    plan = linked.plan()
    options = RunOptions(act=ExecuteOptions(), dry_run=False, force=True)
    return Runner(links).execute(plan.plan_id, options)


@pytest.mark.parametrize(
    "state",
    [
        {"progress": 0.99, "amount_left": 1},
        {"state": TorrentState.CHECKING_UP},
        {"state": TorrentState.MOVING},
    ],
)
@pytest.mark.parametrize("suffix", ["", ".!qB"])
def test_what_the_client_still_writes_to_is_not_linked(
    linked: LinkLab, state: dict[str, object], suffix: str
) -> None:
    pair = linked.pair("seeds/film" + suffix, "media/film")
    an_instance(linked.lab.catalog, "t" * 40)
    client = FewTorrents()
    torrent = client.add(a_torrent("film", "/in/the/container", **state), "film", "missing")
    path_map = PathMap([("/in/the/container", str(linked.root / "seeds"))])
    assert skipped_because(execute(linked, client, path_map)) == ["unfinished"]
    client.change(torrent, state=TorrentState.STALLED_UP, progress=1.0, amount_left=0)
    assert execute(linked, client, path_map).done == 1
    assert same_file(*pair)


def test_its_folder_for_unfinished_data_counts_too(linked: LinkLab) -> None:
    linked.pair("incomplete/film", "media/film")
    an_instance(linked.lab.catalog, "t" * 40)
    client = FewTorrents()
    folder = str(linked.root / "incomplete")
    client.add(a_torrent("film", "/nowhere", progress=0.5, download_path=folder), "film")
    client.add(a_torrent("gone", "/nowhere", progress=0.5))
    assert skipped_because(execute(linked, client, PathMap())) == ["unfinished"]


def test_nobody_is_asked_when_the_catalog_knows_no_torrents(linked: LinkLab) -> None:
    linked.pair()
    asked: list[Path] = []

    def clients() -> list[tuple[TorrentClient, PathMap]]:
        asked.append(linked.root)
        return []

    plan = linked.plan()
    options = RunOptions(dry_run=False, force=True)
    Runner(linked.links(clients=clients)).execute(plan.plan_id, options)
    assert asked == []
