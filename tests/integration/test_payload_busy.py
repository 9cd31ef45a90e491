"""A torrent that the client is checking or moving at the very moment of a sync."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libtorrent
import pytest
from tests.support.filesystems import image, mounted, two_sides
from tests.support.lab import Lab
from tests.support.qbt import RealClient, row_of, wait_for

from hashall.catalog import Catalog, open_catalog
from hashall.pathing import MountTable
from hashall.payload_sync import sync
from hashall.places import Places
from hashall.qbittorrent import PathMap
from seedkeep.qbittorrent import QBittorrentClient, connect

pytestmark = [pytest.mark.real, pytest.mark.root]
PIECE = 4 * 2**20  # bytes
MOVED = 32 * 2**20  # bytes
SIZE = 2**30  # zeros: no room on the disk, and most of a second to check


def zeros(folder: Path) -> bytes:
    """The .torrent of a file of zeros that takes no room."""
    path = folder / "Zeros/zeros.bin"
    path.parent.mkdir(parents=True)
    with path.open("wb") as empty:
        empty.truncate(SIZE)
    piece = hashlib.sha1(bytes(PIECE), usedforsecurity=False).digest()
    info = {
        b"name": b"Zeros",
        b"piece length": PIECE,
        b"pieces": piece * (SIZE // PIECE),
        b"files": [{b"length": SIZE, b"path": [b"zeros.bin"]}],
        b"private": 1,
    }
    return bytes(libtorrent.bencode({b"info": info}))


class Seen:
    """One large torrent that was scanned and synced, and what further syncs make of it."""

    def __init__(self, lab: Lab, torrent_id: str, catalog: Catalog, client: QBittorrentClient):
        self.lab, self.torrent_id, self.catalog, self.client = lab, torrent_id, catalog, client

    def state(self) -> str:
        return str(row_of(self.lab.client.api, self.torrent_id)["state"])

    def sync(self) -> str | None:
        """The problem that the torrent has now."""
        result = sync(self.client, Places(self.catalog, MountTable.read()), PathMap())
        assert not result.unread
        found = self.catalog.payloads.instance(self.torrent_id)
        assert found is not None
        return found.problem

    def sync_while(self, state: str) -> str | None:
        """Sync until one began and ended in a state that starts so."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if not self.state().startswith(state):
                continue
            problem = self.sync()
            if self.state().startswith(state):
                return problem
        raise AssertionError(f"never {state} for a whole sync; now {self.state()}")

    def payload(self) -> str | None:
        found = self.catalog.payloads.instance(self.torrent_id)
        if found is None or found.payload_id is None:
            return None
        return self.catalog.payloads.get(found.payload_id).payload_hash


@pytest.fixture
def lab(version: str, tmp_path: Path) -> Iterator[Lab]:
    with (
        two_sides("shm") as sides,
        RealClient(version, profile=tmp_path / "client") as client,
    ):
        yield Lab(tmp_path / "home", *sides, client)


@contextmanager
def looked_at(lab: Lab, torrent_id: str) -> Iterator[Seen]:
    lab.look()
    product = connect(lab.client.url, timeout_s=20)
    with open_catalog(lab.catalog, create=False) as catalog:
        yield Seen(lab, torrent_id, catalog, product)
    product.close()


def test_a_torrent_that_is_being_checked_is_busy_and_comes_back(lab: Lab) -> None:
    torrent_id = lab.client.add(zeros(lab.seeding), lab.seeding)
    with looked_at(lab, torrent_id) as seen:
        before = seen.payload()
        assert before is not None
        lab.client.api.torrents_recheck([torrent_id])
        assert str(seen.sync_while("checking")).startswith("busy: checking")
        assert seen.payload() is None
        wait_for(lambda: seen.state() == "stalledUP", "the check to end", 120)
        assert seen.sync() is None
        assert seen.payload() == before


def test_a_torrent_that_is_being_moved_is_busy_and_is_found_where_it_went(
    lab: Lab, tmp_path: Path
) -> None:
    """To a disk that writes everything at once, which takes seconds."""
    torrent_id = lab.seed("Film.mkv", {"": MOVED})
    slow = mounted(image(tmp_path, "ext4", "256M"), tmp_path / "slow", options="loop,sync")
    with slow as target, looked_at(lab, torrent_id) as seen:
        before = seen.payload()
        assert before is not None
        lab.client.api.torrents_set_location(str(target), [torrent_id])
        assert str(seen.sync_while("moving")).startswith("busy: moving")
        assert seen.payload() is None
        wait_for(lambda: seen.state() == "stalledUP", "the move to end", 120)
        lab.run("hashall", "scan", target)
        assert seen.sync() is None
        assert seen.payload() == before
        lab.client.close()
