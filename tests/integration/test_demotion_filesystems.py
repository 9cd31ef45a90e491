"""A demotion between two real filesystems of each kind: bytes copied once, or not at all.

Which version of qBittorrent does it alternates; both do all shapes in test_demotion.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.filesystems import two_sides
from tests.support.lab import Lab
from tests.support.moves import KIND, Moved, Moves, steady
from tests.support.qbt import RealClient, settle
from tests.support.shapes import bytes_elsewhere_on_the_pool, three_siblings

pytestmark = [pytest.mark.real, pytest.mark.root]
CLIENTS = {"ext4": "4.5", "btrfs": "5.1", "xfs": "5.1", "bind": "4.5", "zfs": "4.5"}
SHAPES = {"MOVE": three_siblings, "REUSE": bytes_elsewhere_on_the_pool}
# Hardlinks on each are known by another identity: what the catalog says of the filesystem.
SHOWN = {"ext4": "ext4", "btrfs": "btrfs", "xfs": "xfs", "bind": "ext4", "zfs": "zfs"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=pytest.mark.xdist_group("zfs" if kind == "zfs" else f"fs-{kind}"))
        for kind in CLIENTS
    ],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def moves(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moves]:
    """Three siblings were moved, and a torrent whose bytes the pool had."""
    folder = tmp_path_factory.mktemp(kind)
    with two_sides(kind) as sides, RealClient(CLIENTS[kind], profile=folder / "client") as client:
        lab = Lab(folder / "home", *sides, client)
        with ThreadPoolExecutor(len(SHAPES)) as pool:
            futures = {name: pool.submit(put, lab) for name, put in SHAPES.items()}
        lab.look()
        moves = Moves()
        for name, future in futures.items():
            moves.move(name, lab, future.result())
        yield moves


@pytest.fixture(params=SHAPES)
def moved(moves: Moves, request: pytest.FixtureRequest) -> Moved:
    return moves[request.param]


def test_stash_and_pool_are_two_filesystems_of_this_kind(moves: Moves, kind: str) -> None:
    devices = moves["MOVE"].lab.json("hashall", "devices", "list")["devices"]
    assert len(devices) == 2
    assert all(SHOWN[kind] in view["device"]["fs_type"] for view in devices)
    assert moves["MOVE"].lab.stash.stat().st_dev != moves["MOVE"].lab.pool.stat().st_dev


def test_it_was_decided_to_move_or_to_reuse(moves: Moves) -> None:
    for verdict in ("MOVE", "REUSE"):
        assert moves[verdict].plan["verdict"] == verdict
        assert moves[verdict].plan["bytes_to_copy"] == moves[verdict].shape.to_copy


def test_every_torrent_seeds_from_the_pool_as_before(moved: Moved) -> None:
    for torrent in moved.shape.group:
        before, after = moved.before.rows[torrent], moved.after.rows[torrent]
        assert Path(after["save_path"]) == moved.target(torrent)
        assert KIND[after["state"]] == "running"
        assert steady(after) == steady(before)


def test_nothing_was_checked_or_downloaded_at_any_moment(moved: Moved) -> None:
    assert moved.seen.unanswered == 0
    assert moved.seen.longest_gap_s < 1
    assert moved.seen.dreaded == []


def test_the_pool_has_the_bytes_with_one_inode_for_each_content(moved: Moved) -> None:
    for torrent in moved.shape.group:
        assert moved.placed(torrent) == moved.wanted(torrent) != {}
    for paths in moved.names_of_each_content():
        seen = [os.lstat(path) for path in paths]
        assert len({found.st_ino for found in seen}) == 1
        assert seen[0].st_nlink == len(paths)


def test_the_source_was_kept_and_then_retired_without_a_trace(moved: Moved) -> None:
    assert len(moved.kept.stash.own) == len(moved.sources())
    assert set(moved.before.stash.files) - set(moved.after.stash.files) == set(moved.sources())
    assert moved.after.stash.own == moved.after.pool.own == []
    assert moved.empty_dirs == ()


def test_a_second_plan_finds_nothing_to_do(moved: Moved) -> None:
    assert moved.again["verdict"] == "SKIP"


def test_a_restarted_client_finds_everything_when_it_checks(moves: Moves) -> None:
    api, ids = moves["MOVE"].lab.client.api, list(moves["MOVE"].lab.rows())
    moves["MOVE"].lab.client.restart()
    settle(api, ids, progress=1.0)
    api.torrents_recheck(torrent_hashes=ids)
    settle(api, ids, progress=1.0)
    states = {row["state"] for row in moves["MOVE"].lab.rows().values()}
    assert states == {"stalledUP"}
