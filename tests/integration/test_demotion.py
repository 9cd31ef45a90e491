"""A demotion with real parts: each shape of a torrent, on both versions of qBittorrent.

The groups seed from two clients, each with a stash, a pool and a catalog, because a move mostly
waits: one client's groups are demoted one after the other, once, beside the other's.  The tests
then ask what was recorded.  Later looks (a fresh scan, a restart, a recheck) follow in fixtures
that need each other, so that the order of the tests does not matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.support.filesystems import two_sides
from tests.support.lab import Lab
from tests.support.moves import (
    KIND,
    OWN,
    Moved,
    Moves,
    Rows,
    digest,
    steady,
    without_times,
)
from tests.support.qbt import RealClient, settle, wait_for
from tests.support.shapes import CATEGORY, SHAPES, download
from tests.support.watch import Observation, Observer

from hashall.catalog import open_catalog

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
UPLOAD_LIMIT = 300 * 2**10  # bytes/s: slow enough for the client to count what it sends
FILES = "SELECT path, inode, size, mtime_ns, nlink, sha256 FROM files_{} WHERE status = 'active'"
Known = dict[str, Any]  # what the catalog has, by torrent or by filesystem and path


@pytest.fixture(scope="module")
def labs(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, ...]]:
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            folder = tmp_path_factory.mktemp("lab")
            sides = stack.enter_context(two_sides("shm"))
            client = stack.enter_context(RealClient(version, profile=folder / "client"))
            made.append(Lab(folder / "home", *sides, client))
        yield tuple(made)


@pytest.fixture(scope="module")
def leech(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealClient]:
    """Another client, which downloads."""
    with RealClient(version, profile=tmp_path_factory.mktemp("leech")) as running:
        yield running


@pytest.fixture(scope="module")
def fetched(version: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(f"fetched-{version}-")


@pytest.fixture(scope="module")
def moves(labs: tuple[Lab, ...], leech: RealClient, fetched: Path) -> Moves:
    """Every shape was put in, one was downloaded from, and then each was demoted."""
    homes = dict(zip(SHAPES, cycle(labs), strict=False))
    with ThreadPoolExecutor(len(SHAPES)) as pool:
        futures = {name: pool.submit(put, homes[name]) for name, put in SHAPES.items()}
    shapes = {name: future.result() for name, future in futures.items()}
    lab, lone = homes["single_file"], shapes["single_file"].asked
    download(leech, lab.made[lone], fetched / "before", lab.client, limit=UPLOAD_LIMIT)
    wait_for(lambda: lab.rows()[lone]["uploaded"] == lab.made[lone].size, "the count of the upload")
    moves = Moves()

    def move_all_of(lab: Lab) -> None:
        lab.look()
        for name, shape in shapes.items():
            if homes[name] is lab:
                moves.move(name, lab, shape)

    with ThreadPoolExecutor(len(labs)) as pool:
        list(pool.map(move_all_of, labs))
    return moves


@pytest.fixture(params=SHAPES)
def moved(moves: Moves, request: pytest.FixtureRequest) -> Moved:
    return moves[request.param]


@pytest.fixture(scope="module")
def catalogs(moves: Moves, labs: tuple[Lab, ...]) -> list[tuple[Known, Known]]:
    """What each catalog says after all moves, and after a scan and a sync on top."""
    found = []
    for lab in labs:
        by_the_runs = catalog_of(lab)
        lab.look()
        found.append((by_the_runs, catalog_of(lab)))
    return found


@pytest.fixture(scope="module")
def restarted(catalogs: list[tuple[Known, Known]], labs: tuple[Lab, ...]) -> Rows:
    """What the clients show after they were ended and started."""
    rows: dict[str, Any] = {}
    for lab in labs:
        ids = list(lab.rows())
        lab.client.restart()
        settle(lab.client.api, ids, timeout_s=90)
        rows |= lab.rows()
    return rows


@pytest.fixture(scope="module")
def rechecked(restarted: Rows, labs: tuple[Lab, ...]) -> tuple[Rows, list[Observation]]:
    """What the clients show after a person had them check everything, and what was seen then."""
    rows: dict[str, Any] = {}
    seen = []
    for lab in labs:
        with Observer(lab.client.url) as watch:
            lab.client.api.torrents_recheck(torrent_hashes=list(lab.rows()))
            settle(lab.client.api, lab.rows(), timeout_s=90)
        seen.append(watch.seen)
        rows |= lab.rows()
    return rows, seen


def catalog_of(lab: Lab) -> Known:
    known: Known = {
        torrent: without_times(lab.json("hashall", "payload", "show", torrent))
        for torrent in sorted(lab.rows())
    }
    with open_catalog(lab.catalog, create=False) as catalog:
        for device in catalog.devices.all():
            for path, *rest in catalog.db.tuples(FILES.format(device.device_id)):
                known[f"{device.fs_type} {path}"] = rest
    return known


def test_the_verdict_is_what_the_pool_allows(moved: Moved) -> None:
    assert moved.plan["verdict"] == moved.shape.verdict
    assert moved.plan["bytes_to_copy"] == moved.shape.to_copy
    assert sorted(move["torrent_id"] for move in moved.plan["torrents"]) == sorted(
        moved.shape.group
    )


def test_every_torrent_of_the_group_lives_on_the_pool_at_100_percent(moved: Moved) -> None:
    for torrent in moved.shape.group:
        for look in (moved.kept, moved.after):
            row = look.rows[torrent]
            assert Path(row["save_path"]) == moved.target(torrent)
            assert row["progress"] == 1
            assert row["amount_left"] == 0


def test_category_tags_dates_statistics_and_limits_are_as_before(moved: Moved) -> None:
    for torrent in moved.shape.group:
        assert steady(moved.after.rows[torrent]) == steady(moved.before.rows[torrent])
        assert (
            moved.after.rows[torrent]["seeding_time"] >= moved.before.rows[torrent]["seeding_time"]
        )


def test_what_ran_runs_and_what_was_stopped_is_stopped(moved: Moved) -> None:
    for torrent in moved.shape.group:
        before, after = moved.before.rows[torrent], moved.after.rows[torrent]
        assert KIND[after["state"]] == KIND[before["state"]]


def test_nothing_was_checked_or_downloaded_at_any_moment(moved: Moved) -> None:
    assert moved.seen.unanswered == 0
    assert moved.seen.longest_gap_s < 1
    assert {sight.torrent_id for sight in moved.seen.sights} == set(moved.before.rows)
    assert moved.seen.dreaded == []


def test_only_the_torrents_of_the_group_were_touched(moved: Moved) -> None:
    others = set(moved.before.rows) - set(moved.shape.group)
    assert {s.torrent_id: s.state for s in moved.seen.of(others).sights} == {
        torrent: moved.before.rows[torrent]["state"] for torrent in others
    }
    for torrent in others:
        assert steady(moved.after.rows[torrent]) == steady(moved.before.rows[torrent])
        assert moved.after.rows[torrent]["save_path"] == moved.before.rows[torrent]["save_path"]


def test_the_pool_has_the_bytes_of_every_wanted_file(moved: Moved) -> None:
    for torrent in moved.shape.group:
        assert moved.wanted(torrent)
        assert moved.placed(torrent) == moved.wanted(torrent)


def test_files_keep_their_mode_owner_and_time_of_change(moved: Moved) -> None:
    for torrent in moved.shape.group:
        source = Path(moved.before.rows[torrent]["save_path"]).relative_to(moved.lab.stash)
        target = moved.target(torrent).relative_to(moved.lab.pool)
        for name in moved.wanted(torrent):
            before = moved.before.stash.files[os.fspath(source / name)]
            after = moved.after.pool.files[os.fspath(target / name)]
            assert (after.mode, after.owner) == (before.mode, before.owner)
            if not moved.shape.reused:
                assert after.mtime_ns == before.mtime_ns


def test_each_content_is_one_inode_on_the_pool_with_a_name_for_every_view(moved: Moved) -> None:
    for paths in moved.names_of_each_content():
        seen = [os.lstat(path) for path in paths]
        assert len({found.st_ino for found in seen}) == 1
        assert seen[0].st_nlink == len(paths)


def test_the_pool_has_no_other_new_file(moved: Moved) -> None:
    new = set(moved.after.pool.files) - set(moved.before.pool.files)
    views = {
        os.fspath((moved.target(torrent) / name).relative_to(moved.lab.pool))
        for torrent in moved.shape.group
        for name in moved.wanted(torrent)
    }
    assert new == views - set(moved.before.pool.files)
    gone = set(moved.before.pool.files) - set(moved.after.pool.files)
    assert gone == set()


def test_the_source_is_hidden_and_kept_until_it_is_retired(moved: Moved) -> None:
    sources = moved.sources()
    assert not set(sources) & set(moved.kept.stash.files)
    hidden = [digest(moved.kept.stash.files[name]) for name in moved.kept.stash.own]
    assert sorted(hidden) == sorted(digest(entry) for entry in sources.values())
    assert moved.kept.pool.own == []


def test_the_source_is_gone_after_it_was_retired_and_nothing_else(moved: Moved) -> None:
    gone = set(moved.before.stash.files) - set(moved.after.stash.files)
    assert gone == set(moved.sources())
    assert not set(moved.after.stash.files) - set(moved.before.stash.files)
    assert all(path.exists() for path in moved.shape.stays)


def test_nothing_of_the_run_is_left_over(moved: Moved) -> None:
    assert moved.after.stash.own == []
    assert moved.after.pool.own == []
    assert moved.empty_dirs == ()
    for side in (moved.lab.stash, moved.lab.pool):
        assert not [path for path in side.rglob("*") if OWN in path.name]


def test_a_second_plan_finds_nothing_to_do(moved: Moved) -> None:
    assert moved.again["verdict"] == "SKIP"
    assert moved.again["steps"] == []


def test_the_catalog_is_what_a_fresh_scan_and_sync_would_make_it(
    catalogs: list[tuple[Known, Known]],
) -> None:
    for by_the_runs, afresh in catalogs:
        assert len(afresh) > len(SHAPES)
        keys = {*by_the_runs, *afresh}
        different = {key for key in keys if by_the_runs.get(key) != afresh.get(key)}
        assert {key: (by_the_runs.get(key), afresh.get(key)) for key in different} == {}


def test_the_catalog_agrees_with_itself_after_all_moves(
    catalogs: list[tuple[Known, Known]], labs: tuple[Lab, ...]
) -> None:
    assert len(catalogs) == len(labs)
    for lab in labs:
        assert lab.json("hashall", "db", "check")["check"]["problems"] == []


def test_after_a_restart_of_the_client_everything_still_seeds(
    moved: Moved, restarted: Rows
) -> None:
    for torrent in moved.shape.group:
        row = restarted[torrent]
        assert row["progress"] == 1
        assert KIND[row["state"]] == KIND[moved.before.rows[torrent]["state"]]
        assert Path(row["save_path"]) == moved.target(torrent)
        assert steady(row) == steady(moved.before.rows[torrent])


def test_the_observer_would_have_seen_a_check(
    rechecked: tuple[Rows, list[Observation]],
) -> None:
    for seen in rechecked[1]:
        assert seen.dreaded != []
        assert seen.worst_s > 0


def test_a_recheck_in_the_client_finds_everything(
    moved: Moved, rechecked: tuple[Rows, list[Observation]]
) -> None:
    for torrent in moved.shape.group:
        row = rechecked[0][torrent]
        assert row["progress"] == 1
        assert KIND[row["state"]] == KIND[moved.before.rows[torrent]["state"]]
        assert Path(row["save_path"]) == moved.target(torrent)


def test_a_torrent_that_was_managed_by_its_category_keeps_the_category_alone(
    moves: Moves,
) -> None:
    moved = moves["siblings_of_every_kind"]
    (managed,) = (t for t, row in moved.before.rows.items() if row["category"] == CATEGORY)
    row = moved.after.rows[managed]
    assert row["auto_tmm"] is False
    assert row["category"] == CATEGORY
    assert {t["torrent_id"] for t in moved.plan["torrents"] if t["auto_tmm"]} == {managed}


def test_a_path_for_unfinished_data_is_gone_afterwards(moves: Moves) -> None:
    moved = moves["siblings_of_every_kind"]
    had = [t for t in moved.shape.group if paths_differ(moved.before.rows[t])]
    assert had
    assert not [t for t in moved.shape.group if paths_differ(moved.after.rows[t])]


def paths_differ(row: Mapping[str, Any]) -> bool:
    return row["download_path"] not in ("", row["save_path"])


def test_an_unwanted_file_stays_unwanted_and_absent(moves: Moves) -> None:
    moved = moves["unwanted_files"]
    torrent = moved.shape.asked
    assert list(moved.wanted(torrent)) == ["Partly.Wanted/film.mkv"]
    files = moved.lab.client.api.torrents_files(torrent)
    assert [row["priority"] for row in files] == [1, 0]
    assert not [name for name in moved.after.pool.files if name.endswith("unwanted.mkv")]


def test_what_was_uploaded_before_still_counts(moves: Moves) -> None:
    moved = moves["single_file"]
    row = moved.after.rows[moved.shape.asked]
    assert row["uploaded"] == moved.lab.made[moved.shape.asked].size
    assert row["ratio"] == pytest.approx(1)


def test_another_client_can_download_it_from_its_new_place(
    moves: Moves, leech: RealClient, fetched: Path
) -> None:
    moved = moves["single_file"]
    made = moved.lab.made[moved.shape.asked]
    there = moved.target(made.infohash) / made.name
    assert download(leech, made, fetched / "after", moved.lab.client) == there.read_bytes()
