"""Moving torrents between filesystems as relocation does, on every client that we know."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.moving import (
    Side,
    after_restart,
    all_at,
    relocate,
    seed_library,
    stage,
    wait_until,
)
from tests.support.qbt import LabClient
from tests.support.simulated import SimulatedClient
from tests.support.torrents import make_torrent
from tests.support.tree_snapshot import snapshot
from tests.support.watch import Observer

from seedkeep.qbittorrent import QBittorrentClient, connect
from seedkeep.torrent_client import Torrent, TorrentState

KEPT = ("category", "tags", "added_on", "completion_on", "uploaded", "ratio", "state")
# What a client shows for a moment whenever it starts, and what follows from files being hidden.
AT_A_START = {"checkingResumeData", "missingFiles"}


def facts(torrents: list[Torrent]) -> dict[str, dict[str, object]]:
    return {t.torrent_id: {name: getattr(t, name) for name in KEPT} for t in torrents}


@pytest.fixture
def sides(client: LabClient, disk: Path, memory: Path) -> tuple[Side, Side]:
    views = seed_library(client, disk)
    here, there = Side(disk, views), Side(memory, views)
    stage(here, there)
    return here, there


@pytest.mark.parametrize("restart_after", ["nothing", "stop", "hide", "set_location", "place"])
def test_torrents_of_every_shape_go_there_and_back_without_a_check(
    client: LabClient,
    product: QBittorrentClient,
    sides: tuple[Side, Side],
    restart_after: str,
) -> None:
    here, there = sides
    ids = [view.torrent_id for view in here.views]
    before = facts(product.torrents(ids))

    def checkpoint(step: str) -> None:
        if step == restart_after:
            after_restart(client, product, ids)

    for source, target in ((here, there), (there, here)):
        with Observer(client.url) as watch:
            relocate(product, source, target, checkpoint)
        expected = AT_A_START if restart_after != "nothing" else set()
        assert {sight.state for sight in watch.seen.dreaded} <= expected
        assert all_at(product, target)
    assert facts(product.torrents(ids)) == before


@pytest.mark.parametrize("restart_after", ["set_location", "place"])
def test_a_location_that_the_client_forgot_when_it_was_killed_is_set_again(
    restart_after: str, disk: Path, memory: Path
) -> None:
    # 4.x shows "moving" until it has saved; 5.x shows the new location some milliseconds before.
    with SimulatedClient("5.1", refresh_s=1, saves_late=True) as late:
        product = connect(late.url)
        views = seed_library(late, disk)
        here, there = Side(disk, views), Side(memory, views)
        stage(here, there)
        ids = [view.torrent_id for view in views]
        forgotten = []

        def checkpoint(step: str) -> None:
            if step == restart_after:
                after_restart(late, product, ids)
                forgotten.append(not all_at(product, there))

        late.forget_states()
        relocate(product, here, there, checkpoint)
        assert forgotten == [True]
        assert all_at(product, there)
        shown = {state for torrent_id in ids for state in late.states_of(torrent_id)}
        assert not shown & {"checkingUP", "checkingDL", "stalledDL", "stoppedDL"}


def test_a_relocation_costs_few_seconds_without_seeding(
    client: LabClient, product: QBittorrentClient, sides: tuple[Side, Side]
) -> None:
    with Observer(client.url) as watch:
        relocate(product, *sides)
    assert watch.seen.worst_s <= 8


def test_a_move_of_nothing_into_an_empty_place_makes_the_save_path_and_nothing_else(
    client: LabClient, product: QBittorrentClient, disk: Path, memory: Path
) -> None:
    made = make_torrent(disk / "lib", "Film", {"a.mkv": 70_000, "subs/b.srt": 100})
    torrent_id = client.add(made.data, disk / "lib", stopped=True)
    for name in made.paths:
        (disk / "lib" / name).rename(disk / Path(name).name)
    assert snapshot(disk / "lib"), "the empty folders of the torrent are still there"

    product.set_location(torrent_id, str(memory / "deep/lib"))
    wait_until(product, [torrent_id], lambda t: not t.state.is_busy, refreshes=2)

    assert sorted(path.name for path in memory.rglob("*")) == ["deep", "lib"]
    assert list((disk / "lib").iterdir()) == [], "emptied folders go, the save path stays"
    (torrent,) = product.torrents([torrent_id])
    assert (torrent.state, torrent.progress) == (TorrentState.STOPPED_UP, 1)


def test_a_move_onto_existing_files_keeps_both_and_owes_a_full_check(
    client: LabClient, product: QBittorrentClient, disk: Path, memory: Path
) -> None:
    made = make_torrent(disk, "Film", {"a.mkv": 70_000, "subs/b.srt": 100})
    torrent_id = client.add(made.data, disk, stopped=True)
    for name in made.paths:
        (memory / name).parent.mkdir(parents=True, exist_ok=True)
        (memory / name).write_bytes((disk / name).read_bytes())
    both = snapshot(disk), snapshot(memory)

    product.set_location(torrent_id, str(memory))
    wait_until(
        product,
        [torrent_id],
        lambda t: t.state is TorrentState.STOPPED_DL and t.progress == 0,
        refreshes=2,
    )

    assert (snapshot(disk), snapshot(memory)) == both
    client.api.torrents_recheck([torrent_id])
    wait_until(product, [torrent_id], lambda t: t.progress == 1 and t.state.is_stopped)


def test_a_move_with_the_files_in_place_breaks_hardlinks_across_filesystems(
    client: LabClient, product: QBittorrentClient, disk: Path, memory: Path
) -> None:
    made = make_torrent(disk, "Film", {"a.mkv": 70_000})
    (disk / "library.mkv").hardlink_to(disk / "Film/a.mkv")
    torrent_id = client.add(made.data, disk)
    product.set_location(torrent_id, str(memory))
    wait_until(product, [torrent_id], lambda t: not t.state.is_busy, refreshes=2)
    assert (disk / "library.mkv").stat().st_nlink == 1
    assert (memory / "Film/a.mkv").exists()
    assert not (disk / "Film").exists()


def test_files_that_went_missing_over_a_restart_are_found_again_without_a_check(
    client: LabClient, product: QBittorrentClient, sides: tuple[Side, Side]
) -> None:
    here, _ = sides
    ids = [view.torrent_id for view in here.views]
    product.stop(ids)
    here.hide()
    after_restart(client, product, ids)
    assert {t.state for t in product.torrents(ids)} == {TorrentState.MISSING_FILES}
    here.place()
    with Observer(client.url) as watch:
        product.look_again(ids)
        wait_until(product, ids, lambda t: t.state is TorrentState.STOPPED_UP, refreshes=2)
    # It may seed for the moment between the two calls that look again; it reads nothing for that.
    stopped = {"missingFiles", "checkingResumeData", "pausedUP", "stoppedUP"}
    assert watch.seen.states <= stopped | {"stalledUP"}
    assert all(torrent.progress == 1 for torrent in product.torrents(ids))


def test_looking_again_leaves_torrents_alone_that_miss_nothing(
    client: LabClient, product: QBittorrentClient, sides: tuple[Side, Side]
) -> None:
    ids = [view.torrent_id for view in sides[0].views]
    with Observer(client.url) as watch:
        product.look_again(ids)
        wait_until(product, ids, lambda t: t.state.is_seeding, refreshes=2)
    assert watch.seen.states == {"stalledUP"}


def test_a_torrent_whose_files_are_still_missing_does_not_download_when_started(
    client: LabClient, product: QBittorrentClient, disk: Path
) -> None:
    made = make_torrent(disk, "Film", {"a.mkv": 70_000, "b.mkv": 70_000})
    torrent_id = client.add(made.data, disk)
    product.stop([torrent_id])
    (disk / "Film/b.mkv").rename(disk / "b.mkv")
    after_restart(client, product, [torrent_id])
    with Observer(client.url) as watch:
        client.api.torrents_start([torrent_id])
        wait_until(
            product, [torrent_id], lambda t: t.state is TorrentState.MISSING_FILES, refreshes=3
        )
    assert watch.seen.states <= {"missingFiles", "checkingResumeData"}


def test_progress_says_nothing_about_the_disk(
    client: LabClient, product: QBittorrentClient, sides: tuple[Side, Side]
) -> None:
    _, film, twin, *_ = sides[0].views
    client.api.torrents_delete(delete_files=True, torrent_hashes=[film.torrent_id])
    wait_until(
        product,
        [twin.torrent_id],
        lambda t: t.state is TorrentState.STALLED_UP and t.progress == 1,
        refreshes=2,
    )
    assert not (sides[0].root / "lib/Film/film.mkv").exists()
